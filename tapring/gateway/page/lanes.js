// Gives each lane a color and a short name, in the order in which they are first seen.

const COLORS = 8;

/** The lanes that were seen. */
export class Lanes {
  #seen = new Map();

  /** A lane's color, from 0, and its name: its id without a common engine. */
  of({ engine, lane }) {
    const key = `${engine}.${lane}`;
    let found = this.#seen.get(key);
    if (!found) {
      found = { color: String(this.#seen.size % COLORS), name: lane };
      this.#seen.set(key, found);
    }
    return found;
  }
}
