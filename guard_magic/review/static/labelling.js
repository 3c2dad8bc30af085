// Labels: drawn at once as pending, stored when the kernel says so, and taken off the screen where it refuses; and the
// hazard that is picked after "unsafe".

import { countText } from "./dom.js";

const DIGITS_APART = 700; // ms within which "1" and "4" are fourteen

export class Labelling {
  /** `review` knows the rows and what is selected, and goes on to the next. */
  constructor(review) {
    this.review = review;
    this.isPicking = false; // a hazard, for the row that was labelled unsafe
    this.willPick = false; // once its turn has come
    this.digits = "";
  }

  close() {
    clearTimeout(this.digitTimer);
  }

  get takesDigits() {
    return this.isPicking || this.willPick;
  }

  expectPick() {
    this.willPick = this.review.state().hazards.length > 0;
  }

  stopPicking() {
    this.isPicking = false;
    this.digits = "";
  }

  /** Label `row` (the selected one unless told otherwise). `moves`: go on to the next row. */
  async label(fields, moves, row = this.review.selected) {
    if (row === null) return;
    const record = this.review.rows.find(row) || {}; // a row that left the list can still get its note
    const position = this.review.position;
    const seconds = Math.round((performance.now() - (this.review.shownAt || performance.now())) / 100) / 10;
    this.draft(record, fields);
    this.review.details.change(row, record, fields);
    const staysPut = !this.review.view.labels?.length && this.review.view.sort !== "label";
    const stored = this.storeLabel(record, row, fields, seconds);
    this.review.draw();
    if (moves && staysPut) await this.review.choose(position + 1);
    else if (!staysPut && (await stored)) await this.settle(row, position, moves);
  }

  /** Draw a label that is not stored yet, over what the kernel had before the first such one. */
  draft(record, fields) {
    const { label = null, label_category: category = null, flag = false, noted = false } = record;
    record.stored ??= { label, label_category: category, flag, noted };
    record.drafts = (record.drafts || 0) + 1;
    Object.assign(record, drawn(fields));
    record.pending = record.label || "none";
  }

  /** Ask the kernel to store it, and promise whether it did. Rows that came since are as the kernel has them. */
  async storeLabel(record, row, fields, seconds) {
    let refused = null;
    try {
      const answer = await this.review.channel.ask("label", { rows: [row], ...fields, seconds });
      if (!answer.ok) throw new Error(answer.error || "the label was not stored");
      Object.assign(record.stored, drawn(fields));
      if ("note" in fields) this.review.detail.noteStored(row);
    } catch (error) {
      refused = error;
    }
    record.drafts -= 1;
    if (record.drafts === 0) {
      Object.assign(record, record.stored);
      delete record.pending;
      delete record.stored;
    }
    if (refused) this.refuse(row, fields, refused);
    this.review.draw();
    return !refused;
  }

  /** Say that a label was not stored, and show the row as it is. A note stays where it was written. */
  refuse(row, fields, error) {
    if ("note" in fields) this.review.detail.noteRefused(row, fields.note);
    this.review.details.forget(row);
    if (row === this.review.selected) {
      this.isPicking = false;
      this.review.showDetail();
    }
    this.review.refused = error;
    this.review.showTrouble(error);
  }

  /** After a label that changes the order or the filter: stay at the same position in the list. */
  async settle(row, position, moves) {
    await this.review.rows.load(Math.floor(position / 100));
    const here = this.review.rows.at(position);
    if (here && here.row === row) return moves ? this.review.choose(position + 1) : undefined;
    if (here && moves) return this.review.select(position, here);
    return moves ? this.review.choose(position - 1) : undefined;
  }

  async labelAll(label, category) {
    const { version } = this.review.head;
    const answer = await this.review.channel.ask("label", { rows: "matching", label, category, version });
    if (!answer.ok) throw new Error(answer.error || "the labels were not stored");
    this.review.say(`${countText(answer.n)} rows labelled ${label}. One undo takes it back.`);
  }

  confirmVerdict() {
    const record = this.review.record();
    const { threshold, showScores } = this.review.state();
    if (!record || !showScores || record.score === null) return this.review.say("There is no verdict to confirm.");
    const isUnsafe = record.score >= threshold;
    return this.label({ label: isUnsafe ? "unsafe" : "safe", category: isUnsafe ? record.category : null }, true);
  }

  pickHazard(at) {
    const hazard = this.review.state().hazards[at];
    this.isPicking = false;
    this.digits = "";
    if (hazard) this.review.inTurn(() => this.label({ label: "unsafe", category: hazard.code }, true));
  }

  /** Digits after "unsafe" choose the hazard; where a second digit could follow, it is waited for. */
  takeDigit(digit) {
    clearTimeout(this.digitTimer);
    const { length } = this.review.state().hazards;
    this.digits += digit;
    const number = Number(this.digits);
    if (number < 1 || number > length) this.digits = "";
    else if (number * 10 > length) this.pickHazard(number - 1);
    else this.digitTimer = setTimeout(() => this.pickHazard(number - 1), DIGITS_APART);
  }

  async labelUnsafe() {
    this.isPicking = this.review.state().hazards.length > 0;
    this.willPick = false;
    await this.label({ label: "unsafe", category: null }, !this.isPicking);
  }
}

/** What of a row's record a label changes. */
function drawn(fields) {
  return {
    ...("label" in fields && { label: fields.label, label_category: fields.category ?? null }),
    ...("flag" in fields && { flag: fields.flag }),
    ...("note" in fields && { noted: Boolean(fields.note) }),
  };
}
