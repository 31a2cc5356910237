// Instances and collections: which fields are filled by which function and model.

import { at, get, query, remove } from "../api.js";
import { fill, h } from "../dom.js";
import { attempt, badge, button, card, confirmDialog, field, loadInto, pageHead, select, table, when } from "../parts.js";
import { number, t } from "../words.js";

export async function show(view, context) {
  const { instances } = await get("/instances");
  const served = instances.filter((each) => each.is_served);
  const asked = context.parameters.get("name");
  const chosen = served.find((each) => each.name === asked) ?? served[0];
  view.append(
    pageHead(t("instances.title"), t("instances.intro")),
    card(t("instances.list"), table(t("instances.list"), columns(context), instances)),
    chosen ? collections(served, chosen) : card(t("collections.title"), h("p.empty", {}, t("collections.no_instance"))),
  );
}

function columns(context) {
  return [
    { title: t("instances.name"), cell: (each) => [h("div.main-name", {}, each.name), h("div.sub", {}, each.address || t("instances.embedded"))] },
    { title: t("instances.state"), cell: (each) => each.is_served ? badge(t("instances.served"), "good") : badge(t("instances.unserved")) },
    { title: t("instances.models"), cell: (each) => h("div.badges", {}, each.models.length ? few(each.models) : t("instances.no_models")) },
    { title: t("instances.since"), cell: (each) => when(each.created_at) },
    {
      title: h("span.unseen", {}, t("actions")),
      cell: (each) => h("div.actions", {}, each.is_served ? null : button(t("instances.remove"), () => confirmDialog(
        t("instances.remove_title", { name: each.name }), t("instances.remove_text"), t("instances.remove"), async () => {
          await remove(at("instances", each.name));
          await context.again();
        }), { kind: "small", label: `${t("instances.remove")}: ${each.name}` })),
    },
  ];
}

const SHOWN_MODELS = 3;

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
  const place = h("div", {});
  const databases = h("div", {});
  const load = () => loadInto(place, async () => {
    const found = await get(`${at("instances", name, "collections")}${query({ database })}`);
    offerDatabases(found.databases);
    if (!found.collections.length) return h("p.empty", {}, t("collections.none"));
    return h("div.collections", {}, found.collections.map(showCollection), found.left_out ? h("p.sub", {}, t("collections.left_out", { count: number(found.left_out) })) : null);
  });
  const offerDatabases = (names) => fill(databases, field(t("collections.database"),
    select(names.map((each) => [each, each]), database, (event) => {
      database = event.target.value;
      load();
    })));
  const picker = select(served.map((each) => [each.name, each.name]), name, (event) => {
    name = event.target.value;
    database = "default";
    load();
  });
  load();
  return h("section.card", { "aria-label": t("collections.title") },
    h("div.card-head", {}, h("h2", {}, t("collections.title")), h("div.filters", {},
      field(t("usage.instance"), picker), databases,
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
