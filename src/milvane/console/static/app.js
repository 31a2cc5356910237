// Starts the console: who is signed in, which page is shown, in which language and colours.

import { findSession, signOut } from "./api.js";
import { fill, h, icon } from "./dom.js";
import { attempt, explain } from "./parts.js";
import { LANGUAGES, choose, language, t } from "./words.js";

const PAGES = [
  "overview", "services", "usage", "instances", "playground", "jobs", "keys", "alerts", "models",
  "audit", "settings",
];

const places = Object.fromEntries(
  ["skip", "bar", "nav", "main", "notices"].map((id) => [id, document.getElementById(id)]),
);
let session = null;
let leave = null;
let shown = 0;

/** Read where the address points: a page, and what it is to show. */
function route() {
  const [name, rest] = location.hash.replace(/^#\/?/, "").split("?");
  return [PAGES.includes(name) ? name : "overview", new URLSearchParams(rest ?? "")];
}

async function showPage({ focus = true } = {}) {
  const mine = (shown += 1);
  leave?.();
  leave = null;
  drawFrame();
  if (session === null) {
    const { showSignIn } = await import("./pages/signin.js");
    fill(places.main, showSignIn(async (begun) => {
      session = begun;
      await showPage();
    }));
    places.main.querySelector("input")?.focus();
    return;
  }
  const [name, parameters] = route();
  document.title = `${t(`nav.${name}`)} · Milvane`;
  const view = h("div.page", { "aria-busy": "true", "data-page": name });
  try {
    const page = await import(`./pages/${name}.js`);
    if (mine !== shown) return;
    const ended = new AbortController();
    leave = () => ended.abort();
    const context = { session, parameters, signal: ended.signal, again: () => showPage({ focus: false }), drop };
    await page.show(view, context);
    if (mine !== shown) return;
    fill(places.main, view);
  } catch (failure) {
    if (mine !== shown) return;
    fill(places.main, h("p.problem", { role: "alert" }, explain(failure)));
  } finally {
    view.removeAttribute("aria-busy");
  }
  if (focus) places.main.focus({ preventScroll: true });
}

/** Close what was asked about a page that is left. */
function closeDialogs() {
  for (const open of document.querySelectorAll("dialog[open]")) open.close();
}

function drop() {
  closeDialogs();
  session = null;
  return showPage();
}

function drawFrame() {
  document.documentElement.lang = language() === "zh" ? "zh-CN" : "en";
  document.body.classList.toggle("signed-out", session === null);
  places.skip.textContent = t("skip");
  drawBar();
  drawNav();
}

function drawBar() {
  const [current] = route();
  const name = session && h("span.who", {}, session.name);
  const menu = session && h(
    "button.plain.menu",
    { type: "button", "aria-label": t("nav.label"), "aria-controls": "nav", onclick: () => places.nav.classList.toggle("open") },
    icon("menu"),
  );
  fill(
    places.bar,
    menu,
    h("a.brand", { href: "#/overview", "aria-current": current === "overview" ? "page" : null },
      h("img", { src: "/console/icon.svg", alt: "", width: "26", height: "26" }), "Milvane"),
    h("div.bar-end", {}, languageSwitch(), themeSwitch(), name, session && h(
      "button.button.small", { type: "button", onclick: () => attempt(async () => {
        await signOut();
        await drop();
      }) }, t("signout"),
    )),
  );
}

function languageSwitch() {
  const next = language() === "en" ? "zh" : "en";
  return h(
    "button.plain", { type: "button", lang: next, onclick: () => {
      choose(next);
      showPage({ focus: false });
    } },
    LANGUAGES[next][0],
  );
}

function isDark() {
  const chosen = document.documentElement.dataset.theme;
  return chosen ? chosen === "dark" : matchMedia("(prefers-color-scheme: dark)").matches;
}

function themeSwitch() {
  const dark = isDark();
  return h(
    "button.plain",
    { type: "button", "aria-label": dark ? t("theme.light") : t("theme.dark"), onclick: () => {
      const next = dark ? "light" : "dark";
      document.documentElement.dataset.theme = next;
      try {
        localStorage.setItem("milvane-theme", next);
      } catch {
        // Then it lasts until the page is left.
      }
      showPage({ focus: false });
    } },
    icon(dark ? "sun" : "moon"),
  );
}

function drawNav() {
  places.nav.classList.remove("open");
  places.nav.setAttribute("aria-label", t("nav.label"));
  if (session === null) return void fill(places.nav);
  const [current] = route();
  fill(
    places.nav,
    h("ul", {}, PAGES.map((name) => h(
      "li", {},
      h("a", { href: `#/${name}`, "aria-current": name === current ? "page" : null }, icon(name), t(`nav.${name}`)),
    ))),
  );
}

places.skip.addEventListener("click", (event) => {
  event.preventDefault();
  places.main.focus();
});
window.addEventListener("hashchange", () => {
  closeDialogs();
  showPage();
});
window.addEventListener("milvane-signed-out", () => {
  if (session !== null) drop();
});

try {
  session = await findSession();
  await showPage({ focus: false });
} catch (failure) {
  fill(places.main, h("p.problem", { role: "alert" }, explain(failure)));
}
