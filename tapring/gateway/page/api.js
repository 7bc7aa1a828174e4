// Calls the server: the token, the URLs, and its refusals as errors.

const KEY = "tapring.token";

/** The server has refused: `status`, what happened (`message`), and what to do (`hint`). */
export class Refused extends Error {
  constructor(status, error, hint) {
    super(error);
    this.status = status;
    this.hint = hint;
  }
}

/** What keeps the token: this tab, and nothing else. */
export const token = {
  get: () => sessionStorage.getItem(KEY) ?? "",
  // Another character could not be sent.
  set: (text) => /^[!-~]+$/.test(text) && sessionStorage.setItem(KEY, text),
};

/**
 * The response to a GET of `path` (below api/v1/). Throws Refused, and TypeError if the server
 * cannot be reached. A status that did not come from tapring, but from a proxy, is a TypeError, too.
 */
export async function get(path, { parameters, headers = {}, signal } = {}) {
  const query = parameters?.size ? `?${parameters}` : "";
  const response = await fetch(`api/v1/${path}${query}`, {
    headers: { ...headers, Authorization: `Bearer ${token.get()}` },
    signal,
    cache: "no-store",
    credentials: "same-origin",
  });
  if (response.ok) return response;
  let told;
  try {
    told = await response.json();
  } catch {
    told = null;
  }
  if (typeof told?.error !== "string") throw new TypeError(`the answer was ${response.status}`);
  throw new Refused(response.status, told.error, told.hint ?? "");
}

export const engines = async () => (await get("engines")).json();
export const whoami = async () => (await get("whoami")).json();
export const check = async (parameters) => (await get("check", { parameters })).json();
