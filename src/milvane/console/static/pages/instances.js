// Instances and collections: which fields are filled by which function and model.

import { at, get, post, query, remove } from "../api.js";
import { fill, h } from "../dom.js";
import { attempt, badge, button, card, check, confirmDialog, dialog, field, loadInto, notify, pageHead, select, table, when } from "../parts.js";
import { number, t } from "../words.js";

export async function show(view, context) {
  const { instances } = await get("/instances");
  const served = instances.filter((each) => each.is_served);
  const asked = context.parameters.get("name");
  const chosen = served.find((each) => each.name === asked) ?? served[0];
  view.append(
    pageHead(t("instances.title"), t("instances.intro"), button(t("instances.add"), () => addInstance(context), { kind: "primary" })),
    card(t("instances.list"), table(t("instances.list"), columns(context), instances)),
    chosen ? collections(served, chosen) : card(t("collections.title"), h("p.empty", {}, t("collections.no_instance"))),
  );
}

function columns(context) {
  return [
    { title: t("instances.name"), cell: (each) => [h("div.main-name", {}, each.name), h("div.sub", {}, each.address || t("instances.embedded"))] },
    { title: t("instances.state"), cell: state },
    { title: t("instances.port"), number: true, cell: (each) => each.grpc_port === null ? "–" : String(each.grpc_port) },
    { title: t("instances.models"), cell: (each) => h("div.badges", {}, each.models.length ? few(each.models) : t("instances.no_models")) },
    { title: t("instances.since"), cell: (each) => when(each.created_at) },
    {
      title: h("span.unseen", {}, t("actions")),
      cell: (each) => h("div.actions", {}, each.is_served && !each.is_added ? null : button(t("instances.remove"), () => confirmDialog(
        t("instances.remove_title", { name: each.name }), t("instances.remove_text"), t("instances.remove"), async () => {
          await remove(at("instances", each.name));
          await context.again();
        }), { kind: "small", label: `${t("instances.remove")}: ${each.name}` })),
    },
  ];
}

function state(instance) {
  const told = instance.is_served ? badge(t("instances.served"), instance.trouble ? "warn" : "good") : badge(t("instances.unserved"), instance.trouble ? "bad" : "quiet");
  return [told, instance.trouble ? h("div.sub", {}, instance.trouble) : null];
}

async function addInstance(context) {
  const { services } = await get("/services");
  const name = h("input", { name: "name", required: true, maxlength: "63", pattern: "[a-z0-9][a-z0-9\\-]{0,62}" });
  const uri = h("input", { name: "uri", required: true, maxlength: "512", placeholder: "http://host:19530" });
  const port = h("input", { type: "number", name: "grpc_port", min: "1", max: "65535", placeholder: t("instances.next_port") });
  const token = h("input", { type: "password", name: "token", autocomplete: "off" });
  const certificate = h("textarea", { name: "ca_certificate", rows: "3", placeholder: "-----BEGIN CERTIFICATE-----" });
  const server = h("input", { name: "server_name", maxlength: "255" });
  const boxes = services.map((each) => check(each.model, true, null, each.service_id));
  dialog(t("instances.add"), h("div.form", {},
    h("div.form-row", {}, field(t("instances.name"), name, t("instances.name_hint")), field(t("instances.port"), port)),
    field(t("instances.address"), uri),
    field(t("instances.token"), token, t("instances.token_hint")),
    h("details", {}, h("summary", {}, t("instances.bound")), h("div", { role: "group", "aria-label": t("instances.bound") }, boxes)),
    h("details", {}, h("summary", {}, t("instances.tls")), field(t("instances.certificate"), certificate), field(t("instances.server_name"), server)),
  ), {
    confirm: t("instances.add"),
    submit: async () => {
      const chosen = boxes.map((box) => box.querySelector("input")).filter((box) => box.checked).map((box) => box.value);
      const made = await post("/instances", {
        name: name.value, uri: uri.value, grpc_port: port.value ? Number(port.value) : null, token: token.value,
        ca_certificate: certificate.value, server_name: server.value, services: chosen,
      });
      if (made.is_served) notify(t("instances.added", { name: made.name, port: made.grpc_port }));
      else notify(made.trouble ?? t("instances.unserved"), "bad");
      await context.again();
    },
  });
}

const SHOWN_MODELS = 3;
const PAGE = 50;

/** Show a few names, the others behind a count. */
function few(names) {
  const shown = names.slice(-SHOWN_MODELS).reverse().map((name) => badge(name, "accent"));
  const others = names.slice(0, -SHOWN_MODELS);
  if (!others.length) return shown;
  return [...shown, h("details", {}, h("summary.sub", {}, t("instances.more", { count: others.length })), h("div.badges", {}, others.map((name) => badge(name))))];
}

function collections(served, first) {
  let name = first.name;
  let database = "default";
  let offset = 0;
  const contains = h("input", { type: "search", name: "contains" });
  const place = h("div", {});
  const databases = h("div", {});
  const load = () => loadInto(place, async () => {
    const found = await get(`${at("instances", name, "collections")}${query({ database, contains: contains.value.trim(), offset, limit: PAGE })}`);
    offerDatabases(found.databases);
    if (!found.collections.length) return h("p.empty", {}, t("collections.none"));
    return h("div.collections", {}, found.collections.map(showCollection), pager(found));
  });
  const turn = (by) => {
    offset = Math.max(0, offset + by);
    load();
  };
  const pager = (found) => found.total <= PAGE ? null : h("div.actions", {},
    button(t("newer_page"), () => turn(-PAGE), { kind: "small", disabled: offset === 0 }),
    h("span.sub", {}, t("collections.range", { first: number(offset + 1), last: number(offset + found.collections.length), total: number(found.total) })),
    button(t("older_page"), () => turn(PAGE), { kind: "small", disabled: offset + PAGE >= found.total }));
  const offerDatabases = (names) => fill(databases, field(t("collections.database"),
    select(names.map((each) => [each, each]), database, (event) => {
      database = event.target.value;
      offset = 0;
      load();
    })));
  const picker = select(served.map((each) => [each.name, each.name]), name, (event) => {
    name = event.target.value;
    database = "default";
    offset = 0;
    load();
  });
  contains.addEventListener("change", () => {
    offset = 0;
    load();
  });
  load();
  return h("section.card", { "aria-label": t("collections.title") },
    h("div.card-head", {}, h("h2", {}, t("collections.title")), h("div.filters", {},
      field(t("usage.instance"), picker), databases, field(t("collections.contains"), contains),
      button(t("refresh"), () => attempt(async () => load())))),
    place,
  );
}

function showCollection(collection) {
  const title = `${t("collections.title")}: ${collection.name}`;
  return h("section", { "aria-label": title },
    h("div.card-head", {},
      h("h3", {}, collection.name),
      h("div.badges", {},
        badge(t("collections.rows", { count: number(collection.rows) })),
        collection.is_loaded === null ? null : collection.is_loaded ? badge(t("collections.loaded"), "good") : badge(t("collections.unloaded")))),
    collection.description ? h("p.sub", {}, collection.description) : null,
    collection.problem ? h("p.problem", {}, collection.problem) : table(title, fieldColumns(), collection.fields),
  );
}

function fieldColumns() {
  return [
    { title: t("fields.name"), cell: (each) => [h("span.main-name", {}, each.name), " ", each.is_primary ? badge(t("fields.primary")) : null] },
    { title: t("fields.type"), cell: (each) => h("span.code", {}, each.dimension ? `${each.type}(${each.dimension})` : each.type) },
    { title: t("fields.filled_by"), cell: (each) => each.filled_by ? [badge(each.filled_by.function, "accent"), h("div.sub", {}, each.filled_by.kind)] : h("span.sub", {}, t("fields.client")) },
    { title: t("fields.from"), cell: (each) => each.filled_by ? each.filled_by.inputs.join(", ") : "" },
    { title: t("fields.model"), cell: (each) => each.filled_by ? [each.filled_by.model || "–", h("div.sub", {}, each.filled_by.provider)] : "" },
  ];
}
