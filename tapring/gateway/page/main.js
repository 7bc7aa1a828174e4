// The page: what is shown, and what follows from what the reader does.

import { Account } from "./account.js";
import { Refused, token, whoami } from "./api.js";
import { Detail } from "./detail.js";
import { byId, say } from "./dom.js";
import { Engines } from "./engines.js";
import { Filters } from "./filters.js";
import { bindKeys } from "./keys.js";
import { Lanes } from "./lanes.js";
import { List } from "./list.js";
import { Plot } from "./plot.js";
import { Records, brokenRow } from "./records.js";
import { MOST_ROWS, Rows } from "./rows.js";
import * as url from "./state.js";
import { Stream } from "./stream.js";
import { counted, number, short, visible } from "./text.js";
import { and } from "./where.js";

const COUNTS_EVERY_MS = 250;
const ENDED = {
  "engine-exit": "The engine has exited.",
  "engine-death": "The engine has died.",
  duration: "The time that was asked for is over.",
  limit: "The number of events that was asked for is reached.",
  interrupt: "The server was stopped.",
  expired: "The engine's limit on the duration of a session is over.",
  closed: "The stream was closed.",
  evicted: "The engine gave the session up.",
};

const grid = byId("list");
const rows = new Rows();
const lanes = new Lanes();
const account = new Account();
let state = url.read();
let stream = null;
let kinds = new Map();
let served = [];
let lastId = "";
let isDirty = true;
let countsAt = 0;

const changed = () => { isDirty = true; };
const list = new List(grid, byId("space"), rows, lanes, changed);
const detail = new Detail((stage) => kinds.get(stage), filterBy);
const filters = new Filters((values) => show({ engine: state.engine, ...values }));
const plot = new Plot(() => (
  { offered: account.count("offered"), shown: account.shown, missed: account.missed }));
const engines = new Engines(lanes, {
  chosen: (address) => {
    if (address !== state.engine) show({ engine: address, ...kept() });
    else if (!stream) enter();
  },
  refused: askForToken,
  news: offerStages,
});
const records = new Records((row) => {
  rows.add(row);
  if (row.kind === "event") account.shown += 1;
  else account.missed += row.count;
  isDirty = true;
});

// ---- streams --------------------------------------------------------------------------------

/** Show what a state asks for, in a new stream. */
function show(next, isStep = true, starts = true) {
  state = next;
  url.write(state, isStep);
  filters.show(state);
  stop();
  if (list.paused) pause();
  kinds = new Map();
  served = [];
  rows.clear();
  account.reset();
  plot.reset();
  list.reset();
  closeDetail();
  hideNotice();
  lastId = "";
  engines.mark(state.engine ?? "");
  say(byId("title"), state.engine ? visible(state.engine) : "");
  document.title = state.engine ? `${visible(state.engine)} – tapring` : "tapring";
  offerStages();
  if (state.engine && starts) start();
  else tellState("idle", "Not connected");
}

/** Filters that another engine is shown with. Its stages may be others. */
function kept() {
  const { engine: _, stage: __, last: ___, ...rest } = state;
  return rest;
}

/** Begin the stream, or go on where the one before has ended. */
function start() {
  stop();
  hideNotice();
  account.connect();
  const mine = new Stream(state.engine, url.streamParameters(state), {
    record: (text) => records.take(text),
    account: (facts) => account.take(facts),
    open: (found, isResumed) => {
      account.connect();
      if (isResumed && ![...found.keys()].every((stage) => engines.records(state.engine, stage))) {
        rows.add(brokenRow());
        isDirty = true;
      }
      for (const [stage, kind] of found) kinds.set(stage, kind);
      served = [...found.keys()];
      filters.showStages(served);
    },
    state: tellConnection,
    refused,
    ended,
  }, lastId);
  stream = mine;
  mine.run();
}

function stop() {
  if (!stream) return;
  lastId = stream.lastId;
  stream.stop();
  stream = null;
  byId("hurry").hidden = true;
}

function refused(error) {
  stop();
  tellState("ended", "Not connected");
  if (error.status === 401) askForToken(error);
  else tell(error.message, error.hint, "Try again");
}

async function ended(summary, error) {
  stop();
  tellState("ended", `Ended: ${summary.ended_by}`);
  tell(error?.error ?? ENDED[summary.ended_by] ?? `The stream has ended: ${summary.ended_by}.`,
    error?.hint ?? `${counted(account.shown, "event")} came to this page.`, "Continue");
  if (!error) return;
  try { // it may be that the token has expired
    await whoami();
  } catch (problem) {
    if (problem instanceof Refused && problem.status === 401) askForToken(problem);
  }
}

function tellConnection(name, seconds, why) {
  byId("hurry").hidden = name !== "waiting";
  if (name === "live") tellState(list.paused ? "paused" : "live", list.paused ? "Paused" : "Live");
  else if (name === "connecting") tellState("connecting", "Connecting…");
  else if (name === "reconnecting") tellState("reconnecting", "Reconnecting…");
  else tellState("reconnecting", `${why ? visible(why) : "Connection lost"}. Reconnecting in ${Math.ceil(seconds)} s…`);
}

function tellState(name, text) {
  byId("state").dataset.state = name;
  say(byId("state"), text);
}

// ---- notices and the token ------------------------------------------------------------------

function tell(error, hint, again) {
  say(byId("notice-error"), visible(error));
  say(byId("notice-hint"), visible(hint));
  say(byId("notice-again"), again);
  byId("notice").hidden = false;
}

function hideNotice() {
  byId("notice").hidden = true;
}

function askForToken(error) {
  engines.stop();
  stop();
  hideNotice();
  if (!token.get() || error?.message.includes("needs a token")) say(byId("token-error"), "");
  else say(byId("token-error"), visible(error?.message ?? ""));
  if (byId("token-form").hidden) {
    byId("token-form").hidden = false;
    byId("token").value = "";
    byId("token").focus();
  }
  if (state.engine) tellState("ended", "Not connected");
}

async function enter() {
  try {
    const who = await whoami();
    byId("token-form").hidden = true;
    say(byId("whoami"), visible(`You are ${who.name}, with the role ${who.role}. ` +
      `The server runs tapring ${who.version}.`));
    const hidden = who.redacted.join(", ");
    say(byId("hidden-told"), hidden && visible(`The server hides ${hidden}.`));
    engines.start();
    if (state.engine && !stream) start();
  } catch (error) {
    if (error instanceof Refused && error.status === 401) askForToken(error);
    else {
      tellState("ended", "Not connected");
      tell(error instanceof Refused ? error.message : "The server cannot be reached.",
        error.hint ?? "Is tapring serve still running?", "Try again");
    }
  }
}

byId("token-form").addEventListener("submit", (event) => {
  event.preventDefault();
  token.set(byId("token").value.trim());
  enter();
});
byId("notice-again").addEventListener("click", () => {
  hideNotice();
  enter();
});
byId("notice-close").addEventListener("click", hideNotice);
byId("hurry").addEventListener("click", () => stream?.hurry());

// ---- stages, filters, the event -------------------------------------------------------------

function offerStages() {
  const there = engines.of(state.engine ?? "");
  const stages = new Map();
  const recorded = new Set();
  for (const lane of there) {
    for (const stage of lane.stages) {
      stages.set(stage.name, stage);
      if (!kinds.has(stage.name)) kinds.set(stage.name, stage.kind);
    }
    for (const name of Object.keys(lane.recorders)) recorded.add(name);
  }
  byId("stages-box").hidden = !stages.size;
  if (stages.size || !state.engine) filters.offerStages([...stages.values()], recorded);
  if (stream) filters.showStages(served);
}

function filterBy(condition, isLine) {
  if (isLine) filters.set("grep", condition);
  else filters.set("where", and(filters.get("where"), condition));
  grid.focus();
}

function showDetail() {
  const row = rows.at(list.selected);
  if (!row) return;
  detail.show(row);
  byId("events").classList.add("split");
}

function closeDetail() {
  detail.close();
  byId("events").classList.remove("split");
}

function toggleDetail() {
  if (detail.isOpen) {
    closeDetail();
    grid.focus({ preventScroll: true });
  } else {
    if (list.selected === null) list.step(0);
    showDetail();
  }
}

function step(by) {
  list.step(by);
  grid.focus({ preventScroll: true });
  if (detail.isOpen) showDetail();
}

function pause() {
  list.pause(!list.paused);
  byId("pause").setAttribute("aria-pressed", list.paused);
  say(byId("pause"), list.paused ? "Resume" : "Pause");
  if (["live", "paused"].includes(byId("state").dataset.state)) tellConnection("live");
}

function newest() {
  if (list.paused) pause();
  list.follow();
}

function download() {
  const blob = new Blob(rows.records(list.end), { type: "application/x-ndjson" });
  const link = document.createElement("a");
  link.href = URL.createObjectURL(blob);
  const time = new Date().toISOString().slice(0, 19).replaceAll(":", "");
  link.download = `${(state.engine ?? "tapring").replace(/[^\w.-]/g, "_")}-${time}.ndjson`;
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 10_000);
}

function help() {
  byId("help-dialog").showModal();
}

byId("pause").addEventListener("click", pause);
byId("download").addEventListener("click", download);
byId("help").addEventListener("click", help);
byId("newest").addEventListener("click", () => {
  newest();
  grid.focus({ preventScroll: true });
});
byId("skip").addEventListener("click", () => grid.focus());
byId("detail-close").addEventListener("click", toggleDetail);
grid.addEventListener("choose", showDetail);
bindKeys(list, {
  pause,
  newest,
  help,
  step,
  oldest: () => list.select(rows.first),
  focusWhere: () => filters.focus("where"),
  toggle: toggleDetail,
  escape: (input) => {
    if (input) input.blur();
    else if (detail.isOpen) toggleDetail();
  },
});

// ---- frames ---------------------------------------------------------------------------------

function frame(now) {
  if (isDirty) {
    isDirty = false;
    list.render();
  }
  if (now - countsAt >= COUNTS_EVERY_MS) {
    countsAt = now;
    counts();
  }
  requestAnimationFrame(frame);
}

function counts() {
  const { waiting } = list;
  account.render(waiting);
  plot.draw();
  byId("newest").hidden = list.following && !list.paused;
  say(byId("newest"), waiting ? `↓ ${short(waiting)} newer` : "↓ Newest");
  let kept = "";
  if (rows.passed) kept = `The list holds ${number(rows.length)} rows and is full: newer events are counted, not kept`;
  else if (rows.dropped) kept = `Showing the newest ${number(Math.min(rows.length, MOST_ROWS))}`;
  say(byId("kept"), kept);
  grid.toggleAttribute("data-stages", served.length > 1);
  grid.toggleAttribute("data-lanes", engines.of(state.engine ?? "").length !== 1);
  const empty = byId("empty");
  empty.hidden = rows.length > 0;
  say(empty, state.engine ? "Waiting for events…" : "Choose an engine.");
}

window.addEventListener("popstate", () => {
  const given = url.takeToken();
  if (given) token.set(given);
  const next = url.read();
  if (given || JSON.stringify(next) !== JSON.stringify(state)) show(next, false, !given);
  if (given) enter(); // which starts the stream, once
});

const given = url.takeToken();
if (given) token.set(given);
if (matchMedia("(max-width: 640px)").matches) {
  byId("filters-box").open = false;
  byId("engines-box").open = !state.engine;
}
filters.show(state);
engines.mark(state.engine ?? "");
say(byId("title"), state.engine ? visible(state.engine) : "");
requestAnimationFrame(frame);
if (token.get()) enter();
else askForToken();
