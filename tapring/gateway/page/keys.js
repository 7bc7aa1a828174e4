// The keyboard: single keys for the whole page, and those of the list.

import { byId } from "./dom.js";

const KEY = "tapring.keys";
const TEXT_INPUTS = "input:not([type=checkbox]), textarea, select";
const PRESSABLE = "button, summary, a, input";

/** Bind the keys to actions: pause, focusWhere, help, step(by), toggle, escape, newest, oldest. */
export function bindKeys(list, actions) {
  const setting = byId("use-keys");
  setting.checked = localStorage.getItem(KEY) !== "off";
  setting.addEventListener("change", () => localStorage.setItem(KEY, setting.checked ? "on" : "off"));

  document.addEventListener("keydown", (event) => {
    if (event.defaultPrevented || event.ctrlKey || event.altKey || event.metaKey) return;
    if (byId("help-dialog").open) return; // the browser closes it with Escape
    if (event.key === "Escape") {
      actions.escape(event.target.matches(TEXT_INPUTS) ? event.target : null);
      return;
    }
    if (event.target.matches(TEXT_INPUTS)) return;
    const inList = event.target === list.element;
    const action = (inList && ofList(event.key, list, actions)) || ofPage(event, setting.checked, actions);
    if (!action) return;
    event.preventDefault();
    action();
  });
}

function ofList(key, list, actions) {
  return {
    ArrowDown: () => actions.step(1),
    ArrowUp: () => actions.step(-1),
    PageDown: () => actions.step(list.page),
    PageUp: () => actions.step(-list.page),
    Home: actions.oldest,
    End: actions.newest,
  }[key];
}

function ofPage(event, useKeys, actions) {
  const pressed = event.target.matches(PRESSABLE); // space and Enter press what has the focus
  if (event.key === "Enter") return pressed ? null : actions.toggle;
  if (event.key === "End") return actions.newest;
  if (!useKeys) return null;
  if (event.key === " ") return pressed ? null : actions.pause;
  return {
    j: () => actions.step(1),
    k: () => actions.step(-1),
    "/": actions.focusWhere,
    "?": actions.help,
  }[event.key];
}
