// Makes rows of records: an event, the gap before it, or text that is no record.

// A record begins like this, always: so nothing of an event has to be parsed before somebody looks.
const HEAD = new RegExp(
  '\\{"time":"([^"\\\\]*)","engine":"([^"\\\\]*)","lane":"([^"\\\\]*)","pid":(\\d+),' +
  '"stage":"([^"\\\\]*)","missed":(\\d+),"event":', "y");
const WRAPPED = '{"line":"';
const LOOKED_AT = 4096;

/**
 * A row of the list.
 *
 * kind: `event`; `missed`, a gap; `passed`, events that this page itself did not keep; `broken`, where
 * the connection was lost. record: the
 * text that was received, "" if another row has it. at: where the event begins in it. count: how
 * many events a row stands for.
 */
export class Row {
  constructor(kind, record, at, from, count) {
    this.kind = kind;
    this.record = record;
    this.at = at;
    this.from = from;
    this.count = count;
  }

  /** The JSON text of the event. */
  get event() {
    return this.kind === "event" ? this.record.slice(this.at, -1) : "";
  }

  /** The beginning of the event, on one line; of a line of text, the line itself. */
  preview(most) {
    const text = this.record.slice(this.at, Math.min(this.record.length - 1, this.at + LOOKED_AT));
    if (text.startsWith(WRAPPED)) {
      const line = startOfString(text.slice(WRAPPED.length - 1));
      if (line !== null) return line.slice(0, most);
    }
    return text.slice(0, most);
  }
}

/** Turns the records of a stream into rows, which it hands to `add`. */
export class Records {
  #add;
  #head = "";
  #from = null;

  constructor(add) {
    this.#add = add;
  }

  /** Take a record: a line of JSON. */
  take(record) {
    // The events of a batch have one head, so most records need no more than this comparison.
    if (this.#from !== null && record.startsWith(this.#head)) {
      this.#add(new Row("event", record, this.#head.length, this.#from, 1));
      return;
    }
    HEAD.lastIndex = 0;
    const match = HEAD.exec(record);
    if (!match) {
      this.#add(new Row("event", ` ${record} `, 1, UNKNOWN, 1));
      return;
    }
    const [head, time, engine, lane, pid, stage, missed] = match;
    const from = { time, engine, lane, pid: Number(pid), stage };
    const count = Number(missed);
    const isGap = record.startsWith("null}", head.length) && count > 0;
    if (count > 0) this.#add(new Row("missed", isGap ? record : "", 0, from, count));
    if (!isGap) this.#add(new Row("event", record, head.length, from, 1));
    this.#head = head.replace(`"missed":${missed}`, '"missed":0');
    this.#from = from;
  }
}

/** The row of a connection that was lost, and with it events that nobody has counted. */
export function brokenRow() {
  return new Row("broken", "", 0, { ...UNKNOWN, time: new Date().toISOString() }, 0);
}

const UNKNOWN = { time: "", engine: "", lane: "", pid: 0, stage: "" };

/** The record of a gap. */
export function gapRecord(from, missed) {
  const { time, engine, lane, pid, stage } = from;
  return JSON.stringify({ time, engine, lane, pid, stage, missed, event: null });
}

/** What a JSON string means, as far as it is here; null if that cannot be told. */
function startOfString(text) {
  const end = /^"(?:[^"\\]|\\.)*/.exec(text)?.[0] ?? "";
  const whole = end.replace(/\\u[0-9a-fA-F]{0,3}$/, "");
  try {
    return JSON.parse(`${whole}"`);
  } catch {
    return null;
  }
}
