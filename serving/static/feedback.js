// What readers say of answers.

import { call } from "./api.js";
import { button, element } from "./dom.js";

const THANKS = {
  thumbs_up: "Thank you: noted as helpful.",
  thumbs_down: "Thank you: noted as not helpful.",
  correction: "Thank you: your correction will be reviewed.",
  wrong_citation: "Thank you: noted as a wrong citation.",
};
let made = 0;

// Send feedback; gives what to tell the reader, and whether it failed.
async function give(body) {
  try {
    await call("/v1/feedback", body);
    return [THANKS[body.kind], false];
  } catch (error) {
    return [`Not stored: ${error.message}`, true];
  }
}

// ``place``: answer, sentence and citation, the latter two counted from 0.
export function reportCitation(place) {
  return give({ ...place, kind: "wrong_citation" });
}

// The row below an answer: votes and a correction.
export function feedbackRow(answer) {
  const row = element("div", "feedback");
  const status = element("p", "feedback-status small");
  status.setAttribute("role", "status");
  const tell = ([text, bad]) => {
    status.textContent = text;
    status.classList.toggle("bad", bad);
    return !bad;
  };
  const votes = [
    ["thumbs_up", "Helpful"],
    ["thumbs_down", "Not helpful"],
  ].map(([kind, label]) => {
    const vote = button(`quiet vote ${kind}`, label, async () => {
      for (const other of votes) other.disabled = true;
      const stored = tell(await give({ answer, kind }));
      for (const other of votes) {
        other.disabled = false;
        if (stored) other.setAttribute("aria-pressed", String(other === vote));
      }
      vote.focus();
    });
    vote.setAttribute("aria-pressed", "false");
    return vote;
  });
  const form = correctionForm(async (text) => {
    const stored = tell(await give({ answer, kind: "correction", text }));
    if (stored) close();
    return stored;
  }, () => close());
  const opener = button("quiet correct", "Correct it", () => {
    form.hidden = !form.hidden;
    opener.setAttribute("aria-expanded", String(!form.hidden));
    if (!form.hidden) form.querySelector("textarea").focus();
  });
  opener.setAttribute("aria-expanded", "false");
  opener.setAttribute("aria-controls", form.id);
  const close = () => {
    form.hidden = true;
    opener.setAttribute("aria-expanded", "false");
    opener.focus();
  };
  const buttons = element("div", "buttons");
  buttons.append(...votes, opener);
  row.append(buttons, form, status);
  return row;
}

function correctionForm(onSend, onCancel) {
  const form = element("form", "correction");
  form.id = `correction-${++made}`;
  form.hidden = true;
  const label = element("label", "", "What would be right?");
  const text = element("textarea");
  text.id = `${form.id}-text`;
  text.rows = 3;
  text.maxLength = 2000;
  text.required = true;
  label.htmlFor = text.id;
  const send = element("button", "", "Send correction");
  const buttons = element("div", "buttons");
  buttons.append(send, button("quiet", "Cancel", onCancel));
  form.append(label, text, buttons);
  form.addEventListener("submit", async (event) => {
    event.preventDefault();
    send.disabled = true;
    if (await onSend(text.value)) text.value = "";
    send.disabled = false;
  });
  return form;
}
