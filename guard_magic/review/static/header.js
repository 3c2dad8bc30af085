// What is done and what is shown: progress, counts as filters, the histogram, hazards, search and order.

import { countText, make, makeButton, makeKey, onOneLine, plural, setAttribute, setText } from "./dom.js";
import { Histogram } from "./histogram.js";

const LABEL_FILTERS = ["safe", "unsafe", "unsure", "skip", "unlabelled"];
const MODEL = { flagged: "flagged", safe: "not flagged", unscored: "not scored" };
const ORDERS = {
  uncertainty: "by uncertainty",
  random: "random sample",
  stratified: "stratified by score",
  score: "by score",
  hazard: "by hazard",
  length: "by length",
  label: "by label",
  row: "by row",
};
const SEARCH_AFTER = 200; // ms without typing

export class Header {
  /** `change(query)` sets parts of the view; `act(action)` is a button with a key of its own. */
  constructor(change, act) {
    this.change = change;
    this.view = {};
    this.chips = {};
    this.progress = make("p", "gmr-progress");
    const meter = { role: "progressbar", "aria-label": "Labelled", "aria-valuemin": "0" };
    this.meter = make("div", "gmr-meter", meter, make("i"));
    this.labels = make("div", "gmr-chips", { role: "group", "aria-label": "Filter by your label" });
    this.model = make("div", "gmr-chips gmr-model", { role: "group", "aria-label": "Filter by the guard's verdict" });
    this.hazards = make("div", "gmr-chips gmr-hazards", { role: "group", "aria-label": "Filter by hazard" });
    this.histogram = new Histogram((threshold) => change({ threshold }));
    this.blind = make("p", "gmr-blind", {}, "The guard's scores and hazards are hidden while you label.");
    this.figure = make("div", "gmr-figure", {}, this.histogram.element, this.model);
    const top = make("div", "gmr-top", {}, this.progress, this.labels);
    this.makeTools(act);
    this.element = make("div", "gmr-head", {}, top, this.meter, this.figure, this.blind, this.hazards, this.tools);
  }

  makeTools(act) {
    this.search = make("input", "gmr-search", {
      type: "search",
      placeholder: "Search the text",
      "aria-label": "Search the text",
      spellcheck: "false",
      autocomplete: "off",
    });
    this.search.addEventListener("input", () => {
      clearTimeout(this.timer);
      this.timer = setTimeout(() => this.change({ search: this.search.value }), SEARCH_AFTER);
    });
    this.search.addEventListener("keydown", (event) => {
      if (event.key !== "Enter") return;
      clearTimeout(this.timer);
      if (this.search.value !== this.view.search) this.change({ search: this.search.value });
      act("focus");
    });
    this.order = make("select", "gmr-order", { "aria-label": "Order of the rows" });
    this.order.addEventListener("change", () => {
      this.change({ sort: this.order.value });
      act("focus");
    });
    this.direction = makeButton("gmr-direction", "", () => this.change({ descending: !this.view.descending }));
    this.matching = make("span", "gmr-matching");
    this.blur = makeButton("gmr-quiet gmr-toggle", "Blur", () => act("blur"));
    this.clear = makeButton("gmr-quiet", "Clear filters", () => {
      this.change({ search: "", hazards: [], labels: [], model: null });
      act("focus");
    });
    this.buttons = {};
    const acts = [
      ["undo", "Undo"],
      ["redo", "Redo"],
      ["next_unlabelled", "Next unlabelled"],
      ["most_uncertain", "Most uncertain"],
    ];
    for (const [action, words] of acts) {
      this.buttons[action] = makeButton("gmr-quiet", [words, makeKey("")], () => act(action));
    }
    this.bulk = makeButton("gmr-quiet", "Apply to all…", () => act("bulk"), { "aria-expanded": "false" });
    const filters = [this.search, this.order, this.direction, this.matching, this.clear];
    const filter = make("div", "gmr-tool-group", {}, ...filters);
    const jump = make("div", "gmr-tool-group", {}, ...Object.values(this.buttons), this.bulk, this.blur);
    this.tools = make("div", "gmr-tools", {}, filter, jump);
  }

  /** Draw the kernel's `head` and the shared `view`; `hints` are the keys as text. */
  draw(head, view, hints, isBlurred) {
    this.view = view;
    this.blur.hidden = !head.blur?.length;
    setAttribute(this.blur, "aria-pressed", String(isBlurred));
    const blurred = "Texts that may be hard to read are blurred; press to show them";
    setAttribute(this.blur, "title", isBlurred ? blurred : "All texts are shown");
    this.drawProgress(head);
    const labels = LABEL_FILTERS.map((label) => [label, label, label, head.counts?.[label] ?? 0]);
    this.drawChips(this.labels, "labels", labels, view.labels);
    const model = head.show_scores ? head.model : null;
    const verdicts = model ? Object.entries(MODEL).map(([key, words]) => [key, words, words, model[key] ?? 0]) : [];
    this.drawChips(this.model, "model", verdicts, view.model ? [view.model] : []);
    const hazards = (head.show_scores ? head.hazards || [] : []).filter(
      (hazard) => hazard.count > 0 || view.hazards?.includes(hazard.code),
    );
    this.drawChips(this.hazards, "hazards", hazards.map((h) => [h.code, h.code, h.name, h.count]), view.hazards);
    const hasHistogram = Boolean(head.show_scores && head.hist);
    this.figure.hidden = !hasHistogram && !model;
    this.histogram.element.hidden = !hasHistogram;
    this.blind.hidden = head.show_scores !== false;
    this.hazards.hidden = hazards.length === 0;
    if (hasHistogram) this.histogram.draw(head.hist, view.threshold ?? head.threshold, model?.flagged);
    this.drawTools(head, view, hints);
  }

  drawProgress(head) {
    const percent = head.total ? (100 * head.done) / head.total : 0;
    const parts = [make("b", "", {}, countText(head.done ?? 0)), ` of ${countText(head.total ?? 0)} labelled`];
    const asides = [percent > 0 && percent < 10 ? `${percent.toFixed(1)}%` : `${Math.floor(percent)}%`];
    if (head.rate) asides.push(`${head.rate < 10 ? head.rate.toFixed(1) : Math.round(head.rate)} a minute`);
    if (head.annotator) asides.push(`as ${onOneLine(head.annotator)}`);
    const words = asides.map((aside) => make("span", "gmr-aside", {}, aside));
    this.progress.replaceChildren(...parts, ...words);
    const file = head.label_file && `Every label is kept at once in ${onOneLine(head.label_file)}`;
    setAttribute(this.progress, "title", file || null);
    this.meter.style.setProperty("--v", head.total ? head.done / head.total : 0);
    setAttribute(this.meter, "aria-valuemax", head.total || 1);
    setAttribute(this.meter, "aria-valuenow", head.done || 0);
  }

  /** Chips that stay the same elements while counts change, so that the focus stays where it is. */
  drawChips(group, name, wanted, pressed = []) {
    const key = wanted.map(([value]) => value).join("\n");
    if (group.dataset.key !== key) {
      group.dataset.key = key;
      this.chips[name] = new Map();
      group.replaceChildren(
        ...wanted.map(([value, words]) => {
          const shown = make("span", "gmr-chip-name", {}, onOneLine(words), make("span", "gmr-said"));
          const parts = [shown, " ", make("span", "gmr-chip-count")];
          const chip = makeButton(`gmr-chip gmr-is-${name}`, parts, () => this.toggle(name, value));
          if (name !== "hazards") chip.dataset.value = value;
          this.chips[name].set(value, chip);
          return chip;
        }),
      );
    }
    for (const [value, words, title, count] of wanted) {
      const chip = this.chips[name].get(value);
      const isPressed = (pressed || []).includes(value);
      setAttribute(chip, "aria-pressed", String(isPressed));
      setText(chip.lastChild, countText(count ?? 0));
      if (name !== "hazards") continue;
      const full = onOneLine(title);
      setText(chip.firstChild.lastChild, title === words ? "" : ` ${full}`); // read out always, seen when pressed
      setAttribute(chip, "title", full);
    }
  }

  toggle(name, value) {
    if (name === "model") this.change({ model: this.view.model === value ? null : value });
    else {
      const chosen = this.view[name] || [];
      this.change({ [name]: chosen.includes(value) ? chosen.filter((other) => other !== value) : [...chosen, value] });
    }
  }

  drawTools(head, view, hints) {
    const root = this.element.getRootNode();
    const search = view.search || "";
    if (root.activeElement !== this.search && this.search.value !== search) this.search.value = search;
    const orders = head.orders || [];
    if (this.order.dataset.key !== orders.join()) {
      this.order.dataset.key = orders.join();
      const options = orders.map((order) => make("option", "", { value: order }, ORDERS[order] || order));
      this.order.replaceChildren(...options);
    }
    this.order.value = view.sort ?? head.sort;
    setText(this.direction, view.descending ? "↓" : "↑");
    const turn = view.descending ? "descending; change to ascending" : "ascending; change to descending";
    setAttribute(this.direction, "aria-label", turn);
    setAttribute(this.direction, "title", view.descending ? "Descending" : "Ascending");
    const isFiltered = Boolean(view.search || view.hazards?.length || view.labels?.length || view.model);
    const all = plural(head.n_rows ?? 0, "row");
    setText(this.matching, isFiltered ? `${countText(head.n_matching)} of ${all}` : all);
    this.clear.hidden = !isFiltered;
    this.buttons.undo.disabled = !head.can_undo;
    this.buttons.redo.disabled = !head.can_redo;
    this.buttons.most_uncertain.hidden = !head.show_scores;
    for (const [action, button] of Object.entries(this.buttons)) setText(button.lastChild, hints[action]);
    setText(this.bulk, `Apply to all ${countText(head.n_matching ?? 0)}…`);
    this.bulk.disabled = !head.n_matching;
    setAttribute(this.search, "placeholder", `Search the text   ${hints.search}`);
  }

  close() {
    clearTimeout(this.timer);
    this.histogram.close();
  }
}
