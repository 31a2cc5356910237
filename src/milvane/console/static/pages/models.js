// Models: which weights serve them, on what, and how busy they are.

import { get } from "../api.js";
import { fill, h } from "../dom.js";
import { badge, card, figure, pageHead, table } from "../parts.js";
import { duration, milliseconds, number, percent, t } from "../words.js";

const EVERY_MS = 5000;

export async function show(view, context) {
  const place = h("div.stack", {});
  const load = async () => fill(place, build(await get("/models")));
  await load();
  view.append(pageHead(t("models.title"), t("models.intro")), place);
  const timer = setInterval(() => {
    if (!document.hidden && !place.contains(document.activeElement)) load().catch(() => clearInterval(timer));
  }, EVERY_MS);
  context.signal.addEventListener("abort", () => clearInterval(timer));
}

function build({ engines, models, cache }) {
  const sources = cache ? cache.memory + cache.disk + cache.joined + cache.computed : 0;
  return [
    engines.length ? engines.map(engineCard) : card(t("models.engines"), h("p.empty", {}, t("models.none"))),
    cache ? h("section.card", { "aria-label": t("models.cache") }, h("h2", {}, t("models.cache")), h("div.figures", {},
      figure(t("models.hit_rate"), percent(sources ? 1 - cache.computed / sources : null)),
      figure(t("models.from_memory"), number(cache.memory)),
      figure(t("models.from_disk"), number(cache.disk)),
      figure(t("models.computed"), number(cache.computed)),
      figure(t("models.memory"), t("models.megabytes", { count: number(cache.memory_bytes / 1e6, 1) })))) : null,
    card(t("models.names"), table(t("models.names"), [
      { title: t("usage.model"), cell: (each) => h("span.main-name", {}, each.model) },
      { title: t("models.weights"), cell: (each) => each.weights ? badge(each.weights, "accent") : h("span.sub", {}, t("services.no_weights")) },
      { title: t("models.requests"), number: true, cell: (each) => number(each.requests) },
      { title: t("usage.average"), number: true, cell: (each) => milliseconds(each.average_s) },
      { title: t("models.cached_tokens"), number: true, cell: (each) => number(each.cached_tokens) },
      { title: t("models.failures"), number: true, cell: (each) => number(each.failures) },
    ], models)),
  ];
}

function engineCard(engine) {
  const busy = engine.up_s ? engine.busy_s / engine.up_s : 0;
  return h("section.card", { "aria-label": engine.weights },
    h("div.card-head", {}, h("h2", {}, engine.weights), h("div.badges", {}, badge(t("models.loaded"), "good"), badge(engine.runtime, "accent"), badge(engine.precision))),
    h("div.figures", {},
      figure(t("models.busy"), percent(Math.min(1, busy)), duration(engine.busy_s)),
      figure(t("models.passes"), number(engine.passes), t("models.failed_passes", { count: number(engine.failed_passes) })),
      figure(t("models.tokens"), number(engine.tokens), t("models.padding", { share: percent(engine.padded_tokens ? 1 - engine.tokens / engine.padded_tokens : null) })),
      figure(t("models.waiting"), number(engine.waiting_interactive + engine.waiting_bulk), t("models.lanes", { interactive: number(engine.waiting_interactive), bulk: number(engine.waiting_bulk) })),
      figure(t("models.refused"), number(engine.refused_requests))),
    h("dl.facts", {}, facts(engine)),
  );
}

function facts(engine) {
  const rows = [
    [t("models.version"), engine.version], [t("models.threads"), number(engine.threads)], [t("models.width"), number(engine.width)],
    [t("models.window"), number(engine.window_tokens)], [t("models.fingerprint"), h("span.code", {}, engine.fingerprint)],
  ];
  return rows.flatMap(([name, value]) => [h("dt", {}, name), h("dd", {}, value)]);
}
