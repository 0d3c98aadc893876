// One question and its answer, as it grows.

import { button, element } from "./dom.js";
import { feedbackRow } from "./feedback.js";
import { openSource } from "./reader.js";

const LEFT_OUT = {
  citation: "cites no source",
  number: "a number is not in its source",
  date: "a date is not in its source",
  name: "a name is not in its source",
  negation: "its source says the opposite, or not so",
  quote: "quotes what its source doesn't say",
  unsupported: "its source doesn't say so",
  unsafe: "a link, an image or an instruction",
};

function pages({ page, last_page: last }) {
  return (last ?? page) === page ? `page ${page}` : `pages ${page}–${last}`;
}

function where(source) {
  const parts = [source.title, ...source.section.filter((name) => name !== source.title)];
  if (source.page !== null) parts.push(pages(source));
  return parts.join(" › ");
}

function left(reasons) {
  const counts = Map.groupBy(reasons, (reason) => reason);
  const why = [...counts].map(([reason, all]) => (all.length > 1 ? `${LEFT_OUT[reason]} (${all.length} ×)` : LEFT_OUT[reason]));
  const what = reasons.length === 1 ? "1 sentence was" : `${reasons.length} sentences were`;
  return `${what} left out, because not supported by the documents: ${why.join("; ")}.`;
}

export class Exchange {
  // ``from``: corpus and groups of the question.
  constructor(question, from) {
    this.question = question;
    this.from = { ...from, release: null, duplicates: [], place: null };
    this.id = "";
    this.alike = new Map();
    this.box = element("article", "exchange");
    this.searched = element("p", "note searched");
    this.sentences = element("div", "sentences");
    this.sentences.setAttribute("aria-live", "polite");
    this.notes = element("div", "notes");
    this.notes.setAttribute("aria-live", "polite");
    this.sources = element("ol", "sources");
    this.box.append(element("h2", "asked", question), this.searched, this.sentences, this.notes, this.sources);
    this.box.setAttribute("aria-busy", "true");
    this.begin();
  }

  // Take back what was written.
  begin() {
    this.texts = [];
    this.numbers = new Map();
    this.dropped = [];
    for (const part of [this.sentences, this.notes, this.sources]) part.replaceChildren();
  }

  note(className, text) {
    this.notes.querySelector(`.${className}`)?.remove();
    if (text) this.notes.append(element("p", `note ${className}`, text));
  }

  take(name, data) {
    if (name === "start") this.start(data);
    if (name === "sentence") this.sentence(data);
    if (name === "dropped") this.drop(data.reason);
    if (name === "restart") {
      this.begin();
      this.note("restart", `The answer begins again: ${data.reason}`);
    }
    if (name === "done") this.done(data);
  }

  start(begun) {
    this.from.release = begun.release;
    this.id = begun.id;
    for (const passage of begun.passages) this.alike.set(passage.doc_id, passage.duplicates);
    this.understood(begun.searched);
  }

  understood(searched) {
    if (searched !== this.question) this.searched.textContent = `Understood as: ${searched}`;
  }

  sentence(found) {
    const line = element("p", "sentence", found.text);
    found.citations.forEach((citation, index) => {
      const from = this.fromOf(citation, { answer: this.id, sentence: this.texts.length, citation: index });
      const number = this.number(citation, from);
      const opener = button("citation quiet", `[${number}]`, () => openSource(citation, from, opener));
      opener.setAttribute("aria-label", `Source ${number}: ${where(citation)}`);
      line.append(opener);
    });
    this.texts.push(found.text);
    this.sentences.append(line);
  }

  fromOf(citation, place) {
    return { ...this.from, duplicates: this.alike.get(citation.doc) ?? [], place };
  }

  // The number of a source in the list below the answer, to which it is added the first time.
  number(citation, from) {
    const key = `${citation.doc} ${citation.start} ${citation.end}`;
    if (!this.numbers.has(key)) {
      this.numbers.set(key, this.numbers.size + 1);
      const item = element("li");
      item.append(this.opener(citation, from), element("span", "small", citation.key));
      this.sources.append(item);
    }
    return this.numbers.get(key);
  }

  opener(source, from) {
    const opener = button("source", where(source), () => openSource(source, from, opener));
    return opener;
  }

  drop(reason) {
    this.dropped.push(reason);
    this.note("dropped", left(this.dropped));
  }

  done(answer) {
    this.from.release = answer.release;
    this.id = answer.id;
    this.understood(answer.searched);
    const same = JSON.stringify(answer.sentences.map((sentence) => sentence.text)) === JSON.stringify(this.texts);
    if (!same) {
      this.begin();
      answer.sentences.forEach((sentence) => this.sentence(sentence));
    }
    if (answer.dropped.length) this.note("dropped", left(answer.dropped));
    if (answer.fallback) {
      this.note("restart", "");
      this.note("fallback", `Quoted instead of written by the language model: ${answer.fallback}`);
    }
    if (answer.refused) {
      this.note("refusal", answer.reason);
      this.notes.prepend(this.notes.querySelector(".refusal"));
    }
    const how = answer.model ? `written by ${answer.model}, each sentence checked` : "in the documents' own words";
    const parts = [`Release ${answer.release}`, answer.refused ? "" : how, answer.prompt ? `prompt ${answer.prompt}` : ""];
    if (answer.cached) parts.push("asked before");
    parts.push(`answer ${answer.id}`);
    this.end(parts.filter(Boolean).join(" · "));
    this.box.append(feedbackRow(answer.id));
  }

  // ``found``: the response of a search, instead of an answer.
  passages(found) {
    this.from.release = found.release;
    for (const passage of found.passages) {
      const source = { ...passage, doc: passage.doc_id };
      const item = element("li");
      const from = { ...this.from, duplicates: passage.duplicates };
      item.append(this.opener(source, from), element("span", "small", passage.key), element("p", "passage", passage.text));
      if (passage.duplicates.length) {
        const keys = passage.duplicates.map((other) => other.key).join(", ");
        item.append(element("p", "small duplicates", `Also in: ${keys}`));
      }
      this.sources.append(item);
    }
    if (!found.passages.length) this.note("refusal", "No document that you may read matches.");
    this.end(`Release ${found.release}`);
  }

  // The answer ends before it is complete.
  broken(text, bad) {
    this.note(bad ? "failed" : "stopped", text);
    this.end("Not complete");
  }

  end(meta) {
    this.box.removeAttribute("aria-busy");
    this.box.append(element("p", "small meta", meta));
  }
}
