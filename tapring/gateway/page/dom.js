// Makes and finds elements. Text is always text: nothing here parses HTML.

/** The element of the page with that id. */
export const byId = (id) => document.getElementById(id);

/** A new element. Properties are set as they are; `aria` and `data` are objects of attributes. */
export function element(tag, properties = {}, ...children) {
  const made = document.createElement(tag);
  const { aria = {}, data = {}, ...rest } = properties;
  Object.assign(made, rest);
  for (const [name, value] of Object.entries(aria)) made.setAttribute(`aria-${name}`, value);
  for (const [name, value] of Object.entries(data)) made.dataset[name] = value;
  made.append(...children);
  return made;
}

/** Set a text only if it differs, since each change costs a layout and may be read aloud. */
export function say(target, text) {
  if (target.textContent !== text) target.textContent = text;
}
