// The page: connects the session, the views and the keys.

import { ApiError, getModel } from "./api.js";
import { makeCounters } from "./counters.js";
import { byId } from "./dom.js";
import { setUpLook } from "./look.js";
import { askForKey, clearProblem, showProblem } from "./problems.js";
import { missingModes, Session } from "./session.js";
import { SettingsForm } from "./settings.js";
import { TextsView } from "./texts_view.js";
import { Timeline } from "./timeline.js";

const prompt = /** @type {HTMLTextAreaElement} */ (byId("prompt"));
const conversation = byId("conversation");
const settings = new SettingsForm();
const timeline = new Timeline(byId("timeline"), () => session.replay((words) => (speed = words)));
const texts = new TextsView(byId("texts"));
const showCounters = makeCounters(byId("counters"));
/** Milliseconds between two drawings. Few drawings leave the processor to the models. */
const DRAW_EVERY_MS = 40;
let due = false;
/** Whether the conversation scrolls with its end. */
let atEnd = true;
let lastTop = 0;
/** The slow-down of the replay, during a replay. */
let speed = "";

const session = new Session({
  onTurn: (turn) => {
    byId("empty").hidden = true;
    if (!turn.element.isConnected) conversation.append(turn.element);
    atEnd = true;
    timeline.show(turn.list);
    tell("waiting");
    refresh();
  },
  onNews: refresh,
  onWait: tell,
  onProblem: problem,
  onPoint: (words, run, atMs) => {
    byId("token-info").textContent = words;
    timeline.mark(run, atMs);
  },
  onBusy: (busy) => {
    if (!busy) speed = "";
    for (const id of ["send", "compare", "new-chat"]) disable(id, busy);
    disable("stop", !busy);
  },
});

/** Schedules one drawing for all chunks that come until the next frame. */
function refresh() {
  if (due) return;
  due = true;
  setTimeout(() => requestAnimationFrame(draw), DRAW_EVERY_MS);
}

function draw() {
  due = false;
  session.update();
  if (atEnd) conversation.scrollTop = conversation.scrollHeight;
  timeline.update();
  showCounters(session.last?.runs ?? {});
  const run = session.last?.list.find((one) => !one.over);
  if (run?.status === "running") tell(speed || `decoding ${run.request.speculates ? "with" : "without"} speculation`);
  if (!run && session.last) tell(outcome(session.last.list));
}

/** The outcome of runs. @param {import("./run.js").Run[]} runs */
function outcome(runs) {
  if (runs.some((run) => run.status === "failed")) return "failed";
  return runs.some((run) => run.status === "stopped") ? "stopped" : "done";
}

/** @param {string} words */
function tell(words) {
  const status = byId("status");
  if (status.textContent !== words) status.textContent = words;
}

/** @param {string} id @param {boolean} disabled */
function disable(id, disabled) {
  /** @type {HTMLButtonElement} */ (byId(id)).disabled = disabled;
}

/** @param {Error} error @param {() => void} retry */
async function problem(error, retry) {
  const needsKey = error instanceof ApiError && error.status === 401;
  if (needsKey && (await askForKey())) retry();
  else showProblem(error, retry);
}

/** @param {boolean} compares whether to run with and without speculation */
function send(compares) {
  if (session.busy || !settings.check()) return;
  const wanted = settings.read();
  const text = prompt.value;
  const turn = text.trim() === "" ? compares && session.last : session.turnFor(text, wanted);
  if (!turn) {
    prompt.focus();
    return;
  }
  clearProblem();
  if (wanted.kind === "chat") prompt.value = "";
  const chosen = (text.trim() === "" && turn.settings) || wanted;
  turn.settings = chosen;
  session.run(turn, chosen, compares ? missingModes(turn, settings.speculativeMode) : [wanted.mode]);
}

function startAnew() {
  session.clear();
  for (const turn of conversation.querySelectorAll(".turn")) turn.remove();
  byId("empty").hidden = false;
  clearProblem();
  timeline.show([]);
  showCounters({});
  tell("idle");
  prompt.focus();
}

/** @param {KeyboardEvent} event */
function onPromptKey(event) {
  if (event.key !== "Enter" || event.shiftKey || event.isComposing) return;
  event.preventDefault();
  send(settings.canSpeculate && (event.ctrlKey || event.metaKey));
}

/** @param {KeyboardEvent} event */
function onKey(event) {
  if (document.querySelector("dialog[open]")) return;
  const typing = event.target instanceof HTMLElement && event.target.matches("input, textarea, select");
  if (event.key === "Escape" && session.busy) {
    event.preventDefault();
    session.stop();
  } else if (event.key === "/" && !typing && !event.ctrlKey && !event.metaKey && !event.altKey) {
    event.preventDefault();
    prompt.focus();
  }
}

async function connect() {
  try {
    const model = await getModel();
    const meta = model.meta ?? {};
    session.model = model.id;
    const facts = [model.id];
    if (meta.n_ctx) facts.push(`context ${meta.n_ctx}`);
    const alone = meta.lookup ? "no draft model: texts propose tokens" : "no speculation";
    facts.push(meta.draft ? "with a draft model" : alone);
    if (meta.has_chat_template === false) facts.push("no chat template");
    byId("model").textContent = facts.join(" · ");
    settings.offer(meta);
    texts.start();
  } catch (error) {
    byId("model").textContent = "not connected";
    problem(/** @type {Error} */ (error), connect);
  }
}

setUpLook(() => {
  timeline.draw();
  texts.draw();
});
byId("composer").addEventListener("submit", (event) => {
  event.preventDefault();
  send(false);
});
byId("compare").addEventListener("click", () => send(true));
byId("stop").addEventListener("click", () => session.stop());
byId("new-chat").addEventListener("click", startAnew);
byId("help-open").addEventListener("click", () => /** @type {HTMLDialogElement} */ (byId("help")).showModal());
conversation.addEventListener("scroll", () => {
  const top = conversation.scrollTop;
  const near = conversation.scrollHeight - top - conversation.clientHeight < 60;
  if (near || top < lastTop) atEnd = near; // growth does not leave the end, but scrolling back does
  lastTop = top;
});
prompt.addEventListener("keydown", onPromptKey);
document.addEventListener("keydown", onKey);
connect();
prompt.focus();
