// The page that lists the releases of a corpus.

import { call, query } from "./api.js";
import { byId, element, moment, say } from "./dom.js";
import { loadCorpora, startPage } from "./page.js";

const PAGE = 20; // releases told at once
const STATES = {
  live: "Live",
  retained: "Retained",
  candidate: "Candidate",
  building: "Being built",
  rejected: "Rejected",
  restoring: "Being restored",
  dropped: "Dropped",
};
let asked = 0; // an earlier request's answer must not overwrite a later one's

async function show(after = null) {
  const mine = ++asked;
  const corpus = byId("corpus").value;
  if (!corpus) return;
  history.replaceState(null, "", `?${query({ corpus }, null)}`);
  if (after === null) byId("releases").replaceChildren();
  byId("older").hidden = true;
  say("Reading…");
  try {
    const found = await call(`/v1/releases?${query({ corpus, limit: PAGE, after }, null)}`);
    if (mine !== asked) return;
    byId("releases").append(...found.releases.map(card));
    byId("older").hidden = found.after === null;
    byId("older").onclick = () => show(found.after);
    say(byId("releases").childElementCount ? "" : "There is no release yet. A reindex makes the first one.");
  } catch (error) {
    if (mine === asked) say(error.message, true);
  }
}

function card(release) {
  const made = element("li", `release ${release.state}`);
  const head = element("h2", "", `Release ${release.number}`);
  head.append(" ", element("span", "badge", STATES[release.state]));
  const told = element("p", "small", "Made ");
  told.append(moment(release.created_at));
  if (release.parent !== null) told.append(` from release ${release.parent}`);
  if (release.published_at !== null) told.append(", published ", moment(release.published_at));
  made.append(head, told);
  if (release.reason) made.append(element("p", "reason", release.reason));
  const counts = Object.entries(release.counts);
  if (counts.length) {
    const list = element("ul", "counts");
    list.append(...counts.map(([name, count]) => element("li", "", `${count.toLocaleString()} ${name.replaceAll("_", " ")}`)));
    made.append(list);
  }
  if (release.checks.length) made.append(checks(release));
  return made;
}

function checks(release) {
  const failed = release.checks.filter((check) => !check.passed).length;
  const details = element("details", "checks");
  details.open = failed > 0;
  const all = release.checks.length === 1 ? "1 check" : `${release.checks.length} checks`;
  details.append(element("summary", "", failed ? `${all}, ${failed} failed` : `${all} passed`));
  const list = element("ul");
  for (const check of release.checks) {
    const item = element("li", check.passed ? "passed" : "failed");
    item.append(
      element("strong", "", `${check.passed ? "✓ passed" : "✗ failed"}: ${check.name.replaceAll("_", " ")}`),
      element("span", "small", ` ${number(check.figure)}, threshold ${number(check.threshold)}`),
      element("p", "small", check.description),
    );
    list.append(item);
  }
  details.append(list);
  return details;
}

function number(value) {
  return value.toLocaleString([], { maximumSignificantDigits: 4 });
}

byId("corpus").addEventListener("change", () => show());
byId("filter").addEventListener("submit", (event) => event.preventDefault());
startPage(async () => {
  if (await loadCorpora()) show();
});
