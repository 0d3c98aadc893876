"use strict";
// Not a module: it runs before the page is drawn, so that a dark page doesn't flash white.

const THEME_KEY = "headwater-theme";

function storedTheme() {
  try {
    return localStorage.getItem(THEME_KEY);
  } catch {
    return null; // storage is switched off in this browser
  }
}

function systemTheme() {
  return matchMedia("(prefers-color-scheme: dark)").matches ? "dark" : "light";
}

function setTheme(theme) {
  if (theme === "dark" || theme === "light") document.documentElement.dataset.theme = theme;
  else delete document.documentElement.dataset.theme;
}

setTheme(storedTheme());
document.addEventListener("DOMContentLoaded", () => {
  const button = document.getElementById("theme");
  const current = () => document.documentElement.dataset.theme ?? systemTheme();
  const tell = () => button.setAttribute("aria-pressed", String(current() === "dark"));
  tell();
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", tell);
  button.addEventListener("click", () => {
    const wanted = current() === "dark" ? "light" : "dark";
    const asSystem = wanted === systemTheme(); // then the page follows the system again
    setTheme(asSystem ? null : wanted);
    try {
      if (asSystem) localStorage.removeItem(THEME_KEY);
      else localStorage.setItem(THEME_KEY, wanted);
    } catch {
      // It holds until the page is left.
    }
    tell();
  });
});
