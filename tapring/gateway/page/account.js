// The strip with the account: what became of all events since the stream began.

import { byId, element, say } from "./dom.js";
import { counted, number, short } from "./text.js";

const SPOKEN_EVERY_MS = 10_000;
const SUMMED = ["offered", "filtered", "dropped", "oversize", "errors", "shed", "sampled_out",
  "redaction_dropped", "decode_errors", "recorded"];
// The first five are always there; the others once they count something.
const TILES = [
  ["offered", "Offered", "Events that the engine offered to this stream"],
  ["shown", "Shown", "Events that came to this page"],
  ["filtered", "Filtered", "Events that did not match the filters"],
  ["dropped", "Dropped", "Events that did not fit into the ring: this page reads too slowly"],
  ["waiting", "Waiting", "Events behind those that you see"],
  ["missed", "Missed", "Events that the gaps in the list stand for"],
  ["recorded", "Recorded", "Events from before the stream began, out of recorders"],
  ["oversize", "Too large", "Events that are larger than the whole ring"],
  ["errors", "Unserializable", "Events that the engine could not serialize"],
  ["shed", "Over budget", "Events that the engine skipped to stay within its budget"],
  ["sampled_out", "Sampled out", "Events that the engine skipped because of a sample"],
  ["redaction_dropped", "Withheld", "Events that could not be decoded, so not redacted"],
  ["decode_errors", "Undecodable", "Events that could not be decoded for a filter"],
];
const ALWAYS = 5;
const LOSSES = new Set(["dropped", "missed", "oversize", "errors", "redaction_dropped"]);

/** Adds up the accounts of the connections of one stream. */
export class Account {
  shown = 0;
  missed = 0;
  #before = zeros();
  #now = zeros();
  #tiles = new Map();
  #spokenAt = -Infinity;
  #spoken = "";

  constructor() {
    for (const [index, [name, label, title]] of TILES.entries()) {
      const value = element("dd", { id: `count-${name}` }, "0");
      const tile = element("div", { title, hidden: index >= ALWAYS }, element("dt", {}, label), value);
      byId("account").append(tile);
      this.#tiles.set(name, { tile, value, always: index < ALWAYS });
    }
  }

  /** A new connection counts from zero. */
  connect() {
    for (const name of SUMMED) this.#before[name] += this.#now[name];
    this.#now = zeros();
  }

  take(facts) {
    for (const name of SUMMED) this.#now[name] = facts[name] ?? 0;
  }

  reset() {
    this.#before = zeros();
    this.#now = zeros();
    this.shown = 0;
    this.missed = 0;
  }

  count(name) {
    return this.#before[name] + this.#now[name];
  }

  /** Show the counts. waiting: how many events are behind those that are seen. */
  render(waiting) {
    for (const [name, { tile, value, always }] of this.#tiles) {
      const count = this.#value(name, waiting);
      say(value, short(count));
      if (value.title !== number(count)) value.title = number(count);
      if (!always && tile.hidden !== (count === 0)) tile.hidden = count === 0;
      if (LOSSES.has(name)) tile.classList.toggle("loss", count > 0);
    }
    this.#speak(waiting);
  }

  #value(name, waiting) {
    if (name === "waiting") return waiting;
    // The account comes once a second, and what is shown was offered.
    if (name === "offered") return Math.max(this.count(name), this.shown - this.count("recorded"));
    return name in this.#now ? this.count(name) : this[name];
  }

  /** For screen readers: every few seconds at most, and only what has changed. */
  #speak(waiting) {
    const now = performance.now();
    if (now - this.#spokenAt < SPOKEN_EVERY_MS || !this.shown) return;
    const parts = [`${counted(this.shown, "event")} shown`, `${number(this.count("dropped"))} dropped`];
    if (waiting) parts.push(`${number(waiting)} waiting`);
    if (parts.join() === this.#spoken) return;
    this.#spoken = parts.join();
    this.#spokenAt = now;
    say(byId("spoken"), `${parts.join(", ")}.`);
  }
}

const zeros = () => Object.fromEntries(SUMMED.map((name) => [name, 0]));
