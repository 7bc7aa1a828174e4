// Shows one event as a tree, with the value of each field to copy and to filter by.

import { element } from "./dom.js";
import { parse } from "./json.js";
import { counted, cut, number, visible, visibleParts } from "./text.js";
import { pathText } from "./where.js";

const LONG = 600;
const CHILDREN = 100;
const OPEN_UP_TO = 24;
const OPEN_DEPTH = 3;

/** Shows events in `target`. `filter(path, node)` is what the button of a value does. */
export class Tree {
  #target;
  #filter;

  constructor(target, filter) {
    this.#target = target;
    this.#filter = filter;
  }

  /** Show the JSON text of an event. canFilter(path, node): whether a value can. */
  show(text, canFilter) {
    this.#target.replaceChildren();
    let root;
    try {
      root = parse(text);
    } catch {
      this.#target.append(element("p", { className: "quiet" }, "This event is not JSON:"));
      this.#target.append(this.#value({ type: "string", text, value: text }));
      return;
    }
    const view = { canFilter };
    if (root.entries) {
      this.#target.append(this.#children(root, [], view, "Event"));
    } else {
      this.#target.append(element("ul", { aria: { label: "Event" } }, this.#item([], root, view)));
    }
  }

  #children(node, path, view, label) {
    const list = element("ul", label ? { aria: { label } } : {});
    let shown = 0;
    const more = element("button", { type: "button", className: "more" });
    const showMore = () => {
      const next = node.entries.slice(shown, shown + CHILDREN);
      more.parentElement?.remove();
      list.append(...next.map(([key, child]) => this.#item([...path, key], child, view)));
      shown += next.length;
      const left = node.entries.length - shown;
      if (left) {
        more.textContent = `Show ${number(Math.min(left, CHILDREN))} more of ${number(left)}`;
        list.append(element("li", {}, more));
      }
    };
    more.addEventListener("click", showMore);
    showMore();
    if (!node.entries.length) list.append(element("li", { className: "quiet" }, "empty"));
    return list;
  }

  #item(path, node, view) {
    const name = path.length ? [this.#key(path.at(-1))] : [];
    if (!node.entries) {
      return element("li", { className: "leaf" }, ...name, this.#value(node), this.#tools(path, node, view));
    }
    const isOpen = path.length < OPEN_DEPTH && node.entries.length <= OPEN_UP_TO;
    const toggle = element("button", {
      type: "button", className: "toggle", aria: { expanded: "false" },
    }, ...name, element("span", { className: "size" }, sizeOf(node)));
    const item = element("li", {}, toggle);
    let inner = null;
    const setOpen = (open) => {
      inner ??= open ? this.#children(node, path, view) : null;
      if (open) item.append(inner);
      else inner?.remove();
      toggle.setAttribute("aria-expanded", open);
    };
    toggle.addEventListener("click", () => {
      setOpen(toggle.getAttribute("aria-expanded") !== "true");
    });
    if (isOpen) setOpen(true);
    return item;
  }

  #key(key) {
    return element("span", { className: "key" }, ...escaped(String(key)));
  }

  #value(node) {
    const text = node.type === "string" ? node.value : node.text;
    const made = element("span", { className: `value ${node.type}` }, ...escaped(cut(text, LONG)));
    if (text.length <= LONG) return made;
    const all = element("button", { type: "button", className: "more" },
      `Show all ${counted(text.length, "character")}`);
    all.addEventListener("click", () => {
      made.replaceChildren(...escaped(text));
      all.remove();
    });
    return element("span", { className: "long" }, made, all);
  }

  #tools(path, node, view) {
    // Each stream has tokens of its own for what is hidden.
    const isHidden = String(node.value).startsWith("tapring:redacted:");
    if (isHidden || !view.canFilter(path, node)) return "";
    const name = visible(pathText(path));
    const button = element("button", {
      type: "button", className: "tool", textContent: "Filter", title: "Only events with this value",
      aria: { label: `Filter by this value of ${cut(name, 100)}` },
    });
    button.addEventListener("click", () => this.#filter(path, node));
    return button;
  }
}

function sizeOf(node) {
  if (node.type === "array") return `[ ${counted(node.entries.length, "item")} ]`;
  return `{ ${counted(node.entries.length, "field")} }`;
}

function escaped(text) {
  return visibleParts(text).map(([part, isEscape]) =>
    isEscape ? element("span", { className: "escape" }, part) : part);
}
