// The document beside the answer, open at the cited words.

import { call, query } from "./api.js";
import { byId, element, say } from "./dom.js";
import { reportCitation } from "./feedback.js";

const AROUND = 3000; // characters loaded before and after a citation, and with each "show more"
const NARROW = matchMedia("(max-width: 59.99rem)"); // as in style.css: there the document covers the page
const shown = { source: null, from: null, start: 0, end: 0, length: 0, text: [], opener: null };
let opened = 0;

function span(start, end) {
  const { corpus, release, groups } = shown.from;
  return call(`/v1/documents/${encodeURIComponent(shown.source.doc)}?${query({ corpus, release, start, end }, groups)}`);
}

// Open the document of ``source`` (a citation or passage) for ``from``: where it was found and as whose reader, with its
// near-duplicates, and, for a citation, which one of which answer it is. Focus goes back to ``opener``.
export async function openSource(source, from, opener) {
  const mine = ++opened;
  Object.assign(shown, { source, from, opener });
  try {
    const found = await span(Math.max(0, source.start - AROUND), source.end + AROUND);
    if (mine !== opened) return;
    // Offsets count code points; a JavaScript string counts UTF-16 units, an array from it code points.
    Object.assign(shown, { start: found.start, end: found.end, length: found.length, text: Array.from(found.text) });
    byId("document-title").textContent = found.title;
    facts(found);
    showReport();
    byId("document").hidden = false;
    cover();
    draw();
    byId("document").focus({ preventScroll: true });
    byId("cited").scrollIntoView({ block: "center" });
  } catch (error) {
    if (mine === opened) say(error.message, true);
  }
}

function facts(found) {
  const { source, from } = shown;
  // A chunk may hold several small sections; the document knows in which one the words stand, and on which page.
  const around = (spans) => spans.find((part) => part.start <= source.start && source.start < part.end);
  const section = around(found.sections)?.section ?? source.section;
  const alike = from.duplicates.map((other) => `${other.key} (${Math.round(100 * other.similarity)} % the same)`);
  const rows = [
    ["Key", found.key],
    ["Section", section.join(" › ")],
    ["Page", around(found.pages)?.page ?? source.page],
    ["Revision", found.revision],
    ["Release", found.release],
    ["Also in", alike.join(", ")],
  ];
  byId("facts").replaceChildren(
    ...rows
      .filter(([, value]) => value !== null && value !== "")
      .flatMap(([name, value]) => [element("dt", "", name), element("dd", "", value)]),
  );
}

function showReport() {
  byId("report").hidden = shown.from.place === null;
  byId("report").disabled = false;
  byId("report-status").textContent = "";
}

async function report() {
  const mine = opened;
  byId("report").disabled = true;
  const [text, bad] = await reportCitation(shown.from.place);
  if (mine !== opened) return;
  byId("report-status").textContent = text;
  byId("report-status").classList.toggle("bad", bad);
  byId("report").disabled = !bad;
}

function draw() {
  const { source, start, end, length, text } = shown;
  const part = (from, to) => text.slice(Math.max(0, from - start), Math.max(0, to - start)).join("");
  const mark = element("mark", "", part(source.start, source.end));
  mark.id = "cited";
  byId("text").replaceChildren(part(start, source.start), mark, part(source.end, end));
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

// What the document covers can't be reached with the keyboard either.
function cover() {
  const covered = NARROW.matches && !byId("document").hidden;
  for (const part of document.querySelectorAll(".skip, header, #asking")) part.inert = covered;
}

// Close the document; say whether one was open.
export function closeDocument() {
  opened += 1;
  if (byId("document").hidden) return false;
  byId("document").hidden = true;
  cover();
  if (shown.opener?.isConnected) shown.opener.focus();
  return true;
}

byId("report").addEventListener("click", report);
byId("earlier").addEventListener("click", () => more(true));
byId("later").addEventListener("click", () => more(false));
byId("close").addEventListener("click", closeDocument);
NARROW.addEventListener("change", cover);
