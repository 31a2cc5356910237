// Models: which weights serve them, on what, how busy they are; loading and unloading them.

import { at, get, patch } from "../api.js";
import { fill, h } from "../dom.js";
import { attempt, badge, button, card, confirmDialog, figure, pageHead, table } from "../parts.js";
import { duration, milliseconds, number, percent, t } from "../words.js";

const EVERY_MS = 5000;

export async function show(view, context) {
  const place = h("div.stack", {});
  const load = async () => fill(place, build(await get("/models"), load));
  await load();
  view.append(pageHead(t("models.title"), t("models.intro")), place);
  const timer = setInterval(() => {
    if (!document.hidden && !place.contains(document.activeElement)) load().catch(() => clearInterval(timer));
  }, EVERY_MS);
  context.signal.addEventListener("abort", () => clearInterval(timer));
}

const STATES = { loaded: "good", loading: "accent", unloading: "warn", unloaded: "quiet", failed: "bad" };

/** Say which weights only stand in for the models that they serve, and what they are in truth. */
function notices(models) {
  const told = new Map(models.filter((each) => each.stand_in).map((each) => [each.weights, each.stand_in]));
  if (!told.size) return null;
  return h("div.note", { role: "note" }, [...told].map(([weights, what]) => h("p", {}, t("models.stands_in", { weights, what }))), h("p", {}, t("models.deploy_others")));
}

function weightsTable(weights, again) {
  const change = async (each, isLoaded) => {
    await patch(at("weights", each.weights), { is_loaded: isLoaded });
    await again();
  };
  return card(t("models.engines"), table(t("models.engines"), [
    { title: t("models.weights"), cell: (each) => h("span.main-name", {}, each.weights) },
    { title: t("models.state"), cell: (each) => [badge(t(`weights.${each.state}`), STATES[each.state]), each.trouble ? h("div.sub", {}, each.trouble) : null] },
    { title: t("models.serves"), cell: (each) => h("div.badges", {}, each.models.map((name) => badge(name))) },
    {
      title: h("span.unseen", {}, t("actions")),
      cell: (each) => h("div.actions", {}, each.is_wanted
        ? button(t("models.unload"), () => confirmDialog(t("models.unload_title", { name: each.weights }), t("models.unload_text"), t("models.unload"), () => change(each, false)), { kind: "small", label: `${t("models.unload")}: ${each.weights}` })
        : button(t("models.load"), () => attempt(() => change(each, true)), { kind: "small", label: `${t("models.load")}: ${each.weights}` })),
    },
  ], weights, t("models.none")));
}

function build({ engines, models, cache, weights }, again) {
  const sources = cache ? cache.memory + cache.disk + cache.joined + cache.computed : 0;
  return [
    weightsTable(weights, again),
    engines.map(engineCard),
    cache ? h("section.card", { "aria-label": t("models.cache") }, h("h2", {}, t("models.cache")), h("div.figures", {},
      figure(t("models.hit_rate"), percent(sources ? 1 - cache.computed / sources : null)),
      figure(t("models.from_memory"), number(cache.memory)),
      figure(t("models.from_disk"), number(cache.disk)),
      figure(t("models.computed"), number(cache.computed)),
      figure(t("models.memory"), t("models.megabytes", { count: number(cache.memory_bytes / 1e6, 1) })))) : null,
    card(t("models.names"), notices(models), table(t("models.names"), [
      { title: t("usage.model"), cell: (each) => h("span.main-name", {}, each.model) },
      { title: t("models.weights"), cell: (each) => each.weights ? [badge(each.weights, "accent"), each.stand_in ? [" ", badge(t("models.stand_in"), "warn")] : null] : h("span.sub", {}, t("services.no_weights")) },
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
