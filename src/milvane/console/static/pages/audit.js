// Audit: who changed what.

import { get, query } from "../api.js";
import { h } from "../dom.js";
import { attempt, badge, button, pageHead, table, when } from "../parts.js";
import { t } from "../words.js";

const PAGE = 50;

export async function show(view) {
  const entries = [];
  const place = h("section.card", { "aria-label": t("audit.title") });
  let isWhole = false;
  const more = async () => {
    const found = (await get(`/audit${query({ limit: PAGE, before: entries.at(-1)?.number })}`)).entries;
    entries.push(...found);
    isWhole = found.length < PAGE;
    draw();
  };
  const draw = () => place.replaceChildren(
    table(t("audit.title"), columns(), entries, t("audit.none")),
    isWhole ? "" : h("div.actions", {}, button(t("audit.more"), () => attempt(more))),
  );
  await more();
  view.append(pageHead(t("audit.title"), t("audit.intro")), place);
}

function columns() {
  return [
    { title: t("audit.at"), cell: (each) => when(each.at) },
    { title: t("audit.actor"), cell: (each) => each.actor },
    { title: t("audit.action"), cell: (each) => badge(each.action, "accent") },
    { title: t("audit.subject"), cell: (each) => h("span.code", {}, each.subject) },
    { title: t("audit.detail"), cell: (each) => h("div.badges", {}, Object.entries(each.detail).map(([name, value]) =>
      badge(`${name}: ${typeof value === "string" ? value : JSON.stringify(value)}`))) },
  ];
}
