// The page to ask questions on.

import { call, events, groups } from "./api.js";
import { byId, say } from "./dom.js";
import { Exchange } from "./exchange.js";
import { loadCorpora, startPage } from "./page.js";
import { closeDocument } from "./reader.js";

const MAX_TURNS = 20; // of a conversation, as the service takes them
const MAX_TURN = 4000; // characters of an earlier answer; a request has its limit, too
let turns = [];
let conversation = newId();
let running = null;

function newId() {
  return Array.from(crypto.getRandomValues(new Uint8Array(16)), (byte) => byte.toString(16).padStart(2, "0")).join("");
}

// What was said before is of no use in another corpus, nor to other readers.
function forget() {
  turns = [];
  conversation = newId();
}

function begin() {
  stop();
  running = null;
  byId("stop").hidden = true;
  closeDocument();
  forget();
  byId("result").replaceChildren();
  byId("new").hidden = true;
  say("");
  byId("question").focus();
}

function stop() {
  running?.abort();
}

async function ask(passages) {
  byId("question").setCustomValidity(byId("question").value.trim() ? "" : "Write a question first.");
  if (!byId("ask").reportValidity()) return;
  stop();
  const mine = (running = new AbortController());
  const corpus = byId("corpus").value;
  const question = byId("question").value.trim();
  const as = groups();
  const exchange = new Exchange(question, { corpus, groups: as });
  byId("result").prepend(exchange.box);
  byId("new").hidden = false;
  byId("stop").hidden = false;
  say("Reading…");
  try {
    if (passages) exchange.passages(await call("/v1/retrieve", { corpus, query: question, groups: as }, mine.signal));
    else await follow(exchange, { corpus, question, groups: as, history: turns, conversation }, mine.signal);
    if (mine === running) say("");
  } catch (error) {
    if (mine.signal.aborted) exchange.broken("Stopped.", false);
    else exchange.broken(error.message, true);
    if (mine === running) say(mine.signal.aborted ? "Stopped." : error.message, !mine.signal.aborted);
  } finally {
    if (mine === running) {
      running = null;
      byId("stop").hidden = true;
      if (document.activeElement === document.body) byId("question").focus();
    }
  }
}

async function follow(exchange, asked, signal) {
  const begun = conversation;
  for await (const [name, data] of events("/v1/answer/stream", asked, signal)) {
    exchange.take(name, data);
    if (name === "start" || name === "restart") say("Writing…");
    if (name !== "done") continue;
    if (begun === conversation) {
      const answer = Array.from(data.text).slice(0, MAX_TURN).join("");
      turns = [...turns, { question: asked.question, answer }].slice(-MAX_TURNS);
      byId("question").select(); // the next question takes its place
    }
    return;
  }
  throw new Error("The connection broke off before the answer was complete.");
}

byId("ask").addEventListener("submit", (event) => {
  event.preventDefault();
  ask(false);
});
byId("passages-button").addEventListener("click", () => ask(true));
byId("stop").addEventListener("click", () => {
  stop();
  byId("question").focus();
});
byId("new").addEventListener("click", begin);
byId("corpus").addEventListener("change", forget);
byId("groups").addEventListener("change", forget);
byId("question").addEventListener("input", () => byId("question").setCustomValidity(""));
byId("question").addEventListener("keydown", (event) => {
  if (event.key === "Enter" && !event.shiftKey && !event.isComposing) {
    event.preventDefault();
    ask(false);
  }
});
document.addEventListener("keydown", (event) => {
  if (event.key === "Escape" && !closeDocument()) stop();
});
startPage(loadCorpora);
