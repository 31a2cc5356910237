// Overview: how things stand, what was used, what to do first.

import { get, getIfThere } from "../api.js";
import { h } from "../dom.js";
import { badge, card, figure, pageHead, table } from "../parts.js";
import { compact, milliseconds, money, number, percent, t } from "../words.js";

export async function show(view, context) {
  const [server, used, byModel, { services }, { instances }, { keys }, { rules }] = await Promise.all([
    getIfThere("/server"), get("/usage?since=24h&step=1h"), get("/usage?since=24h&step=1h&group_by=model"),
    get("/services"), get("/instances"), get("/keys"),
    get("/alerts/rules"),
  ]);
  const total = used.curves[0]?.total ?? {};
  const enabled = services.filter((each) => each.is_enabled);
  const saved = costs(byModel.curves, services);
  view.append(
    pageHead(t("overview.title"), t("overview.intro")),
    firing(rules),
    h("div.figures", {},
      healthFigure(server),
      figure(t("overview.requests"), compact(total.requests ?? 0), t("overview.day")),
      figure(t("overview.tokens"), compact(total.tokens ?? 0), t("usage.cached", { count: compact(total.cached_tokens ?? 0) })),
      figure(t("overview.success"), percent(total.success_rate), `p99 ${milliseconds(total.p99_s)}`),
      figure(t("overview.saved"), money(saved.reduce((all, each) => all + (each.cost ?? 0), 0)), t("overview.saved_note")),
    ),
    h("div.columns", {},
      firstSteps({ enabled, instances, keys, total }),
      card(t("overview.money"), table(t("overview.money"), [
        { title: t("usage.model"), cell: (each) => h("a", { href: `#/usage?model=${encodeURIComponent(each.model)}&since=24h` }, each.model) },
        { title: t("overview.requests"), number: true, cell: (each) => number(each.requests) },
        { title: t("overview.tokens"), number: true, cell: (each) => number(each.tokens) },
        { title: t("overview.cost"), number: true, cell: (each) => money(each.cost) },
      ], saved, t("overview.no_calls"))),
    ),
    card(t("overview.instances"), table(t("overview.instances"), [
      { title: t("instances.name"), cell: (each) => h("a", { href: `#/instances?name=${encodeURIComponent(each.name)}` }, each.name) },
      { title: t("instances.address"), cell: (each) => each.address || t("instances.embedded") },
      { title: t("instances.port"), cell: (each) => String(server?.instance_ports?.[each.name] ?? "–") },
      { title: t("instances.state"), cell: (each) => each.is_served ? badge(t("instances.served"), "good") : badge(t("instances.unserved")) },
      { title: t("instances.models"), cell: (each) => number(each.models.length) },
    ], instances)),
  );
}

function firing(rules) {
  const found = rules.filter((each) => each.state === "firing");
  if (!found.length) return "";
  const names = found.map((each) => each.name).join(", ");
  return h("a.callout.warn", { href: "#/alerts" }, t("overview.firing", { count: found.length, names }));
}

function healthFigure(server) {
  if (server === null) return figure(t("overview.health"), "–");
  return server.is_ready
    ? figure(t("overview.health"), t("overview.ready"), t("overview.version", { version: server.version }), "good")
    : figure(t("overview.health"), t("overview.unready"), server.reasons.join(" "), "bad");
}

/** Say for each model what its calls would have cost where it is hosted. */
function costs(curves, services) {
  const prices = new Map(services.map((each) => [each.model, each.price_per_million_tokens]));
  return curves
    .filter((curve) => curve.group)
    .map((curve) => {
      const price = prices.get(curve.group) ?? null;
      const tokens = curve.total.tokens ?? 0;
      return { model: curve.group, requests: curve.total.requests, tokens, price, cost: price === null ? null : (tokens * price) / 1e6 };
    });
}

function firstSteps({ enabled, instances, keys, total }) {
  const steps = [
    [enabled.length > 0, "services", "enable"],
    [instances.some((each) => each.models.length > 0), "services", "bind"],
    [(total.requests ?? 0) > 0, "playground", "try"],
    [keys.some((each) => each.is_good), "keys", "key"],
  ];
  return card(t("overview.first"), h("ol.steps", {}, steps.map(([done, page, name]) => h(
    done ? "li.done" : "li", {},
    h("div", {}, h("a.main-name", { href: `#/${page}` }, t(`first.${name}`)), done ? h("span.unseen", {}, ` (${t("first.done")})`) : null, h("div.sub", {}, t(`first.${name}_text`))),
  ))));
}
