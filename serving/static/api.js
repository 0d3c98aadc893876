// Requests to the service, and who sends them. The token and the groups live as long as the browser's tab.

const TOKEN_KEY = "headwater-token";
const GROUPS_KEY = "headwater-groups";

export const TOKEN_NEEDED = "headwater-token-needed";

export function setToken(token) {
  sessionStorage.setItem(TOKEN_KEY, token);
}

export function setGroups(text) {
  sessionStorage.setItem(GROUPS_KEY, text);
}

export function groupsText() {
  return sessionStorage.getItem(GROUPS_KEY) ?? "";
}

// The groups to read as; null: the caller's own.
export function groups() {
  const named = groupsText().split(",").map((name) => name.trim()).filter(Boolean);
  return named.length ? named : null;
}

// A query with the groups to read as.
export function query(fields, as = groups()) {
  const made = new URLSearchParams(Object.entries(fields).filter(([, value]) => value !== null && value !== ""));
  for (const name of as ?? []) made.append("groups", name);
  return made;
}

async function send(path, accept, body, signal) {
  const headers = { Accept: accept };
  const token = sessionStorage.getItem(TOKEN_KEY);
  if (token) headers.Authorization = `Bearer ${token}`;
  const options = { headers, signal };
  if (body) {
    options.method = "POST";
    options.body = JSON.stringify(body);
    headers["Content-Type"] = "application/json";
  }
  const response = await fetch(path, options).catch((error) => {
    throw error.name === "AbortError" ? error : new Error("The service can't be reached.");
  });
  if (response.ok) return response;
  const problem = await response.json().catch(() => ({}));
  if (response.status === 401) {
    sessionStorage.removeItem(TOKEN_KEY);
    document.dispatchEvent(new Event(TOKEN_NEEDED));
  }
  const fields = (problem.errors ?? []).map((found) => ` ${found.field}: ${found.message}.`).join("");
  throw new Error((problem.detail || `The service answered ${response.status}.`) + fields);
}

export async function call(path, body, signal) {
  const response = await send(path, "application/json", body, signal);
  return response.json().catch((error) => {
    throw error.name === "AbortError" ? error : new Error("The service's answer can't be read.");
  });
}

// The server-sent events of a response as [name, data], as they come. Throws what an `error` event says.
export async function* events(path, body, signal) {
  const response = await send(path, "text/event-stream", body, signal);
  let rest = "";
  const decoder = new TextDecoder();
  const reader = response.body.getReader();
  try {
    for (;;) {
      const { value, done } = await reader.read().catch((error) => {
        throw error.name === "AbortError" ? error : new Error("The connection broke off.");
      });
      if (done) return;
      const blocks = (rest + decoder.decode(value, { stream: true })).split("\n\n");
      rest = blocks.pop();
      for (const found of blocks.map(parsed)) {
        if (found === null) continue;
        if (found[0] === "error") throw new Error(found[1].detail);
        yield found;
      }
    }
  } finally {
    reader.cancel().catch(() => {});
  }
}

// One event; null for a comment, which only keeps the connection open.
function parsed(block) {
  let name = "message";
  let data = "";
  for (const line of block.split("\n")) {
    if (line.startsWith("event: ")) name = line.slice(7);
    if (line.startsWith("data: ")) data += line.slice(6);
  }
  return data ? [name, JSON.parse(data)] : null;
}
