// Embedding service: what is offered, and which instances use it.

import { at, get, patch, post, remove } from "../api.js";
import { h } from "../dom.js";
import { attempt, badge, button, card, check, confirmDialog, dialog, pageHead, table } from "../parts.js";
import { money, number, t } from "../words.js";

export async function show(view, context) {
  const [listed, { instances }] = await Promise.all([get("/services"), get("/instances")]);
  const services = listed.services.sort(byUse);
  const off = services.filter((each) => !each.is_enabled);
  view.append(
    pageHead(
      t("services.title"),
      t("services.intro", { region: listed.region }),
      off.length
        ? button(t("services.enable_all"), () => switchAll(off, context), { kind: "primary" })
        : null,
    ),
    card(
      t("services.list", { count: services.length }),
      table(t("services.title"), columns(instances, context), services),
    ),
  );
}

/** Put what works here first, then the names that people know, newer ones before older ones. */
function byUse(a, b) {
  const rank = (each) => (each.weights ? 0 : 2) + (each.model.startsWith("text-embedding-v") ? 0 : 1);
  return rank(a) - rank(b) || (a.model < b.model ? 1 : -1);
}

function columns(instances, context) {
  return [
    {
      title: t("services.model"),
      cell: (each) => [
        h("div.main-name", {}, each.model),
        h("div.sub.code", {}, each.service_id),
        h("div.sub", {}, each.description),
        h("a.sub", { href: `#/usage?model=${encodeURIComponent(each.model)}` }, t("services.calls"), h("span.unseen", {}, `: ${each.model}`)),
      ],
    },
    {
      title: t("services.state"),
      cell: (each) => [
        each.is_enabled ? badge(t("services.on"), "good") : badge(t("services.off")),
        each.weights ? h("div.sub", {}, each.weights) : h("div.sub", {}, t("services.no_weights")),
      ],
    },
    {
      title: t("services.dimensions"),
      cell: (each) => [
        each.dimensions || t("services.sparse_only"),
        h("div.sub", {}, t("services.default", { dimension: each.default_dimension || "–" })),
      ],
    },
    {
      title: t("services.tokens"),
      number: true,
      cell: (each) => [
        number(each.max_input_tokens),
        each.price_per_million_tokens === null
          ? null
          : h("div.sub", {}, t("services.price", { price: money(each.price_per_million_tokens) })),
      ],
    },
    {
      title: t("services.instances"),
      cell: (each) => h("div.badges", {}, each.instances.length
        ? each.instances.map((name) => badge(name, "accent"))
        : h("span.sub", {}, t("services.unused"))),
    },
    {
      title: h("span.unseen", {}, t("actions")),
      cell: (each) => h("div.actions", {}, actions(each, instances, context)),
    },
  ];
}

function actions(service, instances, context) {
  const named = (text) => `${text}: ${service.model}`;
  return [
    button(t("services.batch"), () => bindDialog(service, instances, context), {
      kind: "small", disabled: !service.is_enabled, label: named(t("services.batch")),
    }),
    service.is_enabled
      ? button(t("services.disable"), () => confirmDialog(
          t("services.disable_title", { model: service.model }), t("services.disable_text"), t("services.disable"),
          () => turn(service, false, context),
        ), { kind: "small", label: named(t("services.disable")) })
      : button(t("services.enable"), () => attempt(() => turn(service, true, context), t("services.enabled", { model: service.model })), {
          kind: "small", label: named(t("services.enable")),
        }),
  ];
}

async function turn(service, on, context) {
  await patch(at("services", service.service_id), { is_enabled: on });
  await context.again();
}

function switchAll(services, context) {
  return attempt(async () => {
    for (const each of services) await patch(at("services", each.service_id), { is_enabled: true });
    await context.again();
  }, t("services.all_enabled"));
}

function bindDialog(service, instances, context) {
  const bound = new Set(service.instances);
  const boxes = instances.map((each) => check(
    [each.name, h("span.sub", {}, each.address || t("instances.embedded")), bound.has(each.name) ? badge(t("services.bound"), "good") : null],
    bound.has(each.name), () => {}, each.name,
  ));
  const all = check(t("services.all_instances"), bound.size === instances.length, (event) => {
    for (const box of boxes) box.querySelector("input").checked = event.target.checked;
  });
  const content = [
    h("p", {}, t("services.batch_text", { model: service.model })),
    h("p.sub.code", {}, service.service_id),
    all,
    h("div.options", { role: "group", "aria-label": t("services.instances") }, boxes),
  ];
  dialog(t("services.batch_title"), content, {
    confirm: t("services.batch_confirm"),
    submit: async () => {
      const chosen = new Set(boxes.map((box) => box.querySelector("input")).filter((box) => box.checked).map((box) => box.value));
      const added = [...chosen].filter((name) => !bound.has(name));
      const gone = [...bound].filter((name) => !chosen.has(name));
      if (added.length) await post("/associations", { service: service.service_id, instances: added });
      for (const name of gone) await remove(at("associations", name, service.service_id));
      await context.again();
    },
  });
}
