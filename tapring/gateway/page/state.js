// What the page shows, as it stands in the URL: behind the #, which no server and no log sees.

export const TEXTS = ["where", "grep", "fields", "sample", "rate", "redact", "redact_regex"];
export const FLAGS = ["redact_ignore_case", "redact_in_strings"];
const NAMES = ["engine", "stage", ...TEXTS, ...FLAGS, "last"];

/** The state in the URL: texts by name, without those that are empty. */
export function read() {
  const found = {};
  for (const [name, value] of new URLSearchParams(location.hash.slice(1))) {
    if (NAMES.includes(name) && value) found[name] = value;
  }
  return found;
}

/** Put a state into the URL. isStep: the browser's Back returns to the one before. */
export function write(state, isStep = false) {
  const text = `#${parametersOf(state, NAMES)}`;
  if (text === location.hash || (text === "#" && !location.hash)) return;
  const url = text === "#" ? location.pathname + location.search : text;
  if (isStep) history.pushState(null, "", url);
  else history.replaceState(null, "", url);
}

/** The token in the URL, which is taken out of it at once; "" if there is none. */
export function takeToken() {
  const hash = new URLSearchParams(location.hash.slice(1));
  const token = hash.get("token") ?? "";
  if (hash.has("token")) {
    hash.delete("token");
    const rest = String(hash);
    history.replaceState(null, "", location.pathname + location.search + (rest ? `#${rest}` : ""));
  }
  return token;
}

/** The parameters of a stream with that state. */
export function streamParameters(state) {
  const parameters = parametersOf(state, NAMES.slice(1));
  parameters.set("format", "sse");
  parameters.set("envelope", "1");
  return parameters;
}

function parametersOf(state, names) {
  const parameters = new URLSearchParams();
  for (const name of names) if (state[name]) parameters.set(name, state[name]);
  return parameters;
}
