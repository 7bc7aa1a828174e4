// Writes conditions: JMESPath for `where`, and regular expressions for `grep`.
//
// Values come out of events, so everything that could end a literal is escaped.

const IDENTIFIER = /^[A-Za-z_][A-Za-z0-9_]*$/;
const RAW = /^[^'\\\p{C}\p{Zl}\p{Zp}]*$/u;
const SPECIAL = /[\\^$.*+?()[\]{}|/#&~\- ]/g;

/** The path to a value, of keys and indices, as JMESPath: `user."first name"[0]`. */
export function pathText(path) {
  let text = "";
  for (const step of path) {
    if (typeof step === "number") text += `[${step}]`;
    else text += (text ? "." : "") + (IDENTIFIER.test(step) ? step : ascii(step));
  }
  return text || "@";
}

/** A scalar of an event (see json.js) as a JMESPath literal. */
export function literal(node) {
  if (node.type === "string" && RAW.test(node.value)) return `'${node.value}'`;
  return `\`${node.type === "string" ? ascii(node.value) : node.text}\``;
}

/** The condition that the value at a path is this one. A key that is not there is null, too. */
export function equals(path, node) {
  const is = `${pathText(path)} == ${literal(node)}`;
  const key = path.at(-1);
  if (node.type !== "null" || typeof key !== "string") return is;
  return `contains(keys(${pathText(path.slice(0, -1))}), \`${ascii(key)}\`) && ${is}`;
}

/** What was asked before, and a condition as well. */
export function and(before, condition) {
  const asked = before.trim();
  if (!asked) return condition;
  if (asked === condition) return asked;
  if (asked.includes("|")) return `(${asked}) && ${condition}`;
  return asked.endsWith(`&& ${condition}`) ? asked : `${asked} && ${condition}`;
}

/** A regular expression that matches this text alone, from begin to end. */
export function exactly(text) {
  const visible = [...text].map((character) => {
    if (/[\p{C}\p{Zl}\p{Zp}]/u.test(character)) {
      return `\\x{${character.codePointAt(0).toString(16)}}`;
    }
    return character.replace(SPECIAL, "\\$&");
  });
  return `^${visible.join("")}$`;
}

/** A text as a JSON string of printable ASCII without a backtick, which would end a literal. */
function ascii(text) {
  return JSON.stringify(text).replace(/[^ -~]|`/g, (unit) =>
    `\\u${unit.charCodeAt(0).toString(16).padStart(4, "0")}`);
}
