// Elements, numbers and hostile text. Text reaches the page by textContent and text nodes only.

// As guard_magic/characters.py says: what writing needs is ordinary, in emoji, in scripts that join, behind ideographs.
const JOINING = ["Arab", "Syrc", "Nkoo", "Mong", "Deva", "Beng", "Guru", "Gujr", "Orya", "Taml", "Telu", "Knda", "Mlym"]
  .concat(["Sinh", "Khmr", "Mymr", "Tibt", "Bali", "Java"])
  .map((script) => `\\p{Script=${script}}`)
  .join("");
const ORDINARY = [
  "(?<=\\p{Extended_Pictographic})[\\ufe0e\\ufe0f]",
  "(?<=[0-9#*])\\ufe0f(?=\\u20e3)",
  "(?<=\\p{Extended_Pictographic}[\\ufe0f\\u{1f3fb}-\\u{1f3ff}]?)\\u200d(?=\\p{Extended_Pictographic})",
  `(?<=(?=[${JOINING}])[\\p{L}\\p{M}])[\\u200c\\u200d]`,
  "(?<=(?=\\p{Script=Mong})\\p{L})[\\u180b-\\u180d\\u180f]",
  "(?<=\\p{Script=Han})[\\ufe00-\\ufe02\\u{e0100}-\\u{e01ef}]",
  "[\\t\\n\\u0600-\\u0605\\u06dd\\u070f\\u0890\\u0891\\u08e2\\u{110bd}\\u{110cd}]",
].join("|");
const UNSEEN = "[\\p{Cc}\\p{Cf}\\p{Cs}\\p{Zl}\\p{Zp}\\p{Default_Ignorable_Code_Point}\\u2800]";
const HIDDEN = new RegExp(`(?:(?!${ORDINARY})${UNSEEN})+`, "gu");
const LONGEST_SPELLING = 12; // hidden characters spelled out at once; of more, the number is told

const FOCUSABLE = ["button", "input", "select", "textarea", "summary"];

/** Make an element: `className`, attributes, and children that are elements or plain text.
 *
 * Whatever can have the focus is marked for JupyterLab, which else takes its keys. The mark on an element around it
 * is not enough: Lab's selectors end in `:focus`, and match the focused element before they come to the mark.
 */
export function make(tag, className = "", attributes = {}, ...children) {
  const element = document.createElement(tag);
  if (className) element.className = className;
  if (FOCUSABLE.includes(tag) || "tabindex" in attributes) element.setAttribute("data-lm-suppress-shortcuts", "true");
  for (const [name, value] of Object.entries(attributes)) {
    if (value === null || value === undefined || value === false) continue;
    element.setAttribute(name, value === true ? "" : value);
  }
  element.append(...children.filter((child) => child !== null && child !== undefined));
  return element;
}

/** Make a real button that never submits a form. */
export function makeButton(className, words, act, attributes = {}) {
  const button = make("button", `gmr-button ${className}`, { type: "button", ...attributes }, ...[words].flat());
  button.addEventListener("click", act);
  return button;
}

/** Make a key hint; screen readers hear the help line instead. */
export function makeKey(key) {
  return make("kbd", "", { "aria-hidden": "true" }, key);
}

/** Set text or an attribute only where it differs: a scroll frame then touches few nodes. */
export function setText(element, text) {
  if (element.textContent !== text) element.textContent = text;
}

export function setAttribute(element, name, value) {
  if (value === null || value === undefined || value === false) element.removeAttribute(name);
  else if (element.getAttribute(name) !== String(value)) element.setAttribute(name, value === true ? "" : value);
}

/** Fill `element` with untrusted text: isolated from its surroundings, hidden characters spelled out in marks. */
export function fillWithText(element, text) {
  const isolated = make("bdi", "", { dir: "auto" });
  const read = text.replaceAll("\r\n", "\n");
  let end = 0;
  for (const match of read.matchAll(HIDDEN)) {
    isolated.append(read.slice(end, match.index), make("mark", "", {}, spellHidden(match[0])));
    end = match.index + match[0].length;
  }
  isolated.append(read.slice(end));
  element.replaceChildren(isolated);
}

/** Untrusted text on one line, hidden characters spelled out: for rows, labels and titles. */
export function onOneLine(text) {
  return text.replaceAll(/\s+/g, " ").replaceAll(HIDDEN, spellHidden);
}

function spellHidden(characters) {
  const codes = [...characters].map((character) => character.codePointAt(0));
  const spelled = codes.slice(0, LONGEST_SPELLING).map((code) => {
    const hex = code.toString(16);
    if (code < 0x100) return `\\x${hex.padStart(2, "0")}`;
    return code < 0x10000 ? `\\u${hex.padStart(4, "0")}` : `\\U${hex.padStart(8, "0")}`;
  });
  return spelled.join("") + (codes.length > LONGEST_SPELLING ? `…(${codes.length} hidden)` : "");
}

/** A score with the fewest digits (3 or more) that keep it off 0 and 1, and on its side of `threshold`. */
export function scoreText(score, threshold = -1) {
  if (score > 0 && score < 1e-5) return score.toExponential(1);
  for (let digits = 3; digits < 17; digits += 1) {
    const text = score.toFixed(digits);
    const read = Number(text);
    if (read >= threshold === score >= threshold && ((read > 0 && read < 1) || !(score > 0 && score < 1))) return text;
  }
  return String(score);
}

export function countText(count) {
  return count.toLocaleString("en-US");
}

export function plural(count, word) {
  return `${countText(count)} ${word}${count === 1 ? "" : "s"}`;
}

/** Make a bar for a score, with a tick at the threshold where one is given. */
export function makeBar(score, threshold = null) {
  const words = threshold === null ? scoreText(score) : `score ${scoreText(score, threshold)}, threshold ${threshold}`;
  const bar = make("span", "gmr-bar", { role: "img", "aria-label": words }, make("i"));
  bar.style.setProperty("--v", Math.min(1, Math.max(0, score)));
  if (threshold !== null) {
    bar.append(make("b"));
    bar.style.setProperty("--t", threshold);
  }
  return bar;
}
