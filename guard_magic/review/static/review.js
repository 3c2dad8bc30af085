// "Review and label": one view of a ReviewWidget. Traits `head` and `view`, rows and labels by message.
//
// Selecting a row is local and quick; the kernel is told through `view`, which all views of the model share.
// A label is drawn at once as pending and counts as stored when the kernel says so; one that it refuses is taken off
// the screen, and the row is drawn again as the kernel has it.

import { Bulk } from "./bulk.js";
import { openChannel } from "./channel.js";
import { Detail } from "./detail.js";
import { Details } from "./details.js";
import { countText, make, onOneLine, setText } from "./dom.js";
import { Header } from "./header.js";
import { isTyping, pressedKey, readKeys } from "./keys.js";
import { Labelling } from "./labelling.js";
import { RowList } from "./list.js";
import { Rows } from "./rows.js";

const DETAIL_AFTER = 60; // ms on a row before its conversation is asked for, while keys are held
const ANSWER_OF_QUERY = 1500; // ms after which the head is taken for the answer to a changed query
const MOST_QUEUED = 8; // keys that wait for the kernel; more are dropped
const QUERY = ["threshold", "search", "hazards", "labels", "model", "sort", "descending"];
const SILENT =
  "The kernel does not answer: it is busy or gone. What was stored is safe; if it is gone, run the cell again.";
const HELP = [
  ["safe", "safe"],
  ["unsafe", "unsafe, then 1–9: hazard"],
  ["unsure", "unsure"],
  ["skip", "skip"],
  ["confirm", "confirm the guard"],
  ["flag", "flag"],
  ["note", "note"],
  ["next", "next"],
  ["previous", "previous"],
  ["next_unlabelled", "next unlabelled"],
  ["most_uncertain", "most uncertain"],
  ["undo", "undo"],
  ["redo", "redo"],
  ["search", "search"],
  ["open", "show, read"],
];

class Review {
  constructor(model, host) {
    this.model = model;
    this.selected = null;
    this.position = 0;
    this.isBlurring = true;
    this.revealed = new Set(); // rows whose blurred text was asked for
    this.turn = Promise.resolve();
    this.queryAsked = null; // the head's version when the query changed; null once it is answered
    this.channel = openChannel(model, (isWaiting) => this.showWaiting(isWaiting));
    this.details = new Details(this.channel.ask);
    this.labelling = new Labelling(this);
    this.rows = new Rows(this.channel.ask, () => this.rowsCame(), (error) => this.showTrouble(error));
    this.list = new RowList(this.rows, () => this.state(), (position) => this.inTurn(() => this.choose(position)));
    this.header = new Header((query) => this.changeQuery(query), (action) => this.act(action));
    this.detail = new Detail((action, fields) => this.act(action, fields), (row) => this.askWritten(row));
    const labelAll = (label, category) => this.inTurn(() => this.labelling.labelAll(label, category));
    this.bulk = new Bulk(labelAll, () => this.bulkClosed());
    this.build(host);
    this.listen();
    this.readView();
    this.readHead();
    this.list.paint();
    this.list.reveal(this.position);
  }

  build(host) {
    this.trouble = make("div", "gmr-trouble", { role: "alert", hidden: true });
    this.live = make("div", "gmr-live", { role: "status", "aria-live": "polite" });
    this.keyList = make("div", "gmr-keys", { "aria-label": "Keys", role: "group" });
    const body = make("div", "gmr-body", {}, this.list.box, this.detail.element);
    this.root = make("div", "guard-magic-review", {
      tabindex: "0",
      role: "region",
      "aria-label": "Review and label",
    });
    this.root.append(this.header.element, this.bulk.element, this.trouble, body, this.keyList, this.live);
    host.append(this.root);
  }

  listen() {
    this.onKey = (event) => this.keyDown(event);
    this.root.addEventListener("keydown", this.onKey);
    this.onHead = () => this.readHead();
    this.onView = () => this.readView();
    this.model.on("change:head", this.onHead);
    this.model.on("change:view", this.onView);
  }

  close() {
    this.model.off("change:head", this.onHead);
    this.model.off("change:view", this.onView);
    clearTimeout(this.detailTimer);
    clearTimeout(this.queryTimer);
    for (const part of [this.labelling, this.list, this.header, this.detail, this.rows, this.channel]) part.close();
    this.root.remove();
  }

  get head() {
    return this.model.get("head") || {};
  }

  get view() {
    return this.model.get("view") || {};
  }

  /** What the parts draw from. */
  state() {
    const { head, view } = this;
    return {
      count: head.n_matching ?? 0,
      threshold: view.threshold ?? head.threshold ?? 0.5,
      selected: this.selected,
      position: this.position,
      showScores: head.show_scores !== false,
      hazards: head.hazards || [],
      hints: this.keys.hints,
      isPicking: this.labelling.isPicking,
      place: `${countText(this.position + 1)} of ${countText(head.n_matching ?? 0)}`,
      isHidden: (record) => this.isBlurring && Boolean(record.blurred) && !this.revealed.has(record.row),
      hazardName: (code) => {
        const hazard = (head.hazards || []).find((other) => other.code === code);
        return hazard && hazard.name !== code ? `${code} ${hazard.name}` : code;
      },
    };
  }

  // What the kernel and other views say

  readHead() {
    const { head } = this;
    if (!this.keys || JSON.stringify(head.keys) !== this.keysRead) {
      this.keysRead = JSON.stringify(head.keys);
      this.keys = readKeys(head.keys);
      this.drawKeys();
    }
    const isAnswer = this.queryAsked !== null && head.version > this.queryAsked;
    if (head.version !== this.rows.version) this.rows.refresh(head.version, isAnswer && this.isOtherQuery);
    if (isAnswer) this.queryAnswered();
    if (head.notice !== this.noticed) this.say((this.noticed = head.notice));
    this.showTrouble(null);
    this.draw();
  }

  readView() {
    const { view } = this;
    const query = JSON.stringify(QUERY.map((name) => view[name]));
    if (this.query !== undefined && query !== this.query) this.queryChanged();
    this.query = query;
    const selected = view.selected ?? null;
    if (selected !== this.selected || (view.position ?? 0) !== this.position) {
      const isElsewhere = selected !== this.selected;
      this.selected = selected;
      this.position = view.position ?? 0;
      if (this.keys) this.list.reveal(this.position);
      if (isElsewhere) this.showDetail();
    }
    if (this.keys) this.draw();
  }

  queryChanged() {
    this.queryAsked = this.head.version ?? 0;
    this.root.classList.add("gmr-asking");
    clearTimeout(this.queryTimer);
    this.queryTimer = setTimeout(() => {
      this.rows.refresh(this.rows.version);
      this.queryAnswered();
      this.draw();
    }, ANSWER_OF_QUERY);
  }

  queryAnswered() {
    clearTimeout(this.queryTimer);
    this.queryAsked = null;
    this.isOtherQuery = false;
    this.root.classList.remove("gmr-asking");
  }

  rowsCame() {
    if (this.selected === null && this.queryAsked === null) {
      const first = this.rows.at(Math.min(this.position, (this.head.n_matching ?? 1) - 1));
      if (first) this.select(this.position, first);
    } else if (!this.shown) this.showDetail();
    this.draw();
  }

  draw() {
    this.header.draw(this.head, this.view, this.keys.hints, this.isBlurring);
    this.bulk.draw(this.head);
    this.list.draw();
    this.drawDetail();
  }

  drawDetail() {
    const known = this.details.get(this.selected);
    if (known && this.detail.row === this.selected) this.detail.draw(known.detail, this.record(), this.state());
    else if (this.selected === null && !this.head.n_matching) this.detail.showNothing("No row matches these filters.");
  }

  drawKeys() {
    const { hints } = this.keys;
    const parts = HELP.filter(([action]) => hints[action]).map(([action, words]) =>
      make("span", "", {}, make("kbd", "", {}, hints[action]), ` ${words}`),
    );
    this.keyList.replaceChildren(...parts);
  }

  // Rows

  record() {
    const here = this.rows.at(this.position);
    return here && here.row === this.selected ? here : this.rows.find(this.selected);
  }

  setView(changes) {
    this.model.set("view", { ...this.view, ...changes });
    this.model.save_changes();
  }

  changeQuery(query) {
    if (Object.keys(query).join() === "threshold") return this.setView(query);
    this.isOtherQuery = true;
    this.detail.keepNote();
    this.list.element.scrollTop = 0;
    return this.setView({ ...query, selected: null, position: 0 });
  }

  select(position, record) {
    this.labelling.stopPicking();
    this.setView({ selected: record.row, position });
    this.shownAt = performance.now();
  }

  /** Select the row at `position`; rows that are not here yet are waited for. */
  async choose(position) {
    const last = (this.head.n_matching ?? 0) - 1;
    const wanted = Math.max(0, Math.min(last, position));
    const record = last < 0 ? undefined : this.rows.at(wanted) || (await this.rows.fetch(wanted));
    if (record) this.select(wanted, record);
  }

  // The conversation

  showDetail() {
    const row = this.selected;
    this.shown = false;
    clearTimeout(this.detailTimer);
    if (row === null) return;
    this.shown = true;
    const known = this.details.get(row);
    if (known) {
      this.detail.show(known.detail, this.record(), this.state());
      const record = this.record();
      const isNoteOld = known.version !== this.head.version && (record?.noted || known.detail.note);
      if (!isNoteOld) return this.fetchNext();
    } else this.detail.content.classList.add("gmr-waiting");
    const isHeld = performance.now() - (this.lastShown || 0) < 150;
    this.lastShown = performance.now();
    this.detailTimer = setTimeout(() => this.loadDetail(row), isHeld && !known ? DETAIL_AFTER : 0);
    return undefined;
  }

  async loadDetail(row) {
    const { version } = this.head;
    try {
      const detail = await this.details.load(row, version);
      if (row !== this.selected) return;
      this.detail.show(detail, this.record(), this.state());
      this.fetchNext();
    } catch (error) {
      if (row === this.selected) this.detail.showNothing("This row cannot be shown.");
      this.showTrouble(error);
    }
  }

  /** Ask for the next row's conversation, so that it is here when a label moves on to it. */
  fetchNext() {
    const next = this.rows.at(this.position + 1);
    if (!next || this.details.has(next.row)) return;
    this.detailTimer = setTimeout(() => this.loadDetail(next.row), DETAIL_AFTER);
  }

  async askWritten(row) {
    try {
      return await this.channel.ask("detail", { row, generate: true });
    } catch (error) {
      this.showTrouble(error);
      return null;
    }
  }

  // One thing after another

  /** Do one thing after another: keys pressed faster than the kernel answers must not label one row twice. */
  inTurn(work) {
    if (this.queued >= MOST_QUEUED) return;
    this.queued = (this.queued || 0) + 1;
    this.turn = this.turn
      .then(() => {
        this.refused = null;
        this.showTrouble(null);
        return work();
      })
      .catch((error) => this.showTrouble(error))
      .finally(() => {
        this.queued -= 1;
      });
  }

  /** Undo or redo; the kernel shows what it touched through `view`. */
  async stepBack(type) {
    const answer = await this.channel.ask(type);
    if (!answer.ok) throw new Error(answer.error || `nothing to ${type}`);
    this.details.clear();
    this.showDetail();
  }

  async jump(kind) {
    const answer = await this.channel.ask("next", { kind, from: this.selected });
    if (answer.row === null || answer.row === undefined) {
      const none = { unlabelled: "Every row of this filter has a label." };
      this.say(none[kind] || "No unlabelled row with a score is left.");
      return;
    }
    this.select(answer.position, { row: answer.row });
    this.list.reveal(answer.position);
  }

  // Actions: of keys and buttons alike

  act(action, fields = {}) {
    const record = this.record();
    const works = {
      safe: () => this.labelling.label({ label: "safe", category: null }, true),
      unsure: () => this.labelling.label({ label: "unsure", category: null }, true),
      skip: () => this.labelling.label({ label: "skip", category: null }, true),
      unsafe: () => this.labelling.labelUnsafe(),
      clear: () => this.labelling.label({ label: null, category: null }, false),
      confirm: () => this.labelling.confirmVerdict(),
      flag: () => this.labelling.label({ flag: !record?.flag }, false),
      keep_note: () => this.labelling.label({ note: fields.note }, false, fields.row),
      next: () => this.choose(this.position + 1),
      previous: () => this.choose(this.position - 1),
      undo: () => this.stepBack("undo"),
      redo: () => this.stepBack("redo"),
      next_unlabelled: () => this.jump("unlabelled"),
      most_uncertain: () => this.jump("uncertain"),
    };
    const atOnce = {
      focus: () => this.focus(),
      open: () => this.open(record),
      note: () => this.detail.note.focus(),
      search: () => this.header.search.select(),
      pick: () => this.labelling.pickHazard(fields.at),
      bulk: () => this.toggleBulk(),
      blur: () => {
        this.isBlurring = !this.isBlurring;
        this.revealed.clear();
        this.draw();
      },
    };
    if (action === "unsafe") this.labelling.expectPick(); // digits may come before its turn
    if (atOnce[action]) atOnce[action]();
    else if (works[action]) this.inTurn(works[action]);
  }

  open(record) {
    if (this.labelling.isPicking) this.act("next");
    else if (record && this.state().isHidden(record)) {
      this.revealed.add(record.row);
      this.draw();
      this.focus();
    } else {
      this.detail.talk.focus();
      this.detail.talk.scrollIntoView?.({ block: "nearest" });
    }
  }

  toggleBulk() {
    if (this.bulk.isOpen) this.bulk.close();
    else if (this.queryAsked === null) this.bulk.open(this.head);
    this.header.bulk.setAttribute("aria-expanded", String(this.bulk.isOpen));
  }

  bulkClosed() {
    this.header.bulk.setAttribute("aria-expanded", "false");
    this.focus();
  }

  keyDown(event) {
    if (isTyping(event)) return;
    const isButton = Boolean(event.target.closest("button, summary, [role='slider']"));
    if (isButton && ["Enter", " "].includes(event.key)) return;
    if (event.target === this.detail.talk && /^(Arrow|Page|Home|End)/.test(event.key)) return; // it scrolls
    const leaps = { PageDown: this.list.perPage(), PageUp: -this.list.perPage(), Home: -Infinity, End: Infinity };
    if (/^[0-9]$/.test(event.key) && this.labelling.takesDigits) this.labelling.takeDigit(event.key);
    else if (event.key in leaps) this.inTurn(() => this.choose(this.position + leaps[event.key]));
    else if (this.keys.actions.has(pressedKey(event))) this.act(this.keys.actions.get(pressedKey(event)));
    else return;
    event.preventDefault();
  }

  focus() {
    this.list.element.focus({ preventScroll: true });
  }

  // Words

  say(words) {
    if (words) setText(this.live, onOneLine(words));
  }

  /** Show what went wrong; null takes it away, but for a label refused, what the kernel still says, and its silence. */
  showTrouble(error) {
    const told = error || this.refused;
    const words = onOneLine(told?.message || (this.isOverdue ? SILENT : this.head.error || ""));
    setText(this.trouble, words);
    this.trouble.hidden = !words;
  }

  showWaiting(isWaiting) {
    this.isOverdue = isWaiting;
    this.showTrouble(null);
  }
}

/** Hide the static picture of this review: it is for pages where no widget is alive. */
function hidePicture(mark) {
  for (const picture of document.querySelectorAll("[data-guard-magic-review]")) {
    if (picture.dataset.guardMagicReview === mark) picture.style.display = "none";
  }
}

function render({ model, el }) {
  const review = new Review(model, el);
  hidePicture(model.get("head").mark);
  return () => review.close();
}

export default { render };
