// Call information: the five charts, their filters, the same as a table and as CSV.

import { address, get, query } from "../api.js";
import { draw, onTheWall, release } from "../charts.js";
import { fill, h } from "../dom.js";
import { button, check, choices, explain, field, figure, notify, pageHead, select, table, when } from "../parts.js";
import { NONE, compact, duration, milliseconds, moment, money, number, percent, t } from "../words.js";

const RANGES = ["15m", "1h", "6h", "24h", "7d", "30d"];
const STEPS = ["", "10s", "1m", "5m", "1h", "6h", "1d"];
const GROUPS = ["nothing", "model", "instance", "operation", "tenant", "caller"];
const EVERY_MS = 15000;
const MAX_ROWS = 400;

export const CHARTS = [
  { name: "tokens", area: true, values: (point) => point.tokens, total: (total) => compact(total.tokens) },
  { name: "qps", format: ",.4~r", values: (point) => point.queries_per_s, total: (total) => number(total.queries_per_s, 3) },
  { name: "success", format: ".1~%", range: [0, 1.04], values: (point) => point.success_rate, total: (total) => percent(total.success_rate) },
  { name: "rate", format: ",.4~r", area: true, values: (point) => point.tokens_per_s, total: (total) => number(total.tokens_per_s, 2) },
  { name: "rt", unit: " ms", values: (point) => inMs(point.average_s), total: (total) => milliseconds(total.average_s) },
];
const TIMES = [["average_s", "average", "solid"], ["median_s", "p50", "dash"], ["p99_s", "p99", "dot"]];

const inMs = (value) => (value === null ? null : Math.round(value * 1e5) / 100);

export async function show(view, context) {
  const asked = readState(context.parameters);
  const [names, { services }] = await Promise.all([get("/usage/names"), get("/services")]);
  names.models = [...new Set([...names.models, ...services.map((each) => each.model)])].sort();
  const prices = new Map(services.map((each) => [each.model, each.price_per_million_tokens]));
  const places = {
    figures: h("div.figures", { role: "status", "aria-live": "off" }),
    charts: h("div.charts", {}),
    table: h("div", {}),
    csv: h("a.button", { download: "milvane-usage.csv" }, t("usage.csv")),
    step: h("span.sub", {}),
  };
  const charts = CHARTS.map((each) => chartCard(each));
  fill(places.charts, charts.map((each) => each.card));
  const state = { asked, places, charts, prices, shown: null, asTable: false, busy: false };
  const refresh = () => load(state);
  view.append(
    pageHead(t("usage.title"), t("usage.intro"), places.csv),
    filters(state, names, refresh),
    places.figures,
    h("div.card-head", {}, places.step, viewSwitch(state)),
    places.charts,
    places.table,
  );
  places.table.hidden = true;
  const timer = setInterval(() => {
    if (state.asked.live && !document.hidden) refresh();
  }, EVERY_MS);
  context.signal.addEventListener("abort", () => {
    clearInterval(timer);
    for (const each of charts) release(each.place);
  });
  // The page stands before its charts do: the library is large, and comes after what is asked for.
  requestAnimationFrame(refresh);
}

function readState(parameters) {
  return {
    since: parameters.get("since") ?? "1h",
    until: parameters.get("until") ?? "",
    step: parameters.get("step") ?? "",
    group_by: parameters.get("group_by") ?? "nothing",
    model: parameters.getAll("model"),
    instance: parameters.getAll("instance"),
    operation: parameters.getAll("operation"),
    live: true,
  };
}

const wireOf = ({ live, ...asked }) => ({ ...asked, group_by: asked.group_by === "nothing" ? "" : asked.group_by });

function filters(state, names, refresh) {
  const { asked } = state;
  const set = (name) => (value) => {
    asked[name] = value;
    history.replaceState(null, "", `#/usage${query(wireOf(asked))}`);
    refresh();
  };
  const absolute = h("div.filters", { hidden: RANGES.includes(asked.since) });
  const from = h("input", { type: "datetime-local", step: "1" });
  const to = h("input", { type: "datetime-local", step: "1" });
  if (!absolute.hidden) [from.value, to.value] = [local(asked.since), local(asked.until)];
  fill(absolute, field(t("usage.from"), from), field(t("usage.to"), to), button(t("usage.apply"), () => {
    if (!from.value) return from.focus();
    asked.until = to.value ? new Date(to.value).toISOString() : "";
    set("since")(new Date(from.value).toISOString());
  }));
  const segments = h("div.segments", { role: "group", "aria-label": t("usage.range") });
  const press = (chosen) => {
    for (const each of segments.children) each.setAttribute("aria-pressed", String(each.dataset.range === chosen));
    absolute.hidden = chosen !== "absolute";
  };
  for (const name of [...RANGES, "absolute"]) {
    const made = h("button", { type: "button", "data-range": name, onclick: () => {
      press(name);
      if (name === "absolute") return from.focus();
      asked.until = "";
      set("since")(name);
    } }, t(`range.${name}`));
    segments.append(made);
  }
  press(RANGES.includes(asked.since) ? asked.since : "absolute");
  return h("section.card", { "aria-label": t("usage.filters") },
    h("div.filters", {},
      choices(t("usage.model"), pairs(names.models), asked.model, set("model")),
      choices(t("usage.instance"), pairs(names.instances), asked.instance, set("instance")),
      choices(t("usage.operation"), names.operations.map((each) => [each, t(`operation.${each}`)]), asked.operation, set("operation")),
      field(t("usage.compare"), select(GROUPS.map((each) => [each, t(`group.${each}`)]), asked.group_by, (event) => set("group_by")(event.target.value))),
      field(t("usage.step"), select(STEPS.map((each) => [each, each ? t(`step.${each}`) : t("step.auto")]), asked.step, (event) => set("step")(event.target.value))),
      h("div.field", {}, h("span.label", {}, t("usage.range")), segments),
      check(t("usage.live"), asked.live, (event) => {
        asked.live = event.target.checked;
      }),
    ),
    absolute,
  );
}

const pairs = (names) => names.map((name) => [name, name]);

const local = (text) => (Number.isNaN(Date.parse(text)) ? "" : onTheWall(text));

function viewSwitch(state) {
  const group = h("div.segments", { role: "group", "aria-label": t("usage.view") });
  for (const asTable of [false, true]) {
    group.append(h("button", { type: "button", "aria-pressed": String(state.asTable === asTable), onclick: (event) => {
      state.asTable = asTable;
      for (const each of group.children) each.setAttribute("aria-pressed", String(each === event.target));
      state.places.charts.hidden = asTable;
      state.places.table.hidden = !asTable;
      render(state);
    } }, t(asTable ? "usage.as_table" : "usage.as_charts")));
  }
  return group;
}

function chartCard(chart) {
  const place = h("div.chart", { role: "img", "data-chart": chart.name });
  const total = h("span.chart-total", {});
  const empty = h("div.chart-empty", { hidden: true }, t("usage.nothing"));
  const card = h("section.card", { "aria-label": t(`chart.${chart.name}`) },
    h("div.card-head", {}, h("h2", {}, t(`chart.${chart.name}`)), total), place, empty);
  return { chart, card, place, total, empty };
}

async function load(state) {
  if (state.busy) {
    state.again = true;
    return;
  }
  state.busy = true;
  try {
    const parameters = query(wireOf(state.asked));
    state.places.csv.href = address(`/usage.csv${parameters}`);
    state.shown = await get(`/usage${parameters}`);
    await render(state);
  } catch (failure) {
    notify(explain(failure), "bad");
    state.asked.live = false;
  } finally {
    state.busy = false;
    if (state.again) {
      state.again = false;
      load(state);
    }
  }
}

function totals(curves) {
  const sum = (name) => curves.reduce((all, curve) => all + (curve.total[name] ?? 0), 0);
  return { requests: sum("requests"), tokens: sum("tokens"), cached: sum("cached_tokens"), refusals: sum("refusals") };
}

async function render(state) {
  const { shown, places } = state;
  if (!shown) return;
  const all = totals(shown.curves);
  places.step.textContent = t("usage.shown", { since: moment(shown.since), until: moment(shown.until), step: duration(shown.step_s) });
  fill(places.figures,
    figure(t("usage.requests"), number(all.requests), t("usage.refused", { count: number(all.refusals) })),
    figure(t("usage.tokens"), number(all.tokens), t("usage.cached", { count: number(all.cached) })),
    figure(t("usage.success"), percent(oneOf(shown.curves, "success_rate")), t("usage.success_note")),
    figure(t("usage.average"), milliseconds(oneOf(shown.curves, "average_s")),
      `p50 ${milliseconds(oneOf(shown.curves, "median_s"))} · p99 ${milliseconds(oneOf(shown.curves, "p99_s"))}`),
    costFigure(state),
  );
  if (state.asTable) return renderTable(state);
  for (const each of state.charts) await renderChart(each, shown);
}

const oneOf = (curves, name) => (curves.length === 1 ? curves[0].total[name] : null);

/** Say what the calls would have cost elsewhere, where the models of all of them are known. */
function costFigure({ asked, shown, prices }) {
  let cost = null;
  if (asked.group_by === "model") {
    cost = shown.curves.reduce((all, curve) => all + ((prices.get(curve.group) ?? 0) * (curve.total.tokens ?? 0)) / 1e6, 0);
  } else if (asked.model.length === 1 && prices.get(asked.model[0]) !== null) {
    cost = (prices.get(asked.model[0]) * totals(shown.curves).tokens) / 1e6;
  }
  return figure(t("usage.cost"), money(cost), cost === null ? t("usage.cost_choose") : t("usage.cost_note"));
}

function seriesOf(chart, shown) {
  const nameOf = (curve) => groupName(shown, curve.group);
  if (chart.name === "rt" && shown.curves.length === 1) {
    const [curve] = shown.curves;
    const times = curve.points.map((point) => point.at);
    return TIMES.map(([key, name, dash], colour) => ({ name: t(`time.${name}`), times, values: curve.points.map((point) => inMs(point[key])), dash, colour }));
  }
  return shown.curves.map((curve) => ({
    name: nameOf(curve) || t(`chart.${chart.name}`),
    times: curve.points.map((point) => point.at),
    values: curve.points.map((point) => chart.values(point)),
  }));
}

function groupName(_shown, group) {
  return ["insert", "search", "api", "job"].includes(group) ? t(`operation.${group}`) : group;
}

async function renderChart(each, shown) {
  const series = seriesOf(each.chart, shown);
  const values = series.flatMap((one) => one.values.filter((value) => value !== null));
  each.total.textContent = shown.curves.length === 1 ? each.chart.total(shown.curves[0].total) : "";
  each.place.hidden = values.length === 0;
  each.empty.hidden = values.length > 0;
  if (!values.length) return;
  const say = (value) => number(value, 3);
  let [low, high] = [Infinity, -Infinity];
  for (const value of values) [low, high] = [Math.min(low, value), Math.max(high, value)];
  each.place.setAttribute("aria-label", t("chart.spoken", { name: t(`chart.${each.chart.name}`), points: values.length, low: say(low), high: say(high) }));
  each.place.dataset.points = String(values.length);
  await draw(each.place, series, { ...each.chart, since: shown.since, until: shown.until });
}

function renderTable({ shown, places }) {
  const rows = shown.curves.flatMap((curve) => curve.points.filter((point) => point.requests).map((point) => ({ group: groupName(shown, curve.group), ...point })));
  rows.sort((a, b) => (a.at < b.at ? 1 : -1));
  const grouped = shown.curves.some((curve) => curve.group);
  const columns = [
    { title: t("usage.time"), cell: (row) => when(row.at) },
    grouped ? { title: t("usage.group"), cell: (row) => row.group || NONE } : null,
    { title: t("usage.requests"), number: true, cell: (row) => number(row.requests) },
    { title: t("usage.refusals"), number: true, cell: (row) => number(row.refusals) },
    { title: t("chart.tokens"), number: true, cell: (row) => number(row.tokens) },
    { title: t("chart.qps"), number: true, cell: (row) => number(row.queries_per_s, 3) },
    { title: t("chart.success"), number: true, cell: (row) => percent(row.success_rate) },
    { title: t("chart.rate"), number: true, cell: (row) => number(row.tokens_per_s, 2) },
    { title: t("chart.rt"), number: true, cell: (row) => milliseconds(row.average_s) },
    { title: "p50", number: true, cell: (row) => milliseconds(row.median_s) },
    { title: "p99", number: true, cell: (row) => milliseconds(row.p99_s) },
  ].filter(Boolean);
  fill(places.table, h("section.card", {},
    table(t("usage.title"), columns, rows.slice(0, MAX_ROWS), t("usage.nothing")),
    rows.length > MAX_ROWS ? h("p.sub", {}, t("usage.more_rows", { count: number(rows.length), shown: MAX_ROWS })) : null,
  ));
}
