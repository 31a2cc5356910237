// API keys and quotas.

import { at, get, post, put, remove } from "../api.js";
import { h } from "../dom.js";
import { badge, button, card, check, confirmDialog, copyButton, dialog, field, pageHead, select, table, when } from "../parts.js";
import { number, t } from "../words.js";

const SCOPES = ["embed", "milvus", "manage"];
const LIFETIMES = [["", "keys.never"], ["86400", "keys.day"], ["2592000", "keys.month"], ["7776000", "keys.quarter"], ["31536000", "keys.year"]];
const OVERLAPS = [["0", "keys.at_once"], ["3600", "keys.hour"], ["86400", "keys.day"], ["604800", "keys.week"]];
const LIMITS = ["requests_per_minute", "tokens_per_minute", "tokens_per_month", "concurrent_requests"];
const KINDS = ["key", "tenant", "association"];

export async function show(view, context) {
  const [{ keys }, { quotas }, { services }, { instances }] = await Promise.all([
    get("/keys"), get("/quotas"), get("/services"), get("/instances"),
  ]);
  const subjects = {
    key: keys.map((each) => [each.key_id, `${each.label} (${each.prefix}…)`]),
    tenant: [...new Set(["default", ...keys.map((each) => each.tenant)])].map((each) => [each, each]),
    association: instances.flatMap((each) => services.map((one) => [`${each.name}/${one.model}`, `${each.name} / ${one.model}`])),
  };
  view.append(
    pageHead(t("keys.title"), t("keys.intro"), button(t("keys.create"), () => createKey(context), { kind: "primary" })),
    card(t("keys.list"), table(t("keys.list"), keyColumns(context), keys, t("keys.none"))),
    h("section.card", { "aria-label": t("quotas.list") },
      h("div.card-head", {}, h("h2", {}, t("quotas.list")), button(t("quotas.set"), () => setQuota(null, subjects, context), { kind: "small" })),
      table(t("quotas.list"), quotaColumns(subjects, context), quotas, t("quotas.none"))),
  );
}

function keyColumns(context) {
  return [
    { title: t("keys.label"), cell: (each) => [h("div.main-name", {}, each.label), h("div.sub.code", {}, `${each.prefix}…`)] },
    { title: t("keys.tenant"), cell: (each) => each.tenant },
    { title: t("keys.scopes"), cell: (each) => h("div.badges", {}, each.scopes.map((scope) => badge(t(`scope.${scope}`)))) },
    { title: t("keys.state"), cell: (each) => each.is_good ? badge(t("keys.good"), "good") : badge(t("keys.over")) },
    { title: t("keys.created"), cell: (each) => when(each.created_at) },
    { title: t("keys.expires"), cell: (each) => each.expires_at ? when(each.expires_at) : t("keys.never") },
    { title: t("keys.used"), cell: (each) => when(each.last_used_at) },
    {
      title: h("span.unseen", {}, t("actions")),
      cell: (each) => each.is_good && h("div.actions", {},
        each.rotated_to ? null : button(t("keys.rotate"), () => rotateKey(each, context), { kind: "small", label: `${t("keys.rotate")}: ${each.label}` }),
        button(t("keys.revoke"), () => confirmDialog(
          t("keys.revoke_title", { label: each.label }), t("keys.revoke_text"), t("keys.revoke"),
          async () => {
            await remove(at("keys", each.key_id));
            await context.again();
          },
        ), { kind: "small", label: `${t("keys.revoke")}: ${each.label}` })),
    },
  ];
}

function createKey(context) {
  const label = h("input", { name: "label", required: true, maxlength: "128" });
  const tenant = h("input", { name: "tenant", required: true, maxlength: "128", value: "default" });
  const lifetime = select(LIFETIMES.map(([value, key]) => [value, t(key)]), "", null);
  const scopes = SCOPES.map((scope) => check(t(`scope.${scope}.long`), scope !== "manage", null, scope));
  dialog(t("keys.create"), h("div.form", {},
    field(t("keys.label"), label, t("keys.label_hint")),
    field(t("keys.tenant"), tenant, t("keys.tenant_hint")),
    h("div.field", {}, h("span.label", { id: "scopes-label" }, t("keys.scopes")), h("div", { role: "group", "aria-labelledby": "scopes-label" }, scopes)),
    field(t("keys.lifetime"), lifetime),
  ), {
    confirm: t("keys.create"),
    submit: async () => {
      const chosen = scopes.map((box) => box.querySelector("input")).filter((box) => box.checked).map((box) => box.value);
      const body = { label: label.value, tenant: tenant.value, scopes: chosen };
      if (lifetime.value) body.expires_in_s = Number(lifetime.value);
      showSecret(await post("/keys", body), context);
    },
  });
}

function rotateKey(key, context) {
  const overlap = select(OVERLAPS.map(([value, name]) => [value, t(name)]), "3600", null);
  dialog(t("keys.rotate_title", { label: key.label }), h("div.form", {},
    h("p", {}, t("keys.rotate_text")), field(t("keys.overlap"), overlap)), {
    confirm: t("keys.rotate"),
    submit: async () => showSecret(await post(at("keys", key.key_id, "rotate"), { overlap_s: Number(overlap.value) }), context),
  });
}

function showSecret(made, context) {
  const shown = dialog(t("keys.made"), [
    h("p", {}, t("keys.made_text")),
    h("div.secret", {}, h("code", { id: "secret" }, made.secret), copyButton(made.secret)),
    h("p.sub", {}, t("keys.made_use")),
    h("pre", {}, `curl ${location.origin}/v1/embeddings \\\n  -H "Authorization: Bearer $KEY" \\\n  -d '{"model": "text-embedding-v4", "input": "Hello"}' -H "Content-Type: application/json"`),
  ]);
  shown.addEventListener("close", () => context.again());
}

function quotaColumns(subjects, context) {
  const nameOf = (quota) => (subjects[quota.kind].find(([value]) => value === quota.name) ?? [null, quota.name])[1];
  return [
    { title: t("quotas.subject"), cell: (each) => [h("div.main-name", {}, nameOf(each)), h("div.sub", {}, t(`quotas.${each.kind}`))] },
    ...LIMITS.map((name) => ({ title: t(`quotas.${name}`), number: true, cell: (each) => name === "tokens_per_month" ? monthly(each) : number(each[name]) })),
    { title: t("quotas.running"), number: true, cell: (each) => number(each.running) },
    { title: t("quotas.mode"), cell: (each) => each.is_shadow
      ? [badge(t("quotas.shadow"), "warn"), h("div.sub", {}, t("quotas.would", { count: number(each.would_refuse) }))]
      : badge(t("quotas.enforced"), "accent") },
    {
      title: h("span.unseen", {}, t("actions")),
      cell: (each) => h("div.actions", {},
        button(t("quotas.change"), () => setQuota(each, subjects, context), { kind: "small", label: `${t("quotas.change")}: ${each.name}` }),
        button(t("quotas.remove"), () => confirmDialog(t("quotas.remove_title", { name: each.name }), t("quotas.remove_text"), t("quotas.remove"), async () => {
          await put(quotaPath(each.kind, each.name), {});
          await context.again();
        }), { kind: "small", label: `${t("quotas.remove")}: ${each.name}` })),
    },
  ];
}

function monthly(quota) {
  if (quota.tokens_per_month === null) return number(null);
  const share = Math.min(1, (quota.month_tokens ?? 0) / quota.tokens_per_month);
  const bar = h("div", {});
  bar.style.width = `${share * 100}%`;
  return [
    h("div", {}, `${number(quota.month_tokens)} / ${number(quota.tokens_per_month)}`),
    h(share >= 1 ? "div.meter.full" : "div.meter", { "aria-hidden": "true" }, bar),
  ];
}

const quotaPath = (kind, name) => `/quotas/${kind}/${name.split("/").map(encodeURIComponent).join("/")}`;

function setQuota(quota, subjects, context) {
  const inputs = Object.fromEntries(LIMITS.map((name) => [
    name, h("input", { type: "number", min: "1", step: "1", name, placeholder: t("quotas.unlimited"), value: quota?.[name] ?? "" }),
  ]));
  const shadow = check(t("quotas.shadow_long"), quota?.is_shadow ?? false, null);
  const subject = h("div", {});
  let named = null;
  const offer = (kind) => {
    named = select(subjects[kind], subjects[kind][0]?.[0] ?? "", null);
    subject.replaceChildren(field(t("quotas.subject"), named));
  };
  const kind = select(KINDS.map((each) => [each, t(`quotas.${each}`)]), "tenant", () => offer(kind.value));
  offer("tenant");
  dialog(quota ? t("quotas.change_title", { name: quota.name }) : t("quotas.set"), h("div.form", {},
    quota ? null : h("div.form-row", {}, field(t("quotas.kind"), kind), subject),
    h("div.form-row", {}, LIMITS.map((name) => field(t(`quotas.${name}`), inputs[name]))),
    shadow,
  ), {
    confirm: t("save"),
    submit: async () => {
      const body = { is_shadow: shadow.querySelector("input").checked };
      for (const name of LIMITS) body[name] = inputs[name].value ? Number(inputs[name].value) : null;
      await put(quotaPath(quota?.kind ?? kind.value, quota?.name ?? named.value), body);
      await context.again();
    },
  });
}
