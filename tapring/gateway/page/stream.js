// One live stream: connects, reads within a budget of each frame, and resumes after a break.
//
// It reads as fast as the page can take it, and no faster: what is not read waits in the ring on
// the server's side, and the engine counts what does not fit.

import { Refused, get } from "./api.js";
import { Messages } from "./messages.js";

const BUDGET_MS = 7; // of the 16.7 ms of a frame: the rest is for showing what was read
const SILENCE_MS = 40_000; // the server says every 15 s that it is there
const FIRST_WAIT_MS = 500;
const LONGEST_WAIT_MS = 10_000;
// The server may still count the connection that was lost, or be reading its file of tokens.
const PASSING = [409, 503];

/**
 * Streams an address. `told` has what is to be called: record(text), account(facts),
 * open(kinds, isResumed), state(name, seconds, why), refused(error), ended(summary, error).
 */
export class Stream {
  lastId;
  #address;
  #parameters;
  #told;
  #abort = new AbortController();
  #stopped = false;
  #connection = null;
  #wake = () => {};

  constructor(address, parameters, told, lastId = "") {
    this.#address = address;
    this.#parameters = parameters;
    this.#told = told;
    this.lastId = lastId;
  }

  /** Stream until it ends, is refused, or is stopped. */
  async run() {
    let wait = FIRST_WAIT_MS;
    let again = Boolean(this.lastId);
    while (!this.#stopped) {
      let why = "";
      this.#told.state(again ? "reconnecting" : "connecting");
      try {
        const response = await this.#connect();
        wait = FIRST_WAIT_MS;
        if (await this.#read(response)) return;
      } catch (error) {
        if (this.#stopped) return;
        why = error instanceof Refused ? error.message : "";
        if (error instanceof Refused && !(again && PASSING.includes(error.status))) {
          this.#told.refused(error);
          return;
        }
      }
      if (this.#stopped) return;
      again = true;
      this.#told.state("waiting", wait / 1000, why);
      await this.#sleep(wait * (0.75 + Math.random() / 2));
      wait = Math.min(wait * 2, LONGEST_WAIT_MS);
    }
  }

  /** Try again at once, if it waits. */
  hurry() {
    this.#wake();
  }

  stop() {
    this.#stopped = true;
    this.#abort.abort();
    this.#connection?.abort();
    this.#wake();
  }

  async #connect() {
    this.#connection = new AbortController();
    const headers = this.lastId ? { "Last-Event-ID": this.lastId } : {};
    const response = await get(`tap/${encodeURIComponent(this.#address)}`, {
      parameters: this.#parameters, headers, signal: this.#connection.signal,
    });
    const isResumed = Boolean(this.lastId);
    this.#told.open(kindsOf(response.headers.get("tapring-stages") ?? ""), isResumed);
    this.#told.state("live");
    return response;
  }

  /** Read a response to its end. True: the stream has ended, false: the connection has. */
  async #read(response) {
    const reader = response.body.getReader();
    const decoder = new TextDecoder();
    const messages = new Messages();
    const connection = this.#connection;
    const end = { summary: null, error: null };
    let began = performance.now();
    try {
      for (;;) {
        const silence = setTimeout(() => connection.abort(), SILENCE_MS);
        const { done, value } = await reader.read().finally(() => clearTimeout(silence));
        if (done || this.#stopped) break;
        for (const message of messages.push(decoder.decode(value, { stream: true }))) {
          this.#take(message, end);
          if (performance.now() - began > BUDGET_MS) began = await nextFrame();
          if (this.#stopped) return true;
        }
      }
    } finally {
      connection.abort();
    }
    if (end.summary) this.#told.ended(end.summary, end.error);
    return end.summary !== null;
  }

  #take({ event, id, lines }, end) {
    if (event === "message") for (const line of lines) this.#told.record(line);
    else if (event === "account") this.#told.account(JSON.parse(lines[0]).tapring_account);
    else if (event === "error") end.error = JSON.parse(lines[0]).tapring_error;
    else if (event === "summary") end.summary = JSON.parse(lines[0]).tapring_summary;
    if (id !== null) this.lastId = id;
  }

  #sleep(milliseconds) {
    return new Promise((resolve) => {
      const timer = setTimeout(resolve, milliseconds);
      this.#wake = () => {
        clearTimeout(timer);
        resolve();
      };
    });
  }
}

function kindsOf(header) {
  return new Map(header.split(",").filter(Boolean).map((each) => each.split("=")));
}

/** When the next frame has been shown; at once where nobody looks, because frames stop there. */
function nextFrame() {
  if (document.hidden) return performance.now();
  return new Promise((resolve) => {
    const goOn = () => resolve(performance.now());
    const late = setTimeout(goOn, 100); // the page may have been hidden meanwhile
    requestAnimationFrame(() => {
      clearTimeout(late);
      setTimeout(goOn);
    });
  });
}
