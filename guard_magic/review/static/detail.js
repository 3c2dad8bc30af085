// One row in full: the guard's verdict, the conversation, and what the person decides.

import { makeBubbles } from "./bubbles.js";
import { fillWithText, make, makeBar, makeButton, makeKey } from "./dom.js";
import { onOneLine, scoreText, setAttribute, setText } from "./dom.js";

const TELLING = 0.05; // hazards from here on get a bar at once
const N_TELLING = 3;
const DECISIONS = [
  ["safe", "Safe"],
  ["unsafe", "Unsafe"],
  ["unsure", "Unsure"],
  ["skip", "Skip"],
];

export class Detail {
  /** `act(action, fields)` does what a key would; `generate()` promises what the guard wrote. */
  constructor(act, generate) {
    this.act = act;
    this.generate = generate;
    this.row = null;
    this.refusedNotes = new Map(); // row -> a note that was not stored
    this.verdict = make("div", "gmr-verdict");
    this.spread = make("div", "gmr-spread");
    this.talk = make("div", "gmr-talk", { tabindex: "0", role: "group", "aria-label": "Conversation" });
    this.veil = make("div", "gmr-veil", { hidden: true });
    this.reveal = makeButton("gmr-primary", ["Show the text ", makeKey("")], () => act("open"));
    this.veilWords = make("p");
    this.veil.append(this.veilWords, this.reveal);
    this.makeDecisions();
    const scene = make("div", "gmr-scene", {}, this.talk, this.veil);
    this.watcher = new ResizeObserver(() => {
      if (Math.abs(this.talk.scrollTop - this.aimed) < 2) this.aim();
    });
    this.watcher.observe(this.talk);
    this.empty = make("p", "gmr-empty", {}, "Choose a row.");
    this.content = make("div", "gmr-detail-content", { hidden: true }, this.verdict, this.spread, scene, this.decide);
    this.element = make("section", "gmr-detail", { "aria-label": "Chosen row" }, this.empty, this.content);
  }

  makeDecisions() {
    this.buttons = {};
    for (const [action, words] of DECISIONS) {
      this.buttons[action] = makeButton(`gmr-choice gmr-as-${action}`, [words, makeKey("")], () => this.act(action));
    }
    this.confirmWords = make("span");
    const confirm = [this.confirmWords, makeKey("")];
    this.buttons.confirm = makeButton("gmr-choice gmr-confirm", confirm, () => this.act("confirm"));
    this.buttons.flag = makeButton("gmr-choice gmr-flag", ["⚑ Flag", makeKey("")], () => this.act("flag"));
    this.clear = makeButton("gmr-quiet", "Take away", () => this.act("clear"), { title: "Take the label away" });
    this.picker = make("div", "gmr-picker", { role: "group", "aria-label": "Hazard", hidden: true });
    this.note = make("textarea", "gmr-note", { rows: "1", "aria-label": "Note", maxlength: "10000" });
    this.note.addEventListener("keydown", (event) => {
      if (event.key !== "Enter" || event.shiftKey || event.isComposing) return;
      event.preventDefault();
      this.act("focus"); // the blur keeps the note
    });
    this.note.addEventListener("blur", () => {
      if (this.refusedNotes.has(this.row)) this.keptNote = undefined; // whoever leaves the field asks again
      this.keepNote();
    });
    const first = make("div", "gmr-tool-group", { role: "group", "aria-label": "Your label" });
    first.append(...DECISIONS.map(([action]) => this.buttons[action]), this.buttons.confirm);
    const second = make("div", "gmr-tool-group gmr-second", {}, this.note, this.buttons.flag, this.clear);
    this.decide = make("div", "gmr-decide", {}, first, this.picker, second);
  }

  keepNote() {
    const note = this.note.value.trim() || null;
    if (this.row !== null && note !== this.keptNote) {
      this.keptNote = note;
      this.act("keep_note", { row: this.row, note });
    }
  }

  /** The note of `row` was not stored: it stays in its field, and is sent again when that is left again. */
  noteRefused(row, note) {
    this.refusedNotes.set(row, note || "");
  }

  noteStored(row) {
    this.refusedNotes.delete(row);
  }

  showNothing(words) {
    this.row = null;
    this.content.hidden = true;
    this.empty.hidden = false;
    this.empty.textContent = words;
  }

  /** Show `detail`, the kernel's answer for one row, with the list's `record` of it. */
  show(detail, record, state) {
    const isOther = this.row !== detail.row;
    this.keepNote();
    this.row = detail.row;
    this.empty.hidden = true;
    this.content.hidden = false;
    this.content.classList.remove("gmr-waiting");
    if (isOther) {
      this.talk.replaceChildren(...makeBubbles(detail.messages || []));
      this.drawSpread(detail, state);
      if (this.root().activeElement === this.note) this.act("focus");
    }
    if (isOther || this.root().activeElement !== this.note) {
      this.note.value = this.refusedNotes.get(detail.row) ?? (detail.note || "");
      this.keptNote = this.note.value || null;
    }
    this.draw(detail, record, state);
    if (isOther) this.aim();
  }

  /** Bring the assessed message into view; whoever scrolls on is left alone. */
  aim() {
    const assessed = this.talk.querySelector(".gmr-assessed");
    this.talk.scrollTop = assessed ? assessed.offsetTop - 40 : 0;
    this.aimed = this.talk.scrollTop;
  }

  root() {
    return this.element.getRootNode();
  }

  /** Draw what may change while a row is shown: threshold, label, flag, veil. */
  draw(detail, record, state) {
    this.drawVerdict(detail, state);
    const now = record || detail;
    for (const [action] of DECISIONS) setAttribute(this.buttons[action], "aria-pressed", String(now.label === action));
    setAttribute(this.buttons.flag, "aria-pressed", String(Boolean(now.flag)));
    this.clear.hidden = !now.label;
    for (const [action, button] of Object.entries(this.buttons)) setText(button.lastChild, state.hints[action]);
    const verdict = this.verdictOf(detail, state);
    this.buttons.confirm.hidden = !verdict;
    const code = verdict === "unsafe" ? detail.category || "" : "";
    setText(this.confirmWords, `Confirm ${verdict} ${onOneLine(code)}`.trim());
    this.note.placeholder = `Note   ${state.hints.note}`;
    this.drawPicker(now, state);
    const isHidden = Boolean(record && state.isHidden(record));
    this.veil.hidden = !isHidden;
    this.talk.classList.toggle("gmr-blurred", isHidden);
    setAttribute(this.talk, "aria-hidden", isHidden ? "true" : null);
    this.talk.inert = isHidden;
    setText(this.reveal.lastChild, state.hints.open);
    if (isHidden) {
      const hazard = state.showScores && record.category ? `: ${onOneLine(state.hazardName(record.category))}` : "";
      setText(this.veilWords, `Hidden, for it may be hard to read${hazard}.`);
    }
  }

  verdictOf(detail, state) {
    if (!state.showScores || detail.score === null || detail.score === undefined) return "";
    return detail.score >= state.threshold ? "unsafe" : "safe";
  }

  drawVerdict(detail, state) {
    const parts = [];
    const verdict = this.verdictOf(detail, state);
    this.verdict.dataset.verdict = verdict || "none";
    if (verdict) {
      const number = scoreText(detail.score, state.threshold);
      parts.push(make("b", "gmr-word", {}, verdict), make("span", "gmr-number", {}, number));
      parts.push(makeBar(detail.score, state.threshold));
      const hazard = verdict === "unsafe" && detail.category;
      if (hazard) parts.push(make("span", "", {}, onOneLine(state.hazardName(hazard))));
    } else if (state.showScores) {
      parts.push(make("b", "gmr-word", {}, "not scored"), make("span", "gmr-muted", {}, onOneLine(detail.error || "")));
    }
    const aside = [state.place];
    if (state.showScores && Number.isFinite(detail.log_odds)) {
      aside.unshift(`log-odds ${detail.log_odds >= 0 ? "+" : "−"}${Math.abs(detail.log_odds).toFixed(2)}`);
    }
    parts.push(make("span", "gmr-place", {}, aside.join(" · ")));
    this.verdict.replaceChildren(...parts);
  }

  drawSpread(detail, state) {
    const ranked = (state.showScores ? [...(detail.hazards || [])] : []).sort((a, b) => b.score - a.score);
    const n = ranked.slice(0, N_TELLING).filter((hazard) => hazard.score >= TELLING).length;
    const parts = ranked.slice(0, n).map(makeHazard);
    const rest = ranked.slice(n);
    if (rest.length) {
      const words = `${rest.length} ${n ? "other " : ""}hazards, each at most ${scoreText(rest[0].score)}`;
      parts.push(make("details", "gmr-rest", {}, make("summary", "", {}, words), ...rest.map(makeHazard)));
    }
    if (state.showScores) parts.push(this.makeWritten());
    this.spread.hidden = parts.length === 0;
    this.spread.replaceChildren(...parts);
  }

  /** What the guard wrote, asked for when it is opened. */
  makeWritten() {
    const text = make("div", "gmr-written", {}, "…");
    const written = make("details", "gmr-rest", {}, make("summary", "", {}, "What the guard wrote"), text);
    written.addEventListener("toggle", async () => {
      if (!written.open || written.dataset.asked) return;
      written.dataset.asked = "yes";
      const answer = await this.generate(this.row);
      if (answer) fillWithText(text, answer.generated_text?.trim() || "Not kept: the score was read without writing.");
    });
    return written;
  }

  close() {
    this.watcher.disconnect();
  }

  drawPicker(now, state) {
    this.picker.hidden = now.label !== "unsafe" || !state.hazards.length;
    if (this.picker.hidden) return;
    const key = state.hazards.map((hazard) => hazard.code).join("\n");
    if (this.picker.dataset.key !== key) {
      this.picker.dataset.key = key;
      this.picker.replaceChildren(
        ...state.hazards.map((hazard, at) => {
          const words = hazard.name && hazard.name !== hazard.code ? `${hazard.code} ${hazard.name}` : hazard.code;
          const parts = [makeKey(String(at + 1)), make("span", "", {}, onOneLine(words))];
          return makeButton("gmr-pick", parts, () => this.act("pick", { at }), { title: onOneLine(words) });
        }),
      );
    }
    for (const [at, hazard] of state.hazards.entries()) {
      setAttribute(this.picker.children[at], "aria-pressed", String(now.label_category === hazard.code));
    }
    this.picker.classList.toggle("gmr-picking", state.isPicking);
  }
}

function makeHazard(hazard) {
  const name = onOneLine(hazard.name && hazard.name !== hazard.code ? `${hazard.code} ${hazard.name}` : hazard.code);
  const words = make("span", "gmr-hazard-name", { title: name }, name);
  const number = make("span", "gmr-number", {}, scoreText(hazard.score));
  return make("div", "gmr-hazard", {}, words, makeBar(hazard.score), number);
}
