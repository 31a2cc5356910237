// Alerts: rules and how they stand, channels, what happened.

import { at, get, post, put, remove } from "../api.js";
import { fill, h } from "../dom.js";
import { attempt, badge, button, check, choices, confirmDialog, dialog, explain, field, notify, pageHead, select, table, when } from "../parts.js";
import { NONE, duration, milliseconds, number, percent, t } from "../words.js";

const KINDS = { quiet: "quiet", pending: "warn", firing: "bad", resolved: "good" };
const SEVERITIES = { info: "quiet", warning: "warn", critical: "bad" };
const WINDOWS_S = [60, 300, 900, 3600, 21600, 86400];
const WAITS_S = [0, 60, 300, 900, 3600];
const SILENCES_S = [3600, 14400, 86400, 604800];
const EVERY_MS = 5000;

/** In which unit people write a watched number; the API has parts of 1 and seconds. */
function unitOf(watched) {
  if (watched.endsWith("_share") || watched.endsWith("_rate")) return { factor: 0.01, name: "%", write: percent };
  if (watched === "average_s" || watched === "p99_s") return { factor: 0.001, name: "ms", write: milliseconds };
  return { factor: 1, name: "", write: (value) => number(value, 3) };
}

export async function show(view, context) {
  const [names, { services }, { instances }, { quotas }, offered] = await Promise.all([
    get("/usage/names"), get("/services"), get("/instances"), get("/quotas"), get("/alerts/choices"),
  ]);
  const known = {
    models: [...new Set([...names.models, ...services.map((each) => each.model)])].sort(),
    instances: instances.map((each) => each.name),
    quotas: quotas.map((each) => `${each.kind}:${each.name}`),
    offered,
    channels: [],
  };
  const place = h("div.stack", {});
  const load = async () => {
    const [{ rules }, { channels }, { episodes }] = await Promise.all([
      get("/alerts/rules"), get("/alerts/channels"), get("/alerts/history?limit=30"),
    ]);
    known.channels = channels;
    fill(place, build(rules, channels, episodes, known, load));
  };
  await load();
  view.append(
    pageHead(t("alerts.title"), t("alerts.intro"), button(t("alerts.create"), () => editRule(null, known, load), { kind: "primary" })),
    place,
  );
  const timer = setInterval(() => {
    if (document.hidden || place.contains(document.activeElement)) return;
    load().catch((failure) => {
      clearInterval(timer);
      notify(explain(failure), "bad");
    });
  }, EVERY_MS);
  context.signal.addEventListener("abort", () => clearInterval(timer));
}

function build(rules, channels, episodes, known, load) {
  return [
    h("section.card", { "aria-label": t("alerts.rules") }, h("h2", {}, t("alerts.rules")),
      table(t("alerts.rules"), ruleColumns(known, load), rules, t("alerts.no_rules"))),
    h("section.card", { "aria-label": t("channels.title") },
      h("div.card-head", {}, h("h2", {}, t("channels.title")), button(t("channels.create"), () => editChannel(null, load), { kind: "small" })),
      table(t("channels.title"), channelColumns(load), channels, t("channels.none"))),
    h("section.card", { "aria-label": t("alerts.history") }, h("h2", {}, t("alerts.history")),
      table(t("alerts.history"), episodeColumns(rules), episodes, t("alerts.no_history"))),
  ];
}

function say(condition) {
  const { write } = unitOf(condition.watched);
  return t("alerts.condition", { watched: t(`watched.${condition.watched}`), operator: condition.operator, threshold: write(condition.threshold), window: duration(condition.window_s) });
}

function ruleColumns(known, load) {
  return [
    { title: t("alerts.name"), cell: (each) => [h("div.main-name", {}, each.name), h("div.sub", {}, say(each.condition))] },
    { title: t("alerts.state"), cell: (each) => [
      badge(t(`state.${each.is_enabled ? each.state : "off"}`), each.is_enabled ? KINDS[each.state] : "quiet"),
      each.is_silent ? [" ", badge(t("alerts.silent"), "warn"), h("div.sub", {}, when(each.silenced_until))] : null,
    ] },
    { title: t("alerts.value"), number: true, cell: (each) => unitOf(each.condition.watched).write(each.value) },
    { title: t("alerts.severity"), cell: (each) => badge(t(`severity.${each.severity}`), SEVERITIES[each.severity]) },
    { title: t("alerts.scope"), cell: (each) => scopeOf(each.condition) },
    {
      title: h("span.unseen", {}, t("actions")),
      cell: (each) => h("div.actions", {},
        each.is_silent
          ? small("alerts.unsilence", each.name, () => attempt(async () => {
              await remove(at("alerts", "rules", each.rule_id, "silence"));
              await load();
            }))
          : small("alerts.silence", each.name, () => silence(each, load)),
        small("alerts.change", each.name, () => editRule(each, known, load)),
        small("alerts.remove", each.name, () => confirmDialog(t("alerts.remove_title", { name: each.name }), t("alerts.remove_text"), t("alerts.remove"), async () => {
          await remove(at("alerts", "rules", each.rule_id));
          await load();
        }))),
    },
  ];
}

const small = (key, name, work) => button(t(key), work, { kind: "small", label: `${t(key)}: ${name}` });

function scopeOf(condition) {
  const named = [...condition.models, ...condition.instances, ...condition.operations.map((each) => t(`operation.${each}`)), ...condition.quotas];
  return named.length ? h("div.badges", {}, named.map((each) => badge(each))) : h("span.sub", {}, t("all"));
}

function silence(rule, load) {
  const until = select(SILENCES_S.map((each) => [String(each), duration(each)]), "3600", null);
  dialog(t("alerts.silence_title", { name: rule.name }), h("div.form", {}, h("p", {}, t("alerts.silence_text")), field(t("alerts.silence_for"), until)), {
    confirm: t("alerts.silence"),
    submit: async () => {
      await put(at("alerts", "rules", rule.rule_id, "silence"), { for_s: Number(until.value) });
      await load();
    },
  });
}

const withValue = (offered, value) => (offered.includes(value) ? offered : [...offered, value].sort((a, b) => a - b));
const spans = (offered, value, zero) => select(withValue(offered, value).map((each) => [String(each), each ? duration(each) : zero]), String(value), null);

function editRule(rule, known, load) {
  const had = rule?.condition;
  const name = h("input", { required: true, maxlength: "128", value: rule?.name ?? "" });
  const chosen = { models: had?.models ?? [], instances: had?.instances ?? [], operations: had?.operations ?? [], quotas: had?.quotas ?? [], channels: rule?.channels ?? [] };
  const keep = (part) => (values) => {
    chosen[part] = values;
  };
  const watched = select(known.offered.watched.map((each) => [each, t(`watched.${each}`)]), had?.watched ?? "success_rate", () => retell());
  const operator = select(known.offered.operators.map((each) => [each, each]), had?.operator ?? "<", null);
  const scaled = (value) => (value === null || value === undefined ? "" : String(Number((value / unitOf(watched.value).factor).toPrecision(12))));
  const threshold = h("input", { type: "number", step: "any", required: true, value: had ? scaled(had.threshold) : "99" });
  const resolve = h("input", { type: "number", step: "any", value: scaled(had?.resolve_threshold), placeholder: t("alerts.same") });
  const window_ = spans(WINDOWS_S, had?.window_s ?? 300, "");
  const for_ = spans(WAITS_S, had?.for_s ?? 60, t("alerts.at_once"));
  const resolveFor = spans(WAITS_S, had?.resolve_for_s ?? 60, t("alerts.at_once"));
  const least = h("input", { type: "number", min: "0", step: "1", value: String(had?.min_requests ?? 0) });
  const severity = select(known.offered.severities.map((each) => [each, t(`severity.${each}`)]), rule?.severity ?? "warning", null);
  const enabled = check(t("alerts.enabled"), rule?.is_enabled ?? true, null);
  const pairs = (values) => values.map((each) => [each, each]);
  const limits = h("div.form-row", {});
  const scope = h("div.form-row", {});
  const retell = () => {
    const { name: unit } = unitOf(watched.value);
    const label = (text) => (unit ? `${text} (${unit})` : text);
    fill(limits, field(t("alerts.watched"), watched), field(t("alerts.operator"), operator), field(label(t("alerts.threshold")), threshold), field(label(t("alerts.resolve")), resolve));
    fill(scope, watched.value === "quota_share"
      ? choices(t("quotas.list"), pairs(known.quotas), chosen.quotas, keep("quotas"))
      : [choices(t("usage.model"), pairs(known.models), chosen.models, keep("models")),
         choices(t("usage.instance"), pairs(known.instances), chosen.instances, keep("instances")),
         choices(t("usage.operation"), known.offered.operations.map((each) => [each, t(`operation.${each}`)]), chosen.operations, keep("operations"))]);
  };
  retell();
  const title = h("input", { value: rule?.title ?? "", placeholder: known.offered.title });
  const body = h("textarea", { rows: "3", placeholder: known.offered.body });
  body.value = rule?.body ?? "";
  const shown = dialog(rule ? t("alerts.change_title", { name: rule.name }) : t("alerts.create"), h("div.form", {},
    h("div.form-row", {}, field(t("alerts.name"), name), field(t("alerts.severity"), severity)),
    limits,
    h("div.form-row", {}, field(t("alerts.window"), window_), field(t("alerts.for"), for_), field(t("alerts.resolve_for"), resolveFor), field(t("alerts.least"), least)),
    scope,
    choices(t("alerts.channels"), known.channels.map((each) => [each.channel_id, each.name]), chosen.channels, keep("channels")),
    h("details", {}, h("summary", {}, t("alerts.template")), h("div.form", {},
      field(t("alerts.template_title"), title), field(t("alerts.template_body"), body, t("alerts.template_hint", { fields: known.offered.template_fields.map((each) => `{${each}}`).join(" ") })))),
    enabled,
  ), {
    confirm: t("save"),
    submit: async () => {
      const { factor } = unitOf(watched.value);
      const onQuotas = watched.value === "quota_share";
      const order = {
        name: name.value, severity: severity.value, channels: chosen.channels, title: title.value, body: body.value,
        is_enabled: enabled.querySelector("input").checked,
        condition: {
          watched: watched.value, operator: operator.value,
          threshold: Number(threshold.value) * factor,
          resolve_threshold: resolve.value === "" ? null : Number(resolve.value) * factor,
          window_s: Number(window_.value), for_s: Number(for_.value), resolve_for_s: Number(resolveFor.value),
          min_requests: onQuotas ? 0 : Number(least.value),
          models: onQuotas ? [] : chosen.models, instances: onQuotas ? [] : chosen.instances,
          operations: onQuotas ? [] : chosen.operations, quotas: onQuotas ? chosen.quotas : [],
        },
      };
      if (rule) await put(at("alerts", "rules", rule.rule_id), order);
      else await post("/alerts/rules", order);
      await load();
    },
  });
  shown.classList.add("wide");
}

function channelColumns(load) {
  return [
    { title: t("channels.name"), cell: (each) => h("div.main-name", {}, each.name) },
    { title: t("channels.kind"), cell: (each) => badge(each.kind) },
    { title: t("keys.created"), cell: (each) => when(each.created_at) },
    {
      title: h("span.unseen", {}, t("actions")),
      cell: (each) => h("div.actions", {},
        small("channels.test", each.name, () => attempt(async () => {
          const { is_sent: sent, error } = await post(at("alerts", "channels", each.channel_id, "test"), {});
          notify(sent ? t("channels.sent", { name: each.name }) : error, sent ? "good" : "bad");
        })),
        small("alerts.change", each.name, () => editChannel(each, load)),
        small("alerts.remove", each.name, () => confirmDialog(t("alerts.remove_title", { name: each.name }), t("channels.remove_text"), t("alerts.remove"), async () => {
          await remove(at("alerts", "channels", each.channel_id));
          await load();
        }))),
    },
  ];
}

function editChannel(channel, load) {
  const name = h("input", { required: true, maxlength: "128", value: channel?.name ?? "" });
  const url = h("input", { required: !channel, autocomplete: "off", spellcheck: "false", placeholder: channel ? t("channels.unchanged") : "jsons://host/path" });
  dialog(channel ? t("alerts.change_title", { name: channel.name }) : t("channels.create"), h("div.form", {},
    field(t("channels.name"), name), field(t("channels.url"), url, t("channels.url_hint"))), {
    confirm: t("save"),
    submit: async () => {
      if (channel) await put(at("alerts", "channels", channel.channel_id), { name: name.value, url: url.value || null });
      else await post("/alerts/channels", { name: name.value, url: url.value });
      await load();
    },
  });
}

function episodeColumns(rules) {
  const watched = new Map(rules.map((each) => [each.rule_id, each.condition.watched]));
  const write = (episode, value) => unitOf(watched.get(episode.rule_id) ?? "").write(value);
  return [
    { title: t("alerts.fired"), cell: (each) => when(each.fired_at) },
    { title: t("alerts.name"), cell: (each) => [h("div.main-name", {}, each.rule), badge(t(`severity.${each.severity}`), SEVERITIES[each.severity])] },
    { title: t("alerts.value"), number: true, cell: (each) => write(each, each.fired_value) },
    { title: t("alerts.resolved"), cell: (each) => each.resolved_at ? when(each.resolved_at) : badge(t("state.firing"), "bad") },
    { title: t("alerts.told"), cell: (each) => each.deliveries.length ? h("div.badges", {}, each.deliveries.map(told)) : NONE },
  ];
}

function told(delivery) {
  const kind = { sent: "good", failed: "bad", waiting: "quiet" }[delivery.outcome];
  const shown = badge(`${delivery.channel}: ${t(`state.${delivery.state}`)}, ${t(`outcome.${delivery.outcome}`)}`, kind);
  if (delivery.error) shown.title = delivery.error;
  return shown;
}
