"use strict";

const AROUND = 3000; // characters loaded before and after a citation, and with each "show more"
const shown = { citation: null, corpus: "", release: 0, start: 0, end: 0, length: 0, text: [], opener: null };
let asked = 0; // a later question's answer must not be overwritten by an earlier one that took longer
let opened = 0;

function where(source) {
  const parts = [source.title, ...source.section.filter((name) => name !== source.title)];
  if (source.page !== null) parts.push(`page ${source.page}`);
  return parts.join(" › ");
}

function sourceButton(source, release, corpus) {
  const button = element("button", "source", where(source));
  button.type = "button";
  button.addEventListener("click", () => open(source, release, corpus, button));
  return button;
}

function showAnswer(answer, corpus) {
  const result = byId("result");
  result.replaceChildren();
  if (answer.refused) {
    result.append(element("p", "sentence refusal", answer.reason));
  }
  const sources = element("ol", "sources");
  let number = 0;
  for (const sentence of answer.sentences) {
    const line = element("p", "sentence", sentence.text);
    for (const citation of sentence.citations) {
      number += 1;
      const button = element("button", "citation quiet", `[${number}]`);
      button.type = "button";
      button.setAttribute("aria-label", `Source ${number}: ${where(citation)}`);
      button.addEventListener("click", () => open(citation, answer.release, corpus, button));
      line.append(button);
      const item = element("li");
      item.append(sourceButton(citation, answer.release, corpus), element("span", "small", citation.key));
      sources.append(item);
    }
    result.append(line);
  }
  if (number) result.append(sources);
  result.append(element("p", "small", `Release ${answer.release}, answer ${answer.id}`));
}

function showPassages(found, corpus) {
  const list = element("ol", "sources");
  for (const passage of found.passages) {
    const item = element("li");
    const source = { ...passage, doc: passage.doc_id };
    item.append(sourceButton(source, found.release, corpus), element("p", "sentence", passage.text));
    if (passage.duplicates.length) {
      const keys = passage.duplicates.map((other) => other.key).join(", ");
      item.append(element("p", "small duplicates", `Also in: ${keys}`));
    }
    list.append(item);
  }
  const note = found.passages.length ? `Release ${found.release}` : "No document that everyone may read matches.";
  byId("result").replaceChildren(list, element("p", "small", note));
}

async function ask(passages) {
  if (!byId("ask").reportValidity()) return;
  const mine = ++asked;
  const corpus = byId("corpus").value;
  const question = byId("question").value;
  say("Reading…");
  byId("result").setAttribute("aria-busy", "true");
  try {
    const found = passages
      ? await call("/v1/retrieve", { corpus, query: question })
      : await call("/v1/answer", { corpus, question });
    if (mine !== asked) return;
    say("");
    (passages ? showPassages : showAnswer)(found, corpus);
  } catch (error) {
    if (mine !== asked) return;
    byId("result").replaceChildren();
    say(error.message, true);
  } finally {
    if (mine === asked) byId("result").removeAttribute("aria-busy");
  }
}

function span(start, end) {
  const query = new URLSearchParams({ corpus: shown.corpus, release: shown.release, start, end });
  return call(`/v1/documents/${encodeURIComponent(shown.citation.doc)}?${query}`);
}

async function open(citation, release, corpus, opener) {
  const mine = ++opened;
  Object.assign(shown, { citation, release, corpus, opener });
  try {
    const found = await span(Math.max(0, citation.start - AROUND), citation.end + AROUND);
    if (mine !== opened) return;
    // Offsets count code points; a JavaScript string counts UTF-16 units, an array from it code points.
    Object.assign(shown, { start: found.start, end: found.end, length: found.length, text: Array.from(found.text) });
    byId("document-title").textContent = found.title;
    facts(found);
    byId("document").hidden = false;
    draw();
    byId("document").focus({ preventScroll: true });
    byId("cited").scrollIntoView({ block: "center" });
  } catch (error) {
    if (mine === opened) say(error.message, true);
  }
}

function facts(found) {
  const { citation } = shown;
  // A chunk may hold several small sections, or end on the next page; the document knows where the words stand.
  const around = (spans) => spans.find((span) => span.start <= citation.start && citation.start < span.end);
  const section = around(found.sections)?.section ?? citation.section;
  const rows = [
    ["Key", found.key],
    ["Section", section.join(" › ")],
    ["Page", around(found.pages)?.page ?? citation.page],
    ["Revision", found.revision],
    ["Release", found.release],
  ];
  byId("facts").replaceChildren(
    ...rows.filter(([, value]) => value !== null && value !== "").flatMap(([name, value]) => [element("dt", "", name), element("dd", "", value)]),
  );
}

function draw() {
  const { citation, start, end, length, text } = shown;
  const part = (from, to) => text.slice(Math.max(0, from - start), Math.max(0, to - start)).join("");
  const mark = element("mark", "", part(citation.start, citation.end));
  mark.id = "cited";
  byId("text").replaceChildren(part(start, citation.start), mark, part(citation.end, end));
  byId("earlier").hidden = start === 0;
  byId("later").hidden = end >= length;
}

async function more(earlier) {
  const mine = opened;
  const scroll = byId("scroll");
  try {
    const found = earlier
      ? await span(Math.max(0, shown.start - AROUND), shown.start)
      : await span(shown.end, shown.end + AROUND);
    if (mine !== opened) return;
    const points = Array.from(found.text);
    const fromBottom = scroll.scrollHeight - scroll.scrollTop;
    if (earlier && found.end === shown.start) Object.assign(shown, { start: found.start, text: points.concat(shown.text) });
    if (!earlier && found.start === shown.end) Object.assign(shown, { end: found.end, text: shown.text.concat(points) });
    draw();
    if (earlier) scroll.scrollTop = scroll.scrollHeight - fromBottom; // what was being read stays where it was
    if (document.activeElement === document.body) scroll.focus({ preventScroll: true });
  } catch (error) {
    say(error.message, true);
  }
}

function close() {
  if (byId("document").hidden) return;
  opened += 1;
  byId("document").hidden = true;
  if (shown.opener && shown.opener.isConnected) shown.opener.focus();
}

byId("ask").addEventListener("submit", (event) => {
  event.preventDefault();
  ask(false);
});
byId("passages-button").addEventListener("click", () => ask(true));
byId("question").addEventListener("keydown", (event) => {
  if (event.key === "Enter" && !event.shiftKey && !event.isComposing) {
    event.preventDefault();
    ask(false);
  }
});
byId("earlier").addEventListener("click", () => more(true));
byId("later").addEventListener("click", () => more(false));
byId("close").addEventListener("click", close);
document.addEventListener("keydown", (event) => {
  if (event.key === "Escape") close();
});
startPage(loadCorpora);
