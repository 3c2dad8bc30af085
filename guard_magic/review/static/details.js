// Conversations that were read, so that going back to one, or on to the next, asks nobody.

const MOST_DETAILS = 40;

export class Details {
  /** `ask(type, fields)` promises an answer. */
  constructor(ask) {
    this.ask = ask;
    this.known = new Map(); // row -> {detail, version}
  }

  has(row) {
    return this.known.has(row);
  }

  get(row) {
    return this.known.get(row);
  }

  /** Promise the detail of `row` as the kernel has it, which is at `version` of the head. */
  async load(row, version) {
    const detail = await this.ask("detail", { row });
    this.known.delete(row);
    this.known.set(row, { detail, version });
    if (this.known.size > MOST_DETAILS) this.known.delete(this.known.keys().next().value);
    return detail;
  }

  /** Take over a label that is drawn: `record` is the row's line as it is now, `fields` what was changed. */
  change(row, record, fields) {
    const detail = this.known.get(row)?.detail;
    if (!detail) return;
    Object.assign(detail, { label: record.label, label_category: record.label_category });
    if ("note" in fields) detail.note = fields.note;
  }

  forget(row) {
    this.known.delete(row);
  }

  clear() {
    this.known.clear();
  }
}
