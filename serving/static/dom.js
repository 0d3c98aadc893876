// Documents are hostile, and so are their names: everything enters a page through textContent, never as HTML.

export const byId = (id) => document.getElementById(id);

export function element(tag, className, text) {
  const made = document.createElement(tag);
  if (className) made.className = className;
  if (text !== undefined) made.textContent = text;
  return made;
}

export function button(className, text, onClick) {
  const made = element("button", className, text);
  made.type = "button";
  made.addEventListener("click", onClick);
  return made;
}

export function say(text, bad = false) {
  byId("status").textContent = text;
  byId("status").classList.toggle("bad", bad);
}

export function moment(text) {
  const time = element("time", "", new Date(text).toLocaleString([], { dateStyle: "medium", timeStyle: "short" }));
  time.dateTime = text;
  return time;
}
