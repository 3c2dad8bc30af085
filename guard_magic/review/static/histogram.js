// The histogram of scores with the threshold on it: dragged, or moved by keys as a slider.

import { countText, make, setAttribute, setText } from "./dom.js";

const SEND_EVERY = 80; // ms between thresholds that are sent while dragging
const STEPS = { ArrowLeft: -0.01, ArrowDown: -0.01, ArrowRight: 0.01, ArrowUp: 0.01, PageDown: -0.1, PageUp: 0.1 };

export class Histogram {
  /** `onMove(threshold)` is called while the threshold moves, and at its end. */
  constructor(onMove) {
    this.onMove = onMove;
    this.threshold = 0.5;
    this.isHeld = false;
    this.sent = 0;
    this.timer = null;
    this.drawn = "";
    this.below = make("div", "gmr-bins");
    this.above = make("div", "gmr-bins gmr-above");
    this.thumb = make("div", "gmr-thumb", {
      role: "slider",
      tabindex: "0",
      "aria-label": "Threshold",
      "aria-valuemin": "0",
      "aria-valuemax": "1",
    });
    this.value = make("span", "gmr-thumb-value", { "aria-hidden": "true" });
    this.thumb.append(this.value);
    const bars = make("div", "gmr-bars", { role: "img" }, this.below, this.above);
    this.plot = make("div", "gmr-plot", {}, bars, this.thumb);
    const ticks = ["0", ".25", ".5", ".75", "1"].map((tick) => make("span", "", {}, tick));
    const scale = make("div", "gmr-ticks", { "aria-hidden": "true" }, ...ticks);
    this.element = make("div", "gmr-histogram", {}, this.plot, scale);
    this.listen();
  }

  listen() {
    this.plot.addEventListener("pointerdown", (event) => {
      if (event.button !== 0) return;
      event.preventDefault();
      this.thumb.focus({ preventScroll: true });
      this.isHeld = true;
      this.plot.setPointerCapture(event.pointerId);
      this.moveTo(this.read(event));
    });
    this.plot.addEventListener("pointermove", (event) => this.isHeld && this.moveTo(this.read(event)));
    for (const name of ["pointerup", "pointercancel"]) {
      this.plot.addEventListener(name, () => {
        if (!this.isHeld) return;
        this.isHeld = false;
        this.send();
      });
    }
    this.thumb.addEventListener("keydown", (event) => {
      if (event.ctrlKey || event.metaKey || event.altKey) return;
      const ends = { Home: 0, End: 1 };
      const step = STEPS[event.key];
      if (step === undefined && !(event.key in ends)) return;
      event.preventDefault();
      event.stopPropagation();
      this.moveTo(event.key in ends ? ends[event.key] : this.threshold + step);
    });
  }

  read(event) {
    const box = this.plot.getBoundingClientRect();
    return (event.clientX - box.left) / box.width;
  }

  moveTo(wanted) {
    const threshold = Math.round(Math.min(1, Math.max(0, wanted)) * 1000) / 1000;
    if (threshold === this.threshold) return;
    this.threshold = threshold;
    this.place();
    if (performance.now() - this.sent > SEND_EVERY) this.send();
    else {
      clearTimeout(this.timer);
      this.timer = setTimeout(() => this.send(), SEND_EVERY);
    }
  }

  send() {
    clearTimeout(this.timer);
    this.sent = performance.now();
    this.onMove(this.threshold);
  }

  /** Draw `bins` (counts); `threshold` is ignored while the slider is held. */
  draw(bins, threshold, flagged) {
    if (!this.isHeld && performance.now() - this.sent > 400) this.threshold = threshold;
    const key = bins.join();
    if (key !== this.drawn) {
      this.drawn = key;
      // Guards are sure of most rows: on a plain scale the two ends would hide all that lies between.
      const highest = Math.sqrt(Math.max(1, ...bins));
      for (const layer of [this.below, this.above]) {
        layer.replaceChildren(
          ...bins.map((count) => {
            const bin = make("i");
            bin.style.setProperty("--h", count ? Math.max(0.03, Math.sqrt(count) / highest) : 0);
            return bin;
          }),
        );
      }
      const title = "Scores of all rows, on a square-root scale. Drag the line to move the threshold.";
      setAttribute(this.plot, "title", title);
      const total = bins.reduce((sum, count) => sum + count, 0);
      setAttribute(this.plot.firstChild, "aria-label", `Histogram of ${countText(total)} scores`);
    }
    this.flagged = flagged;
    this.place();
  }

  place() {
    const text = String(this.threshold);
    this.plot.style.setProperty("--t", text);
    setText(this.value, text.replace(/^0\./, "."));
    setAttribute(this.thumb, "aria-valuenow", text);
    setAttribute(this.thumb, "aria-valuetext", `${text}, ${countText(this.flagged || 0)} flagged`);
  }

  close() {
    clearTimeout(this.timer);
  }
}
