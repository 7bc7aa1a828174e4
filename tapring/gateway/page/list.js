// The virtual list: of all rows, only those that can be seen have elements.
//
// Rows are of one height. A row keeps its place while others drop off above it: the space that they
// leave stays empty until the list follows the newest again, or the reader scrolls there.

import { element, say } from "./dom.js";
import { clock, counted, visible } from "./text.js";

const PREVIEW = 400;
const SLACK = 2; // CSS pixels: positions are rounded on some screens

/** Shows rows in the element `grid`. `changed` is called when the reader has scrolled or selected. */
export class List {
  following = true;
  selected = null;
  #grid;
  #space;
  #rows;
  #changed;
  #lanes;
  #pool = [];
  #base = 0;
  #top = 0;
  #height = 0;
  #rowHeight = 24;
  #frozen = null;

  constructor(grid, space, rows, lanes, changed) {
    this.#grid = grid;
    this.#space = space;
    this.#rows = rows;
    this.#lanes = lanes;
    this.#changed = changed;
    grid.addEventListener("scroll", () => this.#scrolled(), { passive: true });
    // Following ends with the first sign that somebody wants to go elsewhere.
    grid.addEventListener("wheel", (event) => event.deltaY < 0 && this.#leave(), { passive: true });
    grid.addEventListener("touchmove", () => this.#leave(), { passive: true });
    grid.addEventListener("click", (event) => this.#clicked(event));
    new ResizeObserver(() => this.#measure()).observe(grid);
    this.#measure();
  }

  get element() {
    return this.#grid;
  }

  /** The number of the row behind the last one that is shown. */
  get end() {
    return this.#frozen ?? this.#rows.end;
  }

  get paused() {
    return this.#frozen !== null;
  }

  /** Show no rows that come from now on, or show them. */
  pause(paused) {
    this.#frozen = paused ? this.#rows.end : null;
    this.#hold();
    this.#changed();
  }

  /** How many events are behind those that the reader can see. */
  get waiting() {
    const last = this.paused ? this.end : Math.min(this.end, this.#visible()[1]);
    return this.following && !this.paused ? 0 : this.#rows.end - last + this.#rows.passed;
  }

  /** Begin anew, after the rows were cleared. */
  reset() {
    this.following = true;
    this.selected = null;
    this.#base = this.#rows.first;
    this.#changed();
  }

  /** Go to the end, and stay there. */
  follow() {
    this.following = true;
    this.#hold();
    this.#changed();
  }

  /** Select a row and show it; the list holds it there. */
  select(number) {
    const { first } = this.#rows;
    if (this.end === first) return;
    this.selected = Math.max(first, Math.min(number, this.end - 1));
    this.following = false;
    this.#place();
    const at = (this.selected - this.#base) * this.#rowHeight;
    if (at < this.#top) this.#scrollTo(at);
    const most = at + this.#rowHeight - this.#height;
    if (most > this.#top) this.#scrollTo(most);
    this.#hold();
    this.#changed();
  }

  /** Select the event that is so many further; the last one if none is selected. */
  step(by) {
    const known = this.selected !== null && this.selected >= this.#rows.first;
    this.select(known ? this.selected + by : this.end - 1);
  }

  /** How many rows fit. */
  get page() {
    return Math.max(1, Math.floor(this.#height / this.#rowHeight) - 1);
  }

  /** Bring the elements up to date. Called once a frame, if something has changed. */
  render() {
    if (this.following) this.#base = this.#rows.first;
    this.#place();
    if (this.following) this.#scrollTo(this.#space.offsetHeight - this.#height);
    else this.#fillAbove();
    this.#hold();
    const [from, to] = this.#visible();
    this.#grow(to - from);
    const size = this.#pool.length;
    for (const slot of this.#pool) slot.used = false;
    for (let number = from; number < to; number += 1) {
      this.#fill(this.#pool[number % size], number);
    }
    for (const slot of this.#pool) if (!slot.used && slot.number !== null) empty(slot);
    this.#grid.setAttribute("aria-rowcount", this.#rows.total);
    const active = this.#pool.find((slot) => slot.used && slot.number === this.selected);
    if (active) this.#grid.setAttribute("aria-activedescendant", active.root.id);
    else this.#grid.removeAttribute("aria-activedescendant");
  }

  /** Keep the rows that can be seen, unless the newest are followed. */
  #hold() {
    const free = this.following && !this.paused;
    this.#rows.heldFrom = free ? Infinity : this.#visible()[0];
  }

  #visible() {
    const { first } = this.#rows;
    const from = this.#base + Math.floor(this.#top / this.#rowHeight);
    const to = this.#base + Math.ceil((this.#top + this.#height) / this.#rowHeight);
    return [Math.min(Math.max(first, from), this.end), Math.max(first, Math.min(to, this.end))];
  }

  #place() {
    const height = `${Math.max(0, this.end - this.#base) * this.#rowHeight}px`;
    if (this.#space.style.height !== height) this.#space.style.height = height;
  }

  /** Give the space of rows that have dropped off back, once the reader gets there. */
  #fillAbove() {
    const gone = this.#rows.first - this.#base;
    if (gone <= 0 || this.#top >= gone * this.#rowHeight) return;
    this.#base = this.#rows.first;
    this.#place();
    this.#scrollTo(0);
  }

  #scrollTo(top) {
    if (Math.abs(this.#grid.scrollTop - top) >= 1) this.#grid.scrollTop = top;
    this.#top = this.#grid.scrollTop;
  }

  #scrolled() {
    const before = this.#top;
    const top = this.#grid.scrollTop;
    if (top === before) return;
    this.#top = top;
    // A list that has become higher is moved to its end by the browser: that is no leaving.
    const atEnd = top + this.#grid.clientHeight >= this.#space.offsetHeight - SLACK;
    if (atEnd) this.following ||= top > before;
    else if (top < before) this.following = false;
    this.#hold();
    this.#changed();
  }

  #leave() {
    if (!this.following || this.#space.offsetHeight <= this.#height) return;
    this.following = false;
    this.#hold();
    this.#changed();
  }

  #clicked(event) {
    const root = event.target.closest(".event-row");
    const slot = this.#pool.find((each) => each.root === root);
    if (slot?.number != null) {
      this.select(slot.number);
      this.#grid.dispatchEvent(new CustomEvent("choose"));
    }
  }

  #measure() {
    this.#height = this.#grid.clientHeight;
    this.#rowHeight = parseFloat(getComputedStyle(this.#grid).getPropertyValue("--row")) || 24;
    this.#grow(Math.ceil(this.#height / this.#rowHeight) + 1);
    this.#changed();
  }

  #grow(size) {
    if (this.#pool.length >= size) return;
    while (this.#pool.length < size) {
      const slot = newSlot(this.#pool.length);
      this.#pool.push(slot);
      this.#space.append(slot.root);
    }
    for (const slot of this.#pool) empty(slot);
  }

  #fill(slot, number) {
    slot.used = true;
    const top = (number - this.#base) * this.#rowHeight;
    if (slot.top !== top) {
      slot.top = top;
      slot.root.style.transform = `translateY(${top}px)`;
    }
    const selected = number === this.selected;
    if (slot.selected !== selected) {
      slot.selected = selected;
      slot.root.setAttribute("aria-selected", selected);
    }
    const row = this.#rows.at(number);
    if (slot.row === row && slot.number === number) return;
    if (slot.number === null) slot.root.hidden = false;
    slot.row = row;
    slot.number = number;
    slot.root.setAttribute("aria-rowindex", this.#rows.place(number));
    if (slot.root.dataset.kind !== row.kind) slot.root.dataset.kind = row.kind;
    say(slot.time, clock(row.from.time));
    const lane = row.from.lane && this.#lanes.of(row.from);
    if (slot.root.dataset.lane !== lane?.color) slot.root.dataset.lane = lane?.color ?? "";
    say(slot.lane, lane?.name ?? "");
    say(slot.stage, row.from.stage);
    say(slot.text, textOf(row));
  }
}

/** What a row says. */
function textOf(row) {
  if (row.kind === "event") return visible(row.preview(PREVIEW));
  if (row.kind === "missed") return `${counted(row.count, "event")} missed here`;
  if (row.kind === "broken") return "The connection was lost here; events meanwhile are missing";
  return `${counted(row.count, "event")} came here while the list was held, and were not kept`;
}

function newSlot(index) {
  const cell = (name) => {
    const made = element("span", { className: name });
    made.setAttribute("role", "gridcell");
    return made;
  };
  const [time, lane, stage, text] = ["time", "lane", "stage", "text"].map(cell);
  const root = element("div", { className: "event-row", id: `row-${index}` }, time, lane, stage, text);
  root.setAttribute("role", "row");
  return { root, time, lane, stage, text, row: null, number: null, top: null, selected: null };
}

function empty(slot) {
  slot.root.hidden = true;
  slot.row = null;
  slot.number = null;
}
