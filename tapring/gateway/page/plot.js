// Plots events per second of the last two minutes: offered, shown, missed.

import { byId, say } from "./dom.js";
import { rate } from "./text.js";

const SECONDS = 120;
const EVERY_MS = 1000;

/** Samples and draws. `read` returns the counts so far: `{offered, shown, missed}`. */
export class Plot {
  #read;
  #canvas = byId("plot");
  #samples = [];
  #last = null;
  #lastAt = 0;
  #dirty = true;

  constructor(read) {
    this.#read = read;
    setInterval(() => this.#sample(), EVERY_MS);
    new ResizeObserver(() => this.draw(true)).observe(this.#canvas);
    matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => this.draw(true));
  }

  reset() {
    this.#samples = [];
    this.#last = null;
    this.#dirty = true;
  }

  #sample() {
    const now = performance.now();
    const counts = this.#read();
    if (this.#last) {
      const seconds = (now - this.#lastAt) / 1000;
      const per = (name) => Math.max(0, counts[name] - this.#last[name]) / seconds;
      this.#samples.push({ offered: per("offered"), shown: per("shown"), missed: per("missed") });
      if (this.#samples.length > SECONDS) this.#samples.shift();
      this.#dirty = true;
    }
    this.#last = counts;
    this.#lastAt = now;
  }

  /** Draw what is new. */
  draw(always = false) {
    if ((!this.#dirty && !always) || !this.#canvas.clientWidth) return;
    this.#dirty = false;
    const { clientWidth: width, clientHeight: height } = this.#canvas;
    const scale = devicePixelRatio || 1;
    this.#canvas.width = Math.round(width * scale);
    this.#canvas.height = Math.round(height * scale);
    const context = this.#canvas.getContext("2d");
    context.scale(scale, scale);
    const style = getComputedStyle(this.#canvas);
    const color = (name) => style.getPropertyValue(name).trim();
    const most = Math.max(1, ...this.#samples.flatMap(({ offered, shown }) => [offered, shown]));
    const x = (index) => width - (this.#samples.length - 1 - index) * (width / (SECONDS - 1));
    const y = (value) => height - 1.5 - (value / most) * (height - 5);
    const line = (name) => {
      context.beginPath();
      this.#samples.forEach((each, index) => context.lineTo(x(index), y(each[name])));
    };
    context.strokeStyle = color("--line");
    context.strokeRect(-1, height - 0.5, width + 2, 2);
    if (this.#samples.length > 1) {
      line("offered");
      context.lineTo(width, height);
      context.lineTo(x(0), height);
      context.fillStyle = color("--plot-offered");
      context.fill();
      line("shown");
      context.lineWidth = 1.5;
      context.lineJoin = "round";
      context.strokeStyle = color("--plot-shown");
      context.stroke();
      context.fillStyle = color("--plot-lost");
      this.#samples.forEach((each, index) => {
        if (each.missed) context.fillRect(x(index) - 1, height - 8, 2.5, 8);
      });
    }
    this.#say();
  }

  #say() {
    const now = this.#samples.at(-1) ?? { shown: 0 };
    const most = Math.max(0, ...this.#samples.map(({ shown }) => shown));
    say(byId("plot-told"), `${rate(now.shown)} now, at most ${rate(most)}`);
    this.#canvas.setAttribute("aria-label",
      `Events shown per second in the last two minutes: ${rate(now.shown)} now, at most ${rate(most)}`);
  }
}
