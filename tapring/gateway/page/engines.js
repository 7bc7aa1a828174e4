// The list of engines, with their rates and losses, and the lanes of the one that is shown.

import { Refused, engines } from "./api.js";
import { byId, element, say } from "./dom.js";
import { rate, short, visible } from "./text.js";

const EVERY_MS = 2000;

/** Asks for the engines every two seconds. `chosen(address)`, `refused(error)`, `news()` are called. */
export class Engines {
  lanes = [];
  #lanesSeen;
  #chosen;
  #refused;
  #news;
  #items = new Map();
  #address = "";
  #timer = null;
  #run = 0;

  constructor(lanesSeen, { chosen, refused, news }) {
    this.#lanesSeen = lanesSeen;
    this.#chosen = chosen;
    this.#refused = refused;
    this.#news = news;
    document.addEventListener("visibilitychange", () => document.hidden || this.start());
  }

  /** Ask now, and then every two seconds. */
  start() {
    clearTimeout(this.#timer);
    this.#run += 1;
    this.#ask(this.#run);
  }

  stop() {
    clearTimeout(this.#timer);
    this.#run += 1;
  }

  /** Mark the address that is shown. */
  mark(address) {
    this.#address = address;
    this.#render();
  }

  /** The lanes of an address: an engine, or a lane of it. */
  of(address) {
    return this.lanes.filter((lane) => !lane.refused &&
      (lane.name === address || `${lane.name}.${lane.lane}` === address));
  }

  /** Whether all lanes of an address record a stage, as far as that is known. */
  records(address, stage) {
    const lanes = this.of(address);
    return lanes.length > 0 && lanes.every(({ recorders }) => stage in recorders);
  }

  async #ask(run) {
    if (document.hidden) return;
    try {
      const lanes = await engines();
      if (run !== this.#run) return;
      this.lanes = lanes;
      this.#render();
      say(byId("engines-note"), lanes.length ? "" : "No engine is running that can be read here.");
      this.#news();
    } catch (error) {
      if (run !== this.#run) return;
      if (error instanceof Refused && error.status === 401) {
        this.#refused(error);
        return;
      }
      say(byId("engines-note"), error instanceof Refused
        ? visible(`${error.message} ${error.hint}`) : "The server cannot be reached.");
    }
    this.#timer = setTimeout(() => this.#ask(run), EVERY_MS);
  }

  #render() {
    const byName = groupedByName(this.lanes);
    const names = [...byName.keys()].sort();
    const list = byId("engines");
    for (const [name, item] of this.#items) {
      if (byName.has(name)) continue;
      item.root.remove();
      this.#items.delete(name);
    }
    names.forEach((name, index) => {
      let item = this.#items.get(name);
      if (!item) this.#items.set(name, item = this.#newItem(name));
      if (list.children[index] !== item.root) list.insertBefore(item.root, list.children[index] ?? null);
      this.#fill(item, name, byName.get(name));
    });
  }

  #newItem(name) {
    const label = element("span", { className: "name" }, visible(name));
    const flow = element("span", { className: "flow" });
    const facts = element("span", { className: "facts quiet" });
    const loss = element("span", { className: "loss" });
    const button = element("button", { type: "button", className: "engine" },
      label, flow, facts, loss);
    const lanes = element("ul", { className: "lanes" });
    button.addEventListener("click", () => this.#chosen(name));
    return { root: element("li", {}, button, lanes), button, flow, facts, loss, lanes, shown: "" };
  }

  #fill(item, name, all) {
    const lanes = all.filter((lane) => !lane.refused);
    const refused = all.filter((lane) => lane.refused);
    const isShown = this.#address === name || this.#address.startsWith(`${name}.`);
    item.button.setAttribute("aria-current", isShown);
    const rates = lanes.map(rateOf).filter((each) => each !== null);
    say(item.flow, rates.length ? rate(rates.reduce((sum, each) => sum + each, 0)) : "–");
    item.flow.title = rates.length ? "Events per second" : "Nobody watches it, so it counts nothing";
    const lost = lanes.flatMap(({ sessions }) => sessions)
      .reduce((sum, { dropped, oversize, errors }) => sum + dropped + oversize + errors, 0);
    say(item.loss, lost ? `${short(lost)} lost` : "");
    const facts = [lanes.length === 1 ? `pid ${lanes[0].pid}` : processes(lanes.length)];
    if (lanes.some(({ recorders }) => Object.keys(recorders).length)) facts.push("records");
    if (lanes.some(({ remote }) => !remote)) facts.push("not to be read from here");
    if (refused.length) facts.push(`${refused.length} cannot be read`);
    say(item.facts, facts.join(" · "));
    item.facts.title = refused.map(({ lane, refused: why }) => `${lane}: ${why.text}`).join("\n");
    this.#fillLanes(item, name, isShown ? [...lanes, ...refused] : []);
  }

  #fillLanes(item, name, lanes) {
    const shown = JSON.stringify([this.#address, lanes.map((lane) => [lane.lane, Boolean(lane.refused)])]);
    if (item.shown !== shown) {
      item.shown = shown;
      item.lanes.replaceChildren(...(lanes.length > 1 ? lanes : []).map((lane) => this.#newLane(name, lane)));
    }
    if (lanes.length < 2) return;
    lanes.forEach((lane, index) => {
      const flow = item.lanes.children[index].querySelector(".flow");
      const perSecond = lane.refused ? null : rateOf(lane);
      say(flow, perSecond === null ? "–" : rate(perSecond));
    });
  }

  #newLane(name, lane) {
    const address = `${name}.${lane.lane}`;
    const { color } = this.#lanesSeen.of({ engine: name, lane: lane.lane });
    const button = element("button", {
      type: "button", disabled: Boolean(lane.refused), data: { lane: color },
      title: lane.refused ? lane.refused.text : `Only this process, pid ${lane.pid}`,
      aria: { pressed: String(this.#address === address) },
    }, element("span", { className: "swatch" }), ` ${lane.lane} `, element("span", { className: "flow" }));
    button.addEventListener("click", () => this.#chosen(this.#address === address ? name : address));
    return element("li", {}, button);
  }
}

const processes = (count) => `${count} process${count === 1 ? "" : "es"}`;

/** Events per second of a lane: of its busiest stage, because stages show the same events. */
function rateOf(lane) {
  const rates = lane.stages.map((stage) => stage.events_per_s).filter((each) => each !== null);
  return rates.length ? Math.max(...rates) : null;
}

function groupedByName(lanes) {
  const found = new Map();
  for (const lane of lanes) found.set(lane.name, [...(found.get(lane.name) ?? []), lane]);
  return found;
}
