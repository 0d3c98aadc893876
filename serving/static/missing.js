// What people ask and the documents don't say, below the receipts: for those whose key may read questions.

import { call, query } from "./api.js";
import { button, byId, element, moment } from "./dom.js";
import { may } from "./page.js";

const PAGE = 20; // groups of questions told at once
let shown = null; // of which corpus
let asked = 0; // an earlier request's answer must not overwrite a later one's

// Offer the questions of a corpus; they are read when somebody opens the list, since comparing them takes a while.
export function offerMissing(corpus) {
  if (corpus === shown) return;
  shown = corpus;
  byId("missing").hidden = !may("questions");
  asked += 1;
  byId("missing-rows").tBodies[0].replaceChildren();
  byId("missing-rows").hidden = true;
  byId("missing-more").replaceChildren();
  tell("");
  byId("missing").ontoggle = () => {
    if (byId("missing").open && !byId("missing-rows").tBodies[0].childElementCount) read(corpus);
  };
  if (byId("missing").open && may("questions")) read(corpus);
}

// Somebody else may read from now on, or as a member of other groups.
export function forgetMissing() {
  shown = null;
  byId("missing").hidden = true;
}

async function read(corpus, after = null) {
  const mine = ++asked;
  tell("Comparing questions…");
  byId("missing-more").replaceChildren();
  try {
    const found = await call(`/v1/unanswered-questions?${query({ corpus, limit: PAGE, after })}`);
    if (mine !== asked) return;
    byId("missing-rows").tBodies[0].append(...found.questions.map((question) => row(corpus, question)));
    byId("missing-rows").hidden = !byId("missing-rows").tBodies[0].childElementCount;
    if (found.after !== null) byId("missing-more").append(button("quiet", "More", () => read(corpus, found.after)));
    const days = found.days === 1 ? "day" : `${found.days} days`;
    tell(byId("missing-rows").hidden ? `In the last ${days} every question had a good passage, or none was asked.` : `Of the last ${days}.`);
  } catch (error) {
    if (mine === asked) tell(error.message, true);
  }
}

function tell(text, bad = false) {
  byId("missing-status").textContent = text;
  byId("missing-status").classList.toggle("bad", bad);
}

function row(corpus, found) {
  const made = element("tr");
  const nearest = labelled("Nearest file", "nearest");
  if (found.nearest !== null) {
    const link = element("a", "", found.nearest);
    link.href = `?${new URLSearchParams({ corpus, prefix: found.nearest })}`;
    nearest.append(link, element("span", "code", `similarity ${found.similarity.toFixed(2)}`));
  }
  const last = labelled("Last asked", "since");
  last.append(moment(found.last_asked));
  const cells = [
    element("td", "name", found.question),
    labelled("Asked", "number", found.asked.toLocaleString()),
    labelled("Refused", "number", found.refused.toLocaleString()),
    nearest,
    last,
  ];
  made.setAttribute("role", "row");
  for (const cell of cells) cell.setAttribute("role", "cell");
  made.append(...cells);
  return made;
}

function labelled(label, className, value) {
  const cell = element("td", className, value ?? "");
  cell.dataset.label = label;
  return cell;
}
