// The conversation as bubbles. Long messages open in parts, so that no text can hold up the page.

import { countText, fillWithText, make, makeButton, plural } from "./dom.js";

const CONTEXT = 1200; // characters of an earlier message shown at once
const ASSESSED = 6000; // of the assessed one
const MORE = 20_000; // at each click
const N_CONTEXT = 6; // earlier messages shown at once

/** Return the elements of `messages` ({role, content, assessed}), earlier ones folded away where there are many. */
export function makeBubbles(messages) {
  const last = messages.length - 1;
  const nFolded = last > N_CONTEXT + 1 ? last - N_CONTEXT : 0;
  const shown = messages.slice(nFolded).map(makeBubble);
  if (!nFolded) return shown;
  const fold = makeButton("gmr-more", `Show ${plural(nFolded, "earlier turn")}`, () => {
    fold.replaceWith(...messages.slice(0, nFolded).map(makeBubble));
  });
  return [fold, ...shown];
}

function makeBubble(message) {
  const role = ["user", "assistant", "system", "tool"].includes(message.role) ? message.role : "other";
  const head = make("div", "gmr-role", {}, make("b", "", {}, message.role));
  if (message.assessed) head.append(make("span", "gmr-assessed-tag", {}, "assessed"));
  const text = make("div", "gmr-content");
  const bubble = make("article", `gmr-bubble gmr-${role}${message.assessed ? " gmr-assessed" : ""}`, {}, head, text);
  const limit = message.assessed ? ASSESSED : CONTEXT;
  const content = message.content || "";
  const more = makeButton("gmr-more", "", () => showTo(shownTo + MORE));
  let shownTo = 0;

  function showTo(wanted) {
    const end = wanted >= content.length - 200 ? content.length : cutAt(content, wanted);
    const part = make("div", "gmr-part");
    fillWithText(part, content.slice(shownTo, end));
    text.append(part);
    shownTo = end;
    more.textContent = `Show more (${countText(content.length - end)} characters left)`;
    if (end < content.length) bubble.append(more);
    else more.remove();
  }

  showTo(limit);
  if (!content.trim()) text.replaceChildren(make("i", "gmr-muted", {}, "(empty)"));
  return bubble;
}

/** Cut after a line or a word where one ends near `wanted`; never within a character. */
function cutAt(text, wanted) {
  const near = text.slice(Math.floor(wanted * 0.9), wanted);
  const end = Math.max(near.lastIndexOf("\n"), near.lastIndexOf(" ")) + 1;
  const cut = end ? wanted - near.length + end : wanted;
  const code = text.charCodeAt(cut - 1);
  return code >= 0xd800 && code <= 0xdbff ? cut - 1 : cut;
}
