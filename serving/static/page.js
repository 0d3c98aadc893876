// What the pages share: the choice of corpora, the token, the groups, the links to each other.

import { TOKEN_NEEDED, call, groupsText, setGroups, setToken } from "./api.js";
import { byId, element, say } from "./dom.js";

const descriptions = new Map();
let allowed = []; // the scopes of whoever uses the page

// Say whether the service lets the reader do something, by the name of a scope.
export const may = (scope) => allowed.includes(scope);

// Fill the choice of corpora, the one that was chosen or that the address names first; say whether there are any.
export async function loadCorpora() {
  try {
    const { corpora, scopes } = await call("/v1/corpora");
    allowed = scopes;
    const chosen = byId("corpus").value || new URLSearchParams(location.search).get("corpus");
    byId("corpus").replaceChildren(
      ...corpora.map((corpus) => {
        const option = element("option", "", corpus.live === null ? `${corpus.name} (nothing live yet)` : corpus.name);
        option.value = corpus.name;
        descriptions.set(corpus.name, corpus.description);
        return option;
      }),
    );
    if (corpora.some((corpus) => corpus.name === chosen)) byId("corpus").value = chosen;
    say(corpora.length ? "" : "There are no corpora yet.");
    corpusChanged();
    return corpora.length > 0;
  } catch (error) {
    allowed = [];
    say(error.message, true);
    return false;
  }
}

// The links to the other pages keep the corpus.
function corpusChanged() {
  const corpus = byId("corpus").value;
  for (const link of document.querySelectorAll("nav a")) link.search = corpus ? new URLSearchParams({ corpus }) : "";
  const about = byId("about");
  if (about) about.textContent = descriptions.get(corpus) ?? "";
}

// Call ``start`` now, and again when the token that the service asked for, or other groups, were given.
export function startPage(start) {
  document.addEventListener(TOKEN_NEEDED, () => {
    byId("token-form").hidden = false;
    byId("token").focus();
  });
  byId("token-form").addEventListener("submit", (event) => {
    event.preventDefault();
    setToken(byId("token").value.trim());
    byId("token").value = "";
    byId("token-form").hidden = true;
    start();
  });
  const named = byId("groups"); // releases are the same for every reader
  if (named) {
    named.value = groupsText();
    byId("readers").open = named.value !== "";
    named.addEventListener("change", () => {
      setGroups(named.value.trim());
      start();
    });
  }
  byId("corpus").addEventListener("change", corpusChanged);
  start();
}
