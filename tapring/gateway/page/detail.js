// The panel beside the list: the event that is selected, or what a gap means.

import { byId, element, say } from "./dom.js";
import { Tree } from "./tree.js";
import { counted, visible } from "./text.js";
import { equals, exactly } from "./where.js";

const LONGEST = 1000; // the server takes 1,024

/** Shows a row. `kindOf(stage)` is the kind of a stage; `filter(condition, isLine)` filters. */
export class Detail {
  row = null;
  #tree;
  #kindOf;
  #panel = byId("detail");

  constructor(kindOf, filter) {
    this.#kindOf = kindOf;
    this.#tree = new Tree(byId("tree"), (path, node) =>
      filter(this.#condition(path, node), this.#isLine(path)));
    byId("copy").addEventListener("click", () => this.#copy());
  }

  get isOpen() {
    return !this.#panel.hidden;
  }

  show(row) {
    if (this.isOpen && this.row === row) return;
    this.row = row;
    this.#panel.hidden = false;
    const { time, engine, lane, pid, stage } = row.from;
    const facts = { time, lane: lane && `${engine}.${lane}`, pid: pid ? String(pid) : "", stage };
    byId("detail-facts").replaceChildren(...Object.entries(facts).filter(([, value]) => value).map(
      ([name, value]) => element("div", {}, element("dt", {}, name), element("dd", {}, visible(value)))));
    const isEvent = row.kind === "event";
    say(byId("detail-title"), isEvent ? "Event" : "Gap");
    byId("copy").hidden = !isEvent;
    say(byId("copy"), "Copy");
    if (isEvent) this.#tree.show(row.event, (...leaf) => this.#canFilter(...leaf));
    else byId("tree").replaceChildren(element("p", {}, whyOf(row)));
    byId("tree").scrollTop = 0;
  }

  close() {
    this.#panel.hidden = true;
    this.row = null;
    byId("tree").replaceChildren();
  }

  #canFilter(path, node) {
    const kind = this.#kindOf(this.row.from.stage);
    return kind && kind !== "bytes" && path.at(-1) !== "line_base64" &&
      this.#condition(path, node).length <= LONGEST;
  }

  #condition(path, node) {
    return this.#isLine(path) ? exactly(node.value) : equals(path, node);
  }

  /** Whether a value is a line of text, which only grep can find. */
  #isLine(path) {
    return this.#kindOf(this.row.from.stage) === "lines" && path.length === 1 && path[0] === "line";
  }

  async #copy() {
    const copied = await copyText(this.row.event);
    say(byId("copy"), copied ? "Copied" : "Not copied");
    setTimeout(() => say(byId("copy"), "Copy"), 1500);
  }
}

function whyOf(row) {
  const events = counted(row.count, "event");
  if (row.kind === "missed") {
    return `${events} of this stage were offered before the next one here, and did not reach this ` +
      "page: the strip says why, or the page was not connected.";
  }
  if (row.kind === "broken") {
    return "The page was not connected. What the engine offered meanwhile is not recorded, and " +
      "nobody has counted it. An engine that records loses nothing here.";
  }
  return `${events} arrived while the list was held and full. They were counted, and not kept.`;
}

/** Put a text on the clipboard. Browsers give the new way only to secure origins. */
async function copyText(text) {
  try {
    await navigator.clipboard.writeText(text);
    return true;
  } catch {
    const area = element("textarea", { value: text, className: "unseen", readOnly: true });
    document.body.append(area);
    area.select();
    const done = document.execCommand("copy");
    area.remove();
    return done;
  }
}
