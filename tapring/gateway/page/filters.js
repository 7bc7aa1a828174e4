// The filters as inputs, each checked by the server while one types.

import { Refused, check } from "./api.js";
import { byId, element, say } from "./dom.js";
import { FLAGS, TEXTS } from "./state.js";
import { visible } from "./text.js";

const CHECK_AFTER_MS = 200;
const INPUTS = {
  where: ["Where", "level=='error' && user.id==`7`", "JMESPath: only events for which it is true"],
  grep: ["Grep", "timeout|refused", "A regular expression that the text of an event must match"],
  fields: ["Fields", "msg,user.id", "Show only these fields"],
  sample: ["Sample: one in", "10", "Show one event in so many"],
  rate: ["Rate", "100/s", "Show at most so many"],
  redact: ["Redact", "user.email,ip", "Hide the values of these fields"],
  redact_regex: ["Redact regex", "[\\w.]+@[\\w.]+", "Hide what this regular expression matches"],
};
const FLAG_LABELS = {
  redact_ignore_case: "Redact in any case",
  redact_in_strings: "Redact JSON within strings",
};

/** The form. `applied` is called when the reader asks for what is in it. */
export class Filters {
  #inputs = new Map();
  #flags = new Map();
  #errors = new Map();
  #timers = new Map();
  #checked = new Map();
  #refused = new Map();
  #applied;
  #state = {};
  #recorded = new Set();

  constructor(applied) {
    this.#applied = applied;
    for (const name of TEXTS) this.#makeInput(name);
    for (const name of FLAGS) this.#makeFlag(name);
    byId("filters").addEventListener("submit", (event) => {
      event.preventDefault();
      this.apply();
    });
    byId("clear-filters").addEventListener("click", () => {
      this.show({ stage: this.#state.stage });
      this.apply();
    });
    byId("past").addEventListener("change", () => this.apply());
    byId("filters").addEventListener("input", () => this.#tellDirty());
  }

  /** What is in the inputs. */
  get values() {
    const values = {};
    for (const [name, input] of this.#inputs) if (input.value.trim()) values[name] = input.value.trim();
    for (const [name, box] of this.#flags) if (box.checked && values.redact) values[name] = "1";
    const stages = this.#stageBoxes().filter((box) => box.checked).map((box) => box.value);
    if (stages.length) values.stage = stages.join(",");
    else if (this.#state.stage && !this.#stageBoxes().length) values.stage = this.#state.stage;
    if (byId("past").checked) values.last = this.#state.last ?? "30s";
    return values;
  }

  /** Put a state into the inputs. */
  show(state) {
    this.#state = state;
    for (const [name, input] of this.#inputs) {
      input.value = state[name] ?? "";
      this.#check(name);
    }
    for (const [name, box] of this.#flags) box.checked = Boolean(state[name]);
    const stages = (state.stage ?? "").split(",");
    for (const box of this.#stageBoxes()) box.checked = stages.includes(box.value);
    byId("past").checked = Boolean(state.last);
    say(byId("past-told"), `Last ${state.last ?? "30 s"} first`);
    this.#tellDirty();
    this.#tellRecorded();
  }

  /** Set one input, and ask for it. */
  set(name, value) {
    this.#inputs.get(name).value = value;
    this.apply();
  }

  get(name) {
    return this.#inputs.get(name).value;
  }

  /** Ask for what is in the inputs, unless something is known to be wrong. */
  apply() {
    const wrong = [...this.#inputs].find(([name, { value }]) => this.#refused.get(name) === value.trim());
    if (wrong) {
      wrong[1].focus();
      return;
    }
    this.#state = this.values;
    this.#tellDirty();
    this.#applied(this.#state);
  }

  /** Show the stages that there are: `{name, kind, rate}`; recorded: names of those recorded. */
  offerStages(stages, recorded) {
    this.#recorded = new Set(recorded);
    const boxes = this.#stageBoxes();
    const chosen = (this.#state.stage ?? "").split(",");
    if (boxes.map((box) => box.value).join() !== stages.map(({ name }) => name).join()) {
      byId("stages").replaceChildren(...stages.map(({ name, kind }) => {
        const box = element("input", { type: "checkbox", value: name, checked: chosen.includes(name) });
        box.addEventListener("change", () => this.apply());
        return element("label", { className: "check" }, box, ` ${name} `,
          element("span", { className: "quiet" }, kind));
      }));
    }
    this.#tellRecorded();
  }

  /** Show which stages the server has chosen, if none were asked for. */
  showStages(names) {
    const boxes = this.#stageBoxes();
    if (boxes.some((box) => box.checked)) return;
    for (const box of boxes) box.checked = names.includes(box.value);
  }

  focus(name) {
    byId("filters-box").open = true;
    this.#inputs.get(name).focus();
    this.#inputs.get(name).select();
  }

  #stageBoxes() {
    return [...byId("stages").querySelectorAll("input")];
  }

  #tellRecorded() {
    const chosen = this.#stageBoxes().filter((box) => box.checked).map((box) => box.value);
    const can = chosen.length ? chosen.some((name) => this.#recorded.has(name)) : this.#recorded.size > 0;
    byId("past").disabled = !can && !byId("past").checked;
    const recorded = this.#recorded.size
      ? `It records ${[...this.#recorded].join(", ")}` : "It records nothing";
    byId("past").closest("label").title = `Begin with what the engine has recorded. ${recorded}.`;
  }

  #tellDirty() {
    const { stage: _, last: __, ...now } = this.values;
    const { stage: ___, last: ____, ...then } = this.#state;
    const isDirty = JSON.stringify(Object.entries(now).sort()) !== JSON.stringify(Object.entries(then).sort());
    byId("apply").classList.toggle("due", isDirty);
    const count = Object.keys(then).filter((name) => TEXTS.includes(name)).length;
    say(byId("filters-told"), count ? `${count} active` : "");
  }

  #makeInput(name) {
    const [label, placeholder, title] = INPUTS[name];
    const input = element("input", {
      id: `filter-${name}`, name, placeholder, title, spellcheck: false, autocomplete: "off",
      aria: { describedby: `error-${name}` },
    });
    input.setAttribute("autocapitalize", "off");
    const error = element("p", { id: `error-${name}`, className: "error", aria: { live: "polite" } });
    input.addEventListener("input", () => this.#checkSoon(name));
    byId("fields").append(element("div", { className: `field ${name}` },
      element("label", { htmlFor: input.id }, label), input, error));
    this.#inputs.set(name, input);
    this.#errors.set(name, error);
  }

  #makeFlag(name) {
    const box = element("input", { type: "checkbox" });
    box.addEventListener("change", () => this.#check("redact"));
    byId("flags").append(element("label", { className: "check" }, box, ` ${FLAG_LABELS[name]}`));
    this.#flags.set(name, box);
  }

  #checkSoon(name) {
    clearTimeout(this.#timers.get(name));
    this.#timers.set(name, setTimeout(() => this.#check(name), CHECK_AFTER_MS));
  }

  async #check(name) {
    clearTimeout(this.#timers.get(name));
    const value = this.#inputs.get(name).value.trim();
    const asked = Symbol(name);
    this.#checked.set(name, asked);
    if (!value) {
      this.#tell(name, "");
      return;
    }
    const parameters = new URLSearchParams({ [name]: value });
    if (name === "redact") {
      for (const [flag, box] of this.#flags) if (box.checked) parameters.set(flag, "1");
    }
    try {
      await check(parameters);
      if (this.#checked.get(name) === asked) this.#tell(name, "");
    } catch (error) {
      if (!(error instanceof Refused) || error.status !== 400) return;
      const hint = error.hint.startsWith("Correct") ? "" : ` ${error.hint}`;
      if (this.#checked.get(name) === asked) this.#tell(name, error.message + hint, value);
    }
  }

  #tell(name, error, value) {
    this.#refused.set(name, value);
    const input = this.#inputs.get(name);
    say(this.#errors.get(name), visible(error));
    if (error) input.setAttribute("aria-invalid", "true");
    else input.removeAttribute("aria-invalid");
  }
}
