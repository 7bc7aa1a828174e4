// Parses server-sent events (WHATWG HTML, 9.2.6) out of text that arrives in pieces.

/** Takes pieces of a stream and returns the messages that they complete. */
export class Messages {
  #rest = "";
  #event = "";
  #id = null;
  #lines = [];

  /** The messages that end in this piece: `{event, id, lines}`; id is null if it has none. */
  push(piece) {
    const text = this.#rest + piece;
    const found = [];
    let at = 0;
    for (;;) {
      const end = text.indexOf("\n", at);
      if (end < 0) break;
      if (end === at) {
        if (this.#lines.length) found.push(this.#finished());
      } else {
        this.#line(text, at, text[end - 1] === "\r" ? end - 1 : end);
      }
      at = end + 1;
    }
    this.#rest = text.slice(at);
    return found;
  }

  #line(text, begin, end) {
    if (text.startsWith("data: ", begin)) this.#lines.push(text.slice(begin + 6, end));
    else if (text.startsWith("id: ", begin)) this.#id = text.slice(begin + 4, end);
    else if (text.startsWith("event: ", begin)) this.#event = text.slice(begin + 7, end);
  }

  #finished() {
    const message = { event: this.#event || "message", id: this.#id, lines: this.#lines };
    this.#event = "";
    this.#id = null;
    this.#lines = [];
    return message;
  }
}
