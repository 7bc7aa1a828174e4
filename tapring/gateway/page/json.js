// Parses JSON and keeps what JSON.parse loses: numbers as they are written, equal keys, their order.
//
// It keeps a stack of its own, so that nesting of any depth cannot exhaust the engine's.

const SPACE = /[ \t\n\r]*/y;
const NUMBER = /-?\d+(?:\.\d+)?(?:[eE][+-]?\d+)?/y;
const LITERAL = /true|false|null/y;

/**
 * The value that a text holds: `{type, text, entries}`.
 *
 * type: object, array, string, number or literal. text: its JSON text. value: of a string, what it
 * means. entries: of an object, `[key, value]` in their order; of an array, with indices for keys.
 * Throws SyntaxError.
 */
export function parse(text) {
  let at = 0;
  const open = [];

  const fail = () => {
    throw new SyntaxError(`this is not JSON at character ${at}`);
  };
  const skip = () => {
    SPACE.lastIndex = at;
    SPACE.test(text);
    at = SPACE.lastIndex;
  };
  const take = (character) => {
    if (text[at] !== character) return false;
    at += 1;
    return true;
  };
  const string = () => {
    let end = at + 1;
    for (;;) {
      end = text.indexOf('"', end);
      if (end < 0) fail();
      let escapes = 0;
      while (text[end - 1 - escapes] === "\\") escapes += 1;
      end += 1;
      if (escapes % 2 === 0) break;
    }
    const source = text.slice(at, end);
    at = end;
    return { type: "string", text: source, value: JSON.parse(source) };
  };
  const scalar = () => {
    if (text[at] === '"') return string();
    for (const [type, pattern] of [["number", NUMBER], ["literal", LITERAL]]) {
      pattern.lastIndex = at;
      const match = pattern.exec(text);
      if (match) {
        at = pattern.lastIndex;
        return { type, text: match[0] };
      }
    }
    return fail();
  };
  const key = (container) => {
    skip();
    if (container.node.type === "array") {
      container.key = container.node.entries.length;
      return;
    }
    if (text[at] !== '"') fail();
    container.key = string().value;
    skip();
    if (!take(":")) fail();
  };

  for (;;) {
    skip();
    let done;
    const type = { "{": "object", "[": "array" }[text[at]];
    if (type) {
      const container = {
        node: { type, text: "", entries: [] }, begin: at, close: type === "object" ? "}" : "]",
      };
      at += 1;
      skip();
      if (!take(container.close)) {
        open.push(container);
        key(container);
        continue;
      }
      container.node.text = text.slice(container.begin, at);
      done = container.node;
    } else {
      done = scalar();
    }
    while (open.length) {
      const container = open.at(-1);
      container.node.entries.push([container.key, done]);
      skip();
      if (take(",")) {
        key(container);
        done = null;
        break;
      }
      if (!take(container.close)) fail();
      container.node.text = text.slice(container.begin, at);
      done = open.pop().node;
    }
    if (done) {
      skip();
      if (at < text.length) fail();
      return done;
    }
  }
}
