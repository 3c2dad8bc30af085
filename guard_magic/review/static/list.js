// The list of rows: only those in view are in the page, whatever their number.

import { make, onOneLine, scoreText, setAttribute, setText } from "./dom.js";

const HEIGHT = 46; // px, as --gmr-row in review.css
const SPARE = 6; // rows drawn above and below the view
export const GLYPHS = { safe: "✓", unsafe: "✕", unsure: "?", skip: "»" };

let lists = 0;

export class RowList {
  /** `state()` gives {count, threshold, selected, position, isHidden(record)}; `onPick(position)` is a click. */
  constructor(rows, state, onPick) {
    lists += 1;
    this.prefix = `gmr-list-${lists}`;
    this.rows = rows;
    this.state = state;
    this.pool = [];
    this.space = make("div", "gmr-space", { role: "none" });
    this.empty = make("p", "gmr-empty", { hidden: true }, "No row matches these filters.");
    this.element = make("div", "gmr-list", { role: "listbox", tabindex: "0", "aria-label": "Rows" }, this.space);
    this.box = make("div", "gmr-list-box", {}, this.element, this.empty);
    this.frame = 0;
    this.element.addEventListener("scroll", () => this.scrolled(), { passive: true });
    this.element.addEventListener("click", (event) => {
      const line = event.target.closest(".gmr-row");
      if (line) onPick(Number(line.dataset.position));
    });
    this.watcher = new ResizeObserver(() => this.resized());
    this.watcher.observe(this.element);
  }

  scrolled() {
    if (this.height) this.top = this.element.scrollTop;
    this.draw();
  }

  /** JupyterLab takes outputs that scroll out of sight off the page, and with that the list's own scrolling. */
  resized() {
    const { clientHeight } = this.element;
    if (clientHeight && !this.height && this.top) this.element.scrollTop = this.top;
    this.height = clientHeight;
    this.draw();
  }

  /** Draw at the next frame. */
  draw() {
    if (!this.frame) this.frame = requestAnimationFrame(() => this.paint());
  }

  paint() {
    this.frame = 0;
    const { count, selected, position } = this.state();
    this.space.style.height = `${count * HEIGHT}px`;
    this.empty.hidden = count > 0;
    const inView = Math.ceil((this.element.clientHeight || 500) / HEIGHT) + 1;
    const top = Math.floor(this.element.scrollTop / HEIGHT);
    const first = Math.max(0, Math.min(top, count - inView) - SPARE);
    const last = Math.min(count, top + inView + SPARE) - 1;
    this.fitPool(inView + 2 * SPARE + 1);
    const free = new Set(this.pool);
    for (let at = first; at <= last; at += 1) {
      const line = this.pool[at % this.pool.length];
      free.delete(line);
      this.write(line, at);
    }
    for (const line of free) line.hide();
    const current = position >= first && position <= last ? this.pool[position % this.pool.length].element : null;
    setAttribute(this.element, "aria-activedescendant", current && selected !== null ? current.id : null);
    this.rows.want(top, Math.min(count - 1, top + inView));
  }

  fitPool(size) {
    if (this.pool.length >= size) return;
    while (this.pool.length < size) this.pool.push(new Line(`${this.prefix}-${this.pool.length}`));
    this.space.replaceChildren(...this.pool.map((line) => line.element));
  }

  write(line, at) {
    const state = this.state();
    const record = this.rows.at(at);
    line.place(at, state.count);
    line.fill(record, state, Boolean(record && record.row === state.selected));
  }

  /** Bring `position` into view, with a row to spare on either side. */
  reveal(position) {
    const box = this.element;
    const top = position * HEIGHT;
    if (top - HEIGHT < box.scrollTop) box.scrollTop = Math.max(0, top - HEIGHT);
    else if (top + 2 * HEIGHT > box.scrollTop + box.clientHeight) box.scrollTop = top + 2 * HEIGHT - box.clientHeight;
    this.draw();
  }

  perPage() {
    return Math.max(1, Math.floor(this.element.clientHeight / HEIGHT) - 1);
  }

  close() {
    cancelAnimationFrame(this.frame);
    this.watcher.disconnect();
  }
}

/** One line of the list, written anew as rows scroll by. Its accessible name is its text, said and seen. */
class Line {
  constructor(id) {
    this.mark = make("span", "gmr-mark", { "aria-hidden": "true" });
    this.said = make("span", "gmr-said");
    this.score = make("span", "gmr-number");
    this.bar = make("span", "gmr-bar", { "aria-hidden": "true" }, make("i"), make("b"));
    this.text = make("bdi", "gmr-text", { dir: "auto" });
    this.category = make("span", "gmr-code");
    this.signs = make("span", "gmr-signs");
    const score = make("span", "gmr-score", {}, this.score, this.bar);
    const side = make("span", "gmr-side", {}, this.category, " ", this.signs);
    const parts = make("span", "gmr-line", {}, this.mark, this.said, score, " ", this.text, " ", side);
    this.element = make("div", "gmr-row", { role: "option", id }, parts);
  }

  place(at, count) {
    this.element.hidden = false;
    this.element.dataset.position = at;
    this.element.style.transform = `translateY(${at * HEIGHT}px)`;
    setAttribute(this.element, "aria-posinset", at + 1);
    setAttribute(this.element, "aria-setsize", count);
  }

  hide() {
    this.element.hidden = true;
    setAttribute(this.element, "aria-selected", "false");
  }

  fill(record, state, isSelected) {
    setAttribute(this.element, "aria-selected", String(isSelected));
    this.element.classList.toggle("gmr-waiting", !record);
    if (record) this.write(record, state);
    else this.empty();
  }

  /** A row that is not here yet. */
  empty() {
    setText(this.said, "loading");
    for (const part of [this.mark, this.score, this.text, this.category, this.signs]) setText(part, "");
    for (const name of ["label", "verdict"]) delete this.element.dataset[name];
    this.element.classList.remove("gmr-blurred", "gmr-pending");
  }

  write(record, state) {
    const { score } = record;
    const hasScore = score !== null && score !== undefined;
    const verdict = !state.showScores || !hasScore ? "none" : score >= state.threshold ? "unsafe" : "safe";
    const isHidden = state.isHidden(record);
    const differs = verdict !== "none" && ["safe", "unsafe"].includes(record.label) && record.label !== verdict;
    const { dataset, classList } = this.element;
    dataset.label = record.label || "";
    dataset.verdict = verdict;
    classList.toggle("gmr-pending", Boolean(record.pending));
    classList.toggle("gmr-blurred", isHidden);
    classList.toggle("gmr-no-scores", !state.showScores);
    setText(this.mark, GLYPHS[record.label] || "");
    setText(this.score, hasScore ? scoreText(score, state.threshold).replace(/^0/, "") : record.error ? "failed" : "–");
    this.bar.style.setProperty("--v", hasScore ? Math.min(1, Math.max(0, score)) : 0);
    this.bar.style.setProperty("--t", state.threshold);
    setText(this.text, onOneLine(record.text || "") || onOneLine(record.error || "(no conversation)"));
    setAttribute(this.text, "aria-hidden", isHidden ? "true" : null);
    const isHuman = record.label === "unsafe" && Boolean(record.label_category);
    setText(this.category, (isHuman ? record.label_category : record.category) || "");
    classList.toggle("gmr-human", isHuman);
    const turns = record.n_turns > 1 && `${record.n_turns} turns`;
    const signs = [differs && "≠", record.flag && "⚑", record.noted && "✎", turns];
    setText(this.signs, signs.filter(Boolean).join(" "));
    const said = [
      record.label ? `labelled ${record.label}` : "unlabelled",
      differs && "differs from the guard",
      record.flag && "flagged by you",
      record.noted && "has a note",
      isHidden && "text hidden",
      verdict !== "none" && `guard says ${verdict}`,
    ];
    setText(this.said, said.filter(Boolean).join(", "));
  }
}
