// Numbers, times and foreign text for people, as tapring/words.py has them for a terminal.

// What has no glyph of its own, or changes those around it: controls, formats (marks of direction,
// zero widths), halves of surrogate pairs, private and undefined characters, spaces of other kinds.
// U+FE0F only picks the colored form of an emoji.
const HIDDEN = /(?![ \ufe0f])[\p{C}\p{Z}\p{Default_Ignorable_Code_Point}]/u;
const EACH_HIDDEN = new RegExp(HIDDEN, "gu");
const SHORT = { "\t": "\\t", "\n": "\\n", "\r": "\\r" };
const NUMBER = new Intl.NumberFormat("en-US");

/** The text with an escape for each character that one cannot see. */
export function visible(text) {
  return HIDDEN.test(text) ? text.replace(EACH_HIDDEN, escaped) : text;
}

/** The text in parts: `[text, whether it is an escape]`. */
export function visibleParts(text) {
  const parts = [];
  let at = 0;
  for (const match of text.matchAll(EACH_HIDDEN)) {
    if (match.index > at) parts.push([text.slice(at, match.index), false]);
    parts.push([escaped(match[0]), true]);
    at = match.index + match[0].length;
  }
  if (at < text.length) parts.push([text.slice(at), false]);
  return parts;
}

function escaped(character) {
  const code = character.codePointAt(0).toString(16);
  return SHORT[character] ?? (code.length > 4 ? `\\u{${code}}` : `\\u${code.padStart(4, "0")}`);
}

/** The first `most` UTF-16 units of a text, without half of a pair at the end. */
export function cut(text, most) {
  if (text.length <= most) return text;
  const last = text.charCodeAt(most - 1);
  return text.slice(0, last >= 0xd800 && last < 0xdc00 ? most - 1 : most);
}

/** `12,345` */
export const number = (value) => NUMBER.format(value);

/** `1 event`, `2,000 events` */
export const counted = (count, noun) => `${number(count)} ${noun}${count === 1 ? "" : "s"}`;

/** `12,400/s`, `0.3/s` */
export function rate(perSecond) {
  const digits = perSecond >= 9.95 || perSecond === 0 ? 0 : 1;
  return `${number(Number(perSecond.toFixed(digits)))}/s`;
}

/** A short number for a narrow place: `950`, `12.3k`, `4.1M`. */
export function short(value) {
  if (value < 10_000) return number(value);
  if (value < 1_000_000) return `${(value / 1000).toFixed(1)}k`;
  return `${(value / 1_000_000).toFixed(1)}M`;
}

let lastTime = "";
let lastClock = "";

/** The local time of day of an RFC 3339 time: `13:05:01.250`. Rows of a batch have one time. */
export function clock(time) {
  if (time === lastTime) return lastClock;
  const at = new Date(time);
  lastTime = time;
  lastClock = Number.isNaN(at.getTime()) ? time : clockOf(at);
  return lastClock;
}

function clockOf(at) {
  const two = (value) => String(value).padStart(2, "0");
  const milliseconds = String(at.getMilliseconds()).padStart(3, "0");
  return `${two(at.getHours())}:${two(at.getMinutes())}:${two(at.getSeconds())}.${milliseconds}`;
}
