// Jobs of all tenants: how far they are, and cancelling.

import { at, get, post, query } from "../api.js";
import { fill, h } from "../dom.js";
import { badge, button, confirmDialog, explain, field, notify, pageHead, select, table, when } from "../parts.js";
import { number, percent, t } from "../words.js";

const KINDS = { completed: "good", failed: "bad", expired: "warn", running: "accent", finalizing: "accent", validating: "accent" };
const PAGE = 50;
const EVERY_MS = 4000;

export async function show(view, context) {
  let state = "";
  let offset = 0;
  let busy = false;
  const place = h("div", {});
  const load = async () => {
    if (busy) return;
    busy = true;
    try {
      const page = await get(`/jobs${query({ limit: PAGE, offset, state })}`);
      fill(place,
        table(t("jobs.title"), columns(load), page.jobs, t("jobs.none")),
        page.total > PAGE ? h("div.actions", {},
          button(t("newer"), () => turn(-PAGE), { disabled: offset === 0 }),
          h("span.sub", {}, t("jobs.of", { from: offset + 1, to: offset + page.jobs.length, total: page.total })),
          button(t("older"), () => turn(PAGE), { disabled: offset + PAGE >= page.total })) : null);
    } finally {
      busy = false;
    }
  };
  const turn = (by) => {
    offset = Math.max(0, offset + by);
    again();
  };
  const again = () => load().catch((failure) => notify(explain(failure), "bad"));
  await load();
  const states = ["", "queued", "running", "completed", "failed", "cancelled", "expired"];
  view.append(
    pageHead(t("jobs.title"), t("jobs.intro")),
    h("section.card", { "aria-label": t("jobs.title") },
      h("div.filters", {}, field(t("jobs.state"), select(states.map((each) => [each, each ? t(`job.${each}`) : t("all")]), "", (event) => {
        state = event.target.value;
        offset = 0;
        again();
      }))), place),
  );
  const timer = setInterval(() => {
    if (!document.hidden && !place.contains(document.activeElement)) load().catch(() => clearInterval(timer));
  }, EVERY_MS);
  context.signal.addEventListener("abort", () => clearInterval(timer));
}

function columns(load) {
  return [
    { title: t("jobs.id"), cell: (each) => [h("div.code.long", { title: each.id }, each.id), h("div.sub", {}, t(`job.${each.kind}`))] },
    { title: t("jobs.tenant"), cell: (each) => each.tenant },
    { title: t("usage.model"), cell: (each) => each.model || "–" },
    { title: t("jobs.state"), cell: (each) => [badge(t(`job.${each.state}`), KINDS[each.state] ?? "quiet"), each.problem ? h("div.sub", {}, each.problem) : null] },
    { title: t("jobs.progress"), cell: progress },
    { title: t("usage.tokens"), number: true, cell: (each) => number(each.tokens) },
    { title: t("jobs.created"), cell: (each) => when(each.created_at) },
    { title: t("jobs.ended"), cell: (each) => when(each.ended_at) },
    {
      title: h("span.unseen", {}, t("actions")),
      cell: (each) => each.is_final || each.state === "cancelling" ? "" : button(t("jobs.cancel"), () => confirmDialog(
        t("jobs.cancel_title"), t("jobs.cancel_text"), t("jobs.cancel"), async () => {
          await post(at("jobs", each.id, "cancel"), {});
          await load();
        }), { kind: "small", label: `${t("jobs.cancel")}: ${each.id}` }),
    },
  ];
}

function progress(job) {
  const done = job.completed + job.failed;
  const share = job.total ? done / job.total : 0;
  const bar = h("div", {});
  bar.style.width = `${share * 100}%`;
  return [
    h("div", {}, job.total ? `${number(done)} / ${number(job.total)} (${percent(share)})` : "–"),
    h("div.meter", { "aria-hidden": "true" }, bar),
    job.failed ? h("div.sub", {}, t("jobs.failed_lines", { count: number(job.failed) })) : null,
  ];
}
