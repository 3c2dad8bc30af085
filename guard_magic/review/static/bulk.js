// "Apply to all in this filter": asked once, in place; one step that one undo takes back.

import { countText, make, makeButton, onOneLine, setAttribute } from "./dom.js";

const LABELS = ["safe", "unsafe", "unsure", "skip"];

export class Bulk {
  /** `apply(label, category)` is called once it was confirmed; `onClose()` when the question goes away. */
  constructor(apply, onClose) {
    this.onClose = onClose;
    this.label = null;
    this.count = 0;
    this.question = make("span", "gmr-bulk-question");
    this.choices = LABELS.map((label) =>
      makeButton(`gmr-choice gmr-as-${label}`, label, () => this.choose(label), { "aria-pressed": "false" }),
    );
    this.hazard = make("select", "gmr-order", { "aria-label": "Hazard" });
    this.confirm = makeButton("gmr-primary", "", () => {
      const { label } = this;
      const category = label === "unsafe" ? this.hazard.value || null : null;
      this.close();
      apply(label, category);
    });
    const cancel = makeButton("gmr-quiet", "Cancel", () => this.close());
    const choices = make("span", "gmr-tool-group", { role: "group", "aria-label": "Label for all" }, ...this.choices);
    this.element = make("div", "gmr-bulk", { role: "group", "aria-label": "Apply to all", hidden: true });
    this.element.append(this.question, choices, this.hazard, this.confirm, cancel);
  }

  get isOpen() {
    return !this.element.hidden;
  }

  open(head) {
    this.element.hidden = false;
    this.hazard.replaceChildren(
      make("option", "", { value: "" }, "no hazard"),
      ...(head.hazards || []).map((h) => make("option", "", { value: h.code }, onOneLine(`${h.code} ${h.name}`))),
    );
    this.choose(null);
    this.draw(head);
    this.choices[0].focus({ preventScroll: true });
  }

  close() {
    if (!this.isOpen) return;
    this.element.hidden = true;
    this.onClose();
  }

  choose(label) {
    this.label = label;
    for (const [at, choice] of this.choices.entries()) {
      setAttribute(choice, "aria-pressed", String(LABELS[at] === label));
    }
    this.hazard.hidden = label !== "unsafe";
    this.write();
  }

  draw(head) {
    this.count = head.n_matching ?? 0;
    if (this.isOpen) this.write();
  }

  write() {
    const rows = `${countText(this.count)} row${this.count === 1 ? "" : "s"}`;
    this.question.textContent = `Label all ${rows} of this filter as`;
    this.confirm.textContent = this.label ? `Label ${rows} ${this.label}` : "Choose a label";
    this.confirm.disabled = !this.label || !this.count;
  }
}
