// Keeps the newest rows, within a number and a size, and counts those that find no room.

import { Row, gapRecord } from "./records.js";

export const MOST_ROWS = 10_000;
const MOST_CHARACTERS = 32 * 1024 * 1024;

/**
 * Rows have numbers that only grow. `first` is that of the oldest one, `end` that of the next one.
 *
 * heldFrom: rows from this number on stay, because somebody looks at them. While that leaves no
 * room, new rows are not kept: they are counted in `passed`, and a row says so once there is room.
 */
export class Rows {
  first = 0;
  end = 0;
  heldFrom = Infinity;
  passed = 0;
  /** Rows that have dropped off, since the last `clear`. */
  dropped = 0;
  #origin = 0;
  #kept = new Array(MOST_ROWS);
  #characters = 0;
  #passedOf = new Map();

  get length() {
    return this.end - this.first;
  }

  /** How many rows there have been since the last `clear`, those that have dropped off included. */
  get total() {
    return this.end - this.#origin;
  }

  /** The number of a row among all since the last `clear`, from 1. */
  place(number) {
    return number - this.#origin + 1;
  }

  at(number) {
    return number >= this.first && number < this.end ? this.#kept[number % MOST_ROWS] : undefined;
  }

  /** Keep a row, or count it. */
  add(row) {
    if (!this.#makeRoom(this.#passedOf.size + 1, row.record.length)) {
      this.#pass(row);
      return;
    }
    if (this.#passedOf.size) this.#tellPassed();
    this.#push(row);
  }

  /** Drop all rows. Numbers go on. */
  clear() {
    this.first = this.end;
    this.#origin = this.end;
    this.#kept = new Array(MOST_ROWS);
    this.#characters = 0;
    this.#passedOf.clear();
    this.passed = 0;
    this.dropped = 0;
    this.heldFrom = Infinity;
  }

  /** The records of the rows before `end`, in parts for a Blob. */
  records(end = this.end) {
    const parts = [];
    for (let number = this.first; number < end; number += 1) {
      const { record } = this.at(number);
      if (record) parts.push(record.trim(), "\n");
    }
    return parts;
  }

  #makeRoom(rows, characters) {
    while (this.length + rows > MOST_ROWS ||
        (this.#characters + characters > MOST_CHARACTERS && this.length)) {
      if (this.first >= this.heldFrom || !this.length) return false;
      const place = this.first % MOST_ROWS;
      this.#characters -= this.#kept[place].record.length;
      this.#kept[place] = undefined;
      this.first += 1;
      this.dropped += 1;
    }
    return true;
  }

  #push(row) {
    this.#kept[this.end % MOST_ROWS] = row;
    this.#characters += row.record.length;
    this.end += 1;
  }

  #pass(row) {
    const { lane, stage } = row.from;
    const key = `${lane}.${stage}`;
    const count = (this.#passedOf.get(key)?.count ?? 0) + row.count;
    this.#passedOf.set(key, { from: row.from, count });
    this.passed += row.count;
  }

  #tellPassed() {
    for (const { from, count } of this.#passedOf.values()) {
      this.#push(new Row("passed", gapRecord(from, count), 0, from, count));
    }
    this.#passedOf.clear();
    this.passed = 0;
  }
}
