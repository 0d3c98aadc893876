"use strict";
// What both pages share. Documents are hostile, and so are their names: everything enters a page through textContent.

const TOKEN_KEY = "headwater-token";
const byId = (id) => document.getElementById(id);

function element(tag, className, text) {
  const made = document.createElement(tag);
  if (className) made.className = className;
  if (text !== undefined) made.textContent = text;
  return made;
}

function say(text, bad = false) {
  byId("status").textContent = text;
  byId("status").classList.toggle("bad", bad);
}

async function call(path, body) {
  const headers = { Accept: "application/json" };
  const token = sessionStorage.getItem(TOKEN_KEY);
  if (token) headers.Authorization = `Bearer ${token}`;
  const options = { headers };
  if (body) {
    options.method = "POST";
    options.body = JSON.stringify(body);
    headers["Content-Type"] = "application/json";
  }
  const response = await fetch(path, options).catch(() => {
    throw new Error("The service can't be reached.");
  });
  const answer = await response.json().catch(() => ({}));
  if (response.status === 401) {
    sessionStorage.removeItem(TOKEN_KEY);
    byId("token-form").hidden = false;
    byId("token").focus();
  }
  if (!response.ok) throw new Error(answer.detail || `The service answered ${response.status}.`);
  return answer;
}

// Fill the choice of corpora, the one that the address names first; say whether there are any.
async function loadCorpora() {
  try {
    const { corpora } = await call("/v1/corpora");
    byId("corpus").replaceChildren(
      ...corpora.map((corpus) => {
        const option = element("option", "", corpus.live === null ? `${corpus.name} (nothing live yet)` : corpus.name);
        option.value = corpus.name;
        option.title = corpus.description;
        return option;
      }),
    );
    const wanted = new URLSearchParams(location.search).get("corpus");
    if (corpora.some((corpus) => corpus.name === wanted)) byId("corpus").value = wanted;
    say(corpora.length ? "" : "There are no corpora yet.");
    linkOther();
    return corpora.length > 0;
  } catch (error) {
    say(error.message, true);
    return false;
  }
}

// The link to the other page keeps the corpus.
function linkOther() {
  const link = byId("other-page");
  link.search = byId("corpus").value ? new URLSearchParams({ corpus: byId("corpus").value }) : "";
}

// Call ``start`` now, and again when the token that the service asked for was given.
function startPage(start) {
  byId("token-form").addEventListener("submit", (event) => {
    event.preventDefault();
    sessionStorage.setItem(TOKEN_KEY, byId("token").value.trim());
    byId("token").value = "";
    byId("token-form").hidden = true;
    start();
  });
  byId("corpus").addEventListener("change", linkOther);
  start();
}
