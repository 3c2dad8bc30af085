// Rows by message: pages are asked for as they come into view. Stale pages stay visible until newer ones arrive.

const PAGE = 100;
const SETTLE = 30; // ms without scrolling before a page is asked for
const MOST_PAGES = 40;

export class Rows {
  /** `ask(type, fields)` promises an answer; `onArrival()` is called when rows came, `onTrouble(error)` else. */
  constructor(ask, onArrival, onTrouble) {
    this.ask = ask;
    this.onArrival = onArrival;
    this.onTrouble = onTrouble;
    this.pages = new Map(); // page number -> {rows, version}
    this.asked = new Map(); // page number -> version it was asked for
    this.version = 0;
    this.timer = null;
  }

  /** From `version` on, pages are asked for again; `isNew` forgets them too, since another query's rows mislead. */
  refresh(version, isNew = false) {
    this.version = version;
    if (isNew) this.pages.clear();
    this.asked.clear();
  }

  at(position) {
    return this.pages.get(Math.floor(position / PAGE))?.rows[position % PAGE];
  }

  /** Every loaded record of `row` (its id in the frame). */
  find(row) {
    for (const page of this.pages.values()) {
      const record = page.rows.find((other) => other && other.row === row);
      if (record) return record;
    }
    return undefined;
  }

  /** Ask for what is missing of positions `first` to `last`, once scrolling has settled. */
  want(first, last) {
    clearTimeout(this.timer);
    const missing = this.missing(first, last);
    if (!missing.length) return;
    const load = () => missing.forEach((page) => this.load(page).catch(this.onTrouble));
    this.timer = setTimeout(load, this.pages.size ? SETTLE : 0);
  }

  missing(first, last) {
    const pages = [];
    for (let page = Math.floor(Math.max(0, first) / PAGE); page <= Math.floor(Math.max(0, last) / PAGE); page += 1) {
      const known = this.pages.get(page);
      if (!(known && known.version >= this.version) && !(this.asked.get(page) >= this.version)) pages.push(page);
    }
    return pages;
  }

  /** Promise the record at `position` as it is now; undefined past the end. */
  async fetch(position) {
    const page = Math.floor(position / PAGE);
    if (!(this.pages.get(page)?.version >= this.version)) await this.load(page);
    return this.at(position);
  }

  async load(page) {
    const version = this.version;
    this.asked.set(page, version);
    try {
      const answer = await this.ask("rows", { start: page * PAGE, count: PAGE });
      const known = this.pages.get(page);
      if (known && known.version > answer.version) return;
      this.pages.delete(page);
      this.pages.set(page, { rows: answer.rows, version: answer.version });
      if (this.pages.size > MOST_PAGES) this.pages.delete(this.pages.keys().next().value);
      this.onArrival();
    } catch (error) {
      if (this.asked.get(page) === version) this.asked.delete(page);
      throw error;
    }
  }

  close() {
    clearTimeout(this.timer);
    this.pages.clear();
    this.asked.clear();
  }
}
