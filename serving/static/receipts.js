// The page that says what became of every object.

import { call, query } from "./api.js";
import { byId, element, moment, say } from "./dom.js";
import { forgetMissing, offerMissing } from "./missing.js";
import { loadCorpora, startPage } from "./page.js";

const PAGE = 50; // receipts per page
const STATES = {
  indexed: "Indexed",
  duplicate: "Duplicate",
  rejected: "Rejected",
  quarantined: "Quarantined",
  pending: "Pending",
};
// What is shown: pages is the stack of keys that the pages up to this one start after.
const shown = { corpus: "", prefix: "", state: "", pages: [null] };
let asked = 0; // an earlier request's answer must not overwrite a later one's

async function show() {
  const mine = ++asked;
  const { corpus, prefix, state } = shown;
  const fields = query({ corpus, prefix, state, limit: PAGE, after: shown.pages.at(-1) });
  remember();
  say("Reading…");
  byId("rows").setAttribute("aria-busy", "true");
  try {
    const found = await call(`/v1/receipts?${fields}`);
    if (mine !== asked) return;
    tiles(found.states);
    rows(found);
    say(summary(found));
  } catch (error) {
    if (mine !== asked) return;
    byId("tiles").hidden = byId("rows").hidden = byId("paging").hidden = true;
    say(error.message, true);
  } finally {
    if (mine === asked) byId("rows").removeAttribute("aria-busy");
  }
}

// The address says what is shown, so that it can be kept and sent to somebody.
function remember() {
  const { corpus, prefix, state } = shown;
  history.replaceState(null, "", `?${query({ corpus, prefix, state }, null)}`);
}

function total(states) {
  return shown.state ? (states[shown.state] ?? 0) : Object.values(states).reduce((sum, count) => sum + count, 0);
}

function summary(found) {
  const all = total(found.states);
  if (!all && (shown.prefix || shown.state)) return "No file that you may read has such a name and state.";
  if (!all) return "No file that you may read is here yet. A reindex lists what is new.";
  const first = (shown.pages.length - 1) * PAGE + 1;
  const live = found.release === null ? "nothing is live yet" : `release ${found.release} is live`;
  const some = found.receipts.length ? `${first}–${first + found.receipts.length - 1} of ` : "";
  return `${some}${all.toLocaleString()}; ${live}.`;
}

function tiles(states) {
  const counts = { "": Object.values(states).reduce((sum, count) => sum + count, 0), ...states };
  const focused = document.activeElement?.dataset?.state;
  byId("tiles").replaceChildren(
    ...Object.entries(counts).map(([state, count]) => {
      const tile = element("button", `tile ${state || "all"}`);
      tile.type = "button";
      tile.dataset.state = state;
      tile.setAttribute("aria-pressed", String(state === shown.state));
      tile.append(element("span", "count", count.toLocaleString()), element("span", "name", STATES[state] ?? "All"));
      tile.addEventListener("click", () => {
        Object.assign(shown, { state, pages: [null] });
        show();
      });
      return tile;
    }),
  );
  byId("tiles").hidden = false;
  if (focused !== undefined) byId("tiles").querySelector(`[data-state="${focused}"]`)?.focus();
}

function rows(found) {
  byId("rows").tBodies[0].replaceChildren(...found.receipts.map(row));
  byId("rows").hidden = !found.receipts.length;
  byId("previous").disabled = shown.pages.length === 1;
  byId("next").disabled = found.after === null;
  byId("next").dataset.after = found.after ?? "";
  byId("paging").hidden = shown.pages.length === 1 && found.after === null;
}

function row(receipt) {
  const made = element("tr");
  const state = element("td");
  state.append(element("span", `state ${receipt.state}`, STATES[receipt.state]));
  const why = element("td", "why", receipt.message);
  if (receipt.survivor !== null) why.append(" Kept instead: ", receiptLink(receipt.survivor), ".");
  if (receipt.parent !== null) why.append(" Attached to: ", receiptLink(receipt.parent), ".");
  const links = (keys) => keys.flatMap((key) => [", ", receiptLink(key)]).slice(1);
  if (receipt.attachments.length) why.append(" Attached to it: ", ...links(receipt.attachments), ".");
  if (receipt.duplicates.length) why.append(" Left out for it: ", ...links(receipt.duplicates), ".");
  if (receipt.requeued !== null) why.append(element("span", "code", `Asked to be processed again: ${receipt.requeued}`));
  if (receipt.reason !== "ok") why.append(element("span", "code", receipt.reason));
  const cells = [
    element("td", "name", receipt.key),
    state,
    why,
    labelled("What to do", "advice", receipt.advice),
    labelled("Since", "since"),
    labelled("Release", "number", receipt.release),
    labelled("Passages", "number", receipt.chunks || null),
  ];
  if (receipt.since !== null) cells[4].append(moment(receipt.since));
  // On a phone rows are drawn as cards; the roles keep them a table for those who listen to it.
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

// The key of another object, as a link to its receipt.
function receiptLink(key) {
  const link = element("a", "", key);
  link.href = `?${new URLSearchParams({ corpus: shown.corpus, prefix: key })}`;
  return link;
}

function filter() {
  Object.assign(shown, { corpus: byId("corpus").value, prefix: byId("prefix").value, pages: [null] });
  if (!shown.corpus) return;
  show();
  offerMissing(shown.corpus);
}

byId("filter").addEventListener("submit", (event) => {
  event.preventDefault();
  filter();
});
byId("corpus").addEventListener("change", () => {
  shown.state = "";
  filter();
});
byId("previous").addEventListener("click", () => {
  shown.pages.pop();
  show();
});
byId("next").addEventListener("click", () => {
  shown.pages.push(byId("next").dataset.after);
  show();
});
startPage(async () => {
  forgetMissing();
  const given = new URLSearchParams(location.search);
  byId("prefix").value = given.get("prefix") ?? "";
  const state = given.get("state") ?? "";
  shown.state = Object.hasOwn(STATES, state) ? state : "";
  if (await loadCorpora()) filter();
});
