// Parts that several pages are made of.

import { append, fill, freshId, h, icon } from "./dom.js";
import { NONE, briefly, moment, t } from "./words.js";

/** Build the head of a page, with its one heading of the first rank. */
export function pageHead(title, intro, ...actions) {
  return h(
    "div.page-head",
    {},
    h("div", {}, h("h1", {}, title), intro && h("p.intro", {}, intro)),
    actions.length ? h("div.actions", {}, ...actions) : null,
  );
}

export function card(title, ...children) {
  const id = freshId("card");
  return h(
    "section.card",
    { "aria-labelledby": title ? id : null },
    title && h("h2", { id }, title),
    ...children,
  );
}

export function button(text, onclick, { kind = "", disabled = false, label = null } = {}) {
  return h(
    `button.button${kind ? "." + kind : ""}`,
    { type: "button", onclick, disabled, "aria-label": label },
    text,
  );
}

export function badge(text, kind = "quiet") {
  return h(`span.badge.${kind}`, {}, text);
}

/** Build a labelled field; `control` is an input, a select or a textarea. */
export function field(label, control, hint) {
  const id = control.id || freshId("field");
  control.id = id;
  const told = hint ? h("small.hint", { id: `${id}-hint` }, hint) : null;
  if (told) control.setAttribute("aria-describedby", told.id);
  return h("div.field", {}, h("label", { for: id }, label), control, told);
}

export function select(options, chosen, onchange) {
  return h(
    "select",
    { onchange },
    options.map(([value, text]) => {
      const option = h("option", { value }, text);
      option.selected = value === chosen;
      return option;
    }),
  );
}

export function check(label, checked, onchange, value = "") {
  return h("label.check", {}, h("input", { type: "checkbox", checked, onchange, value }), label);
}

/**
 * Build a table.
 *
 * A column is { title, cell(row), number?: boolean }; a caption says what it is for those who do
 * not see where it stands.
 */
export function table(caption, columns, rows, empty = t("table.empty")) {
  if (!rows.length) return h("p.empty", {}, empty);
  return h(
    "div.scroll",
    { tabindex: "0", role: "region", "aria-label": caption },
    h(
      "table",
      {},
      h("caption.unseen", {}, caption),
      h(
        "thead",
        {},
        h("tr", {}, columns.map((each) => h(each.number ? "th.number" : "th", { scope: "col" }, each.title))),
      ),
      h(
        "tbody",
        {},
        rows.map((row) =>
          h("tr", {}, columns.map((each) => h(each.number ? "td.number" : "td", {}, each.cell(row)))),
        ),
      ),
    ),
  );
}

/** Write a moment so that it stays on one line, and programs can read it too. */
export function when(text) {
  return text ? h("time.when", { datetime: text, title: moment(text) }, briefly(text)) : NONE;
}

/** Build a figure with what it means below. */
export function figure(label, value, note, kind = "") {
  return h(
    "div.figure",
    {},
    h("div.figure-label", {}, label),
    h(`div.figure-value${kind ? "." + kind : ""}`, {}, value),
    note && h("div.figure-note", {}, note),
  );
}

/** Say something to everybody, also to those who do not look: it goes away by itself. */
export function notify(text, kind = "good") {
  const notice = h(
    `div.notice.${kind}`,
    {},
    h("span", {}, text),
    h("button.plain", { type: "button", "aria-label": t("close"), onclick: () => notice.remove() }, icon("close")),
  );
  document.getElementById("notices").append(notice);
  setTimeout(() => notice.remove(), kind === "bad" ? 12000 : 5000);
}

export function explain(failure) {
  if (failure.kind === "offline") return t("failure.offline");
  return failure.message || String(failure);
}

/** Do something that may fail, and say so if it does. */
export async function attempt(work, done) {
  try {
    const result = await work();
    if (done) notify(done);
    return { ok: true, result };
  } catch (failure) {
    notify(explain(failure), "bad");
    return { ok: false };
  }
}

/**
 * Ask in a dialog.
 *
 * `build(close)` gives the content; `submit` is called with the form and may throw: the dialog
 * then stays open and says why.
 */
export function dialog(title, content, { confirm, submit, danger = false, cancel = t("cancel") } = {}) {
  const problem = h("p.problem", { role: "alert" });
  const id = freshId("dialog");
  const shown = h("dialog.dialog", { "aria-labelledby": id });
  const close = () => shown.close();
  const go = submit && h(`button.button.${danger ? "danger" : "primary"}`, { type: "submit" }, confirm);
  const form = h(
    "form",
    {
      onsubmit: async (event) => {
        event.preventDefault();
        if (!submit) return close();
        go.disabled = true;
        problem.textContent = "";
        try {
          await submit(form);
          close();
        } catch (failure) {
          problem.textContent = explain(failure);
        } finally {
          go.disabled = false;
        }
      },
    },
    h("div.dialog-head", {}, h("h2", { id }, title),
      h("button.plain", { type: "button", "aria-label": t("close"), onclick: close }, icon("close"))),
    h("div.dialog-body", {}, content),
    problem,
    h("div.dialog-foot", {}, button(submit ? cancel : t("close"), close), go || null),
  );
  append(shown, [form]);
  shown.addEventListener("close", () => shown.remove());
  document.body.append(shown);
  shown.showModal();
  return shown;
}

export function confirmDialog(title, text, confirm, submit) {
  return dialog(title, h("p", {}, text), { confirm, submit, danger: true });
}

/** Build a drop-down of check boxes: several of the options, or all where none is chosen. */
export function choices(label, options, chosen, onchange) {
  const picked = new Set(chosen);
  const told = h("span", {});
  const tell = () => {
    told.textContent = picked.size === 0 ? t("all") : picked.size === 1 ? [...picked][0] : t("chosen", { count: picked.size });
  };
  tell();
  const list = options.map(([value, text]) =>
    check(text, picked.has(value), (event) => {
      if (event.target.checked) picked.add(value);
      else picked.delete(value);
      tell();
      onchange([...picked]);
    }, value),
  );
  const id = freshId("choice");
  const shown = h(
    "details.choices",
    {},
    h("summary", { "aria-labelledby": `${id} ${id}-told` }, told, icon("down")),
    h("div.choices-list", { role: "group", "aria-labelledby": id }, list.length ? list : h("p.empty", {}, t("table.empty"))),
  );
  told.id = `${id}-told`;
  return h("div.field", {}, h("span.label", { id }, label), shown);
}

// A drop-down closes where drop-downs do: by a click elsewhere, and by Escape.
document.addEventListener("click", (event) => {
  for (const open of document.querySelectorAll("details.choices[open]")) {
    if (!open.contains(event.target)) open.open = false;
  }
});
document.addEventListener("keydown", (event) => {
  if (event.key !== "Escape") return;
  for (const open of document.querySelectorAll("details.choices[open]")) {
    open.open = false;
    open.querySelector("summary").focus();
  }
});

export function copyButton(text) {
  return h(
    "button.button.small",
    {
      type: "button",
      onclick: async () => {
        await navigator.clipboard.writeText(text);
        notify(t("copied"));
      },
    },
    icon("copy"),
    t("copy"),
  );
}

/** Show that something is on its way, then what came, or why it did not. */
export async function loadInto(element, work) {
  element.setAttribute("aria-busy", "true");
  try {
    fill(element, await work());
  } catch (failure) {
    fill(element, h("p.problem", { role: "alert" }, explain(failure)));
  } finally {
    element.removeAttribute("aria-busy");
  }
}
