// Playground: texts in, vectors out; and a question to a collection.

import { at, get, post, query } from "../api.js";
import { append, fill, h } from "../dom.js";
import { attempt, badge, card, explain, field, figure, pageHead, select, table } from "../parts.js";
import { milliseconds, money, number, t } from "../words.js";

const SHOWN_COMPONENTS = 12;
const HEATS = 5;

export async function show(view) {
  const [{ services }, { instances }] = await Promise.all([get("/services"), get("/instances")]);
  const served = instances.filter((each) => each.is_served);
  view.append(
    pageHead(t("playground.title"), t("playground.intro")),
    embedCard(services.filter((each) => each.is_enabled && each.weights && each.modalities.includes("text"))),
    served.length ? searchCard(served) : card(t("search.title"), h("p.empty", {}, t("collections.no_instance"))),
  );
}

function submitted(form, go, problem, work) {
  form.addEventListener("submit", async (event) => {
    event.preventDefault();
    go.disabled = true;
    problem.textContent = "";
    try {
      await work();
    } catch (failure) {
      problem.textContent = explain(failure);
    } finally {
      go.disabled = false;
    }
  });
  return form;
}

function embedCard(services) {
  const texts = h("textarea", { rows: "4", name: "texts", required: true });
  texts.value = t("playground.sample");
  const usual = services.find((each) => each.model === "text-embedding-v4") ?? services[0];
  const model = select(services.map((each) => [each.model, each.model]), usual?.model, null);
  const dimension = h("input", { type: "number", min: "1", name: "dimension", placeholder: String(usual?.default_dimension ?? "") });
  model.addEventListener("change", () => {
    dimension.placeholder = String(services.find((each) => each.model === model.value).default_dimension);
  });
  const purpose = select([["document", t("playground.document")], ["query", t("playground.query")]], "document", null);
  const problem = h("p.problem", { role: "alert" });
  const go = h("button.button.primary", { type: "submit" }, t("playground.embed"));
  const out = h("div.stack", { role: "status", "aria-live": "polite" });
  const form = submitted(h("form.form", {},
    field(t("playground.texts"), texts, t("playground.texts_hint")),
    h("div.form-row", {}, field(t("usage.model"), model), field(t("playground.dimension"), dimension), field(t("playground.purpose"), purpose)),
    problem, h("div.actions", {}, go),
  ), go, problem, async () => {
    const lines = texts.value.split("\n").map((line) => line.trim()).filter(Boolean);
    const answer = await post("/playground/embed", {
      model: model.value, texts: lines, purpose: purpose.value, dimension: dimension.value ? Number(dimension.value) : null,
    });
    fill(out, showVectors(lines, answer));
  });
  return h("section.card", { "aria-label": t("playground.embed_title") }, h("h2", {}, t("playground.embed_title")), form, out);
}

function showVectors(texts, answer) {
  const rows = texts.map((text, place) => ({ text, place, vector: answer.vectors[place], tokens: answer.token_counts[place] }));
  return [
    h("div.figures", {},
      figure(t("playground.tokens"), number(answer.total_tokens)),
      figure(t("playground.dimension"), number(answer.dimension)),
      figure(t("playground.took"), milliseconds(answer.took_s)),
      figure(t("playground.cost"), money(answer.cost), t("usage.cost_note")),
    ),
    table(t("playground.vectors"), [
      { title: "#", cell: (row) => String(row.place + 1) },
      { title: t("playground.text"), cell: (row) => row.text },
      { title: t("playground.tokens"), number: true, cell: (row) => number(row.tokens) },
      { title: t("playground.vector"), cell: (row) => h("details", {}, h("summary.code", {}, `[${row.vector.slice(0, 4).map((value) => value.toFixed(4)).join(", ")}, …]`),
        h("pre", {}, lines(row.vector))) },
    ], rows),
    texts.length > 1 ? matrix(answer.similarities) : null,
  ];
}

function lines(vector) {
  const written = [];
  for (let start = 0; start < vector.length; start += SHOWN_COMPONENTS) {
    written.push(vector.slice(start, start + SHOWN_COMPONENTS).map((value) => value.toFixed(5).padStart(8)).join(" "));
  }
  return written.join("\n");
}

/** Show how alike each two texts are: a darker cell is a higher cosine. */
function matrix(similarities) {
  const heat = (value) => Math.max(0, Math.min(HEATS - 1, Math.floor(value * HEATS)));
  return h("div", {}, h("h3", {}, t("playground.similarity")), h("div.scroll", { tabindex: "0", role: "region", "aria-label": t("playground.similarity") },
    h("table.matrix", {}, h("caption.unseen", {}, t("playground.similarity")),
      h("thead", {}, h("tr", {}, h("td", {}), similarities.map((_, place) => h("th", { scope: "col" }, `#${place + 1}`)))),
      h("tbody", {}, similarities.map((row, place) => h("tr", {}, h("th", { scope: "row" }, `#${place + 1}`),
        row.map((value) => h(`td.heat-${heat(value)}`, {}, value.toFixed(3)))))))));
}

function searchCard(served) {
  const instance = select(served.map((each) => [each.name, each.name]), served[0].name, null);
  const place = { collection: h("div", {}), field: h("div", {}) };
  let collections = [];
  let collection = null;
  let vector = null;
  const text = h("input", { name: "question", required: true, value: t("search.sample") });
  const filter = h("input", { name: "filter", placeholder: t("search.filter_sample") });
  const limit = h("input", { type: "number", name: "limit", min: "1", max: "100", value: "5" });
  const offerFields = () => {
    const found = collections.find((each) => each.name === collection?.value);
    const filled = (found?.fields ?? []).filter((each) => each.filled_by);
    vector = select(filled.map((each) => [each.name, `${each.name} (${each.filled_by.model || each.filled_by.kind})`]), filled[0]?.name, null);
    fill(place.field, field(t("search.field"), vector));
  };
  const offer = () => attempt(async () => {
    const found = await get(`${at("instances", instance.value, "collections")}${query({ database: "default" })}`);
    collections = found.collections.filter((each) => each.fields.some((one) => one.filled_by));
    collection = select(collections.map((each) => [each.name, each.name]), collections[0]?.name, offerFields);
    fill(place.collection, field(t("search.collection"), collection, collections.length ? null : t("search.no_collection")));
    offerFields();
  });
  instance.addEventListener("change", offer);
  offer();
  const problem = h("p.problem", { role: "alert" });
  const go = h("button.button.primary", { type: "submit" }, t("search.go"));
  const out = h("div.stack", { role: "status", "aria-live": "polite" });
  const form = submitted(h("form.form", {},
    h("div.form-row", {}, field(t("usage.instance"), instance), place.collection, place.field),
    field(t("search.question"), text),
    h("div.form-row", {}, field(t("search.filter"), filter), field(t("search.limit"), limit)),
    problem, h("div.actions", {}, go),
  ), go, problem, async () => {
    if (!collection?.value) return collection?.focus();
    const answer = await post("/playground/search", {
      instance: instance.value, collection: collection.value, field: vector.value, text: text.value,
      filter: filter.value, limit: Number(limit.value),
    });
    fill(out, showHits(answer));
  });
  return h("section.card", { "aria-label": t("search.title") }, h("h2", {}, t("search.title")), form, out);
}

function showHits(answer) {
  const names = [...new Set(answer.hits.flatMap((hit) => Object.keys(hit.values)))];
  const write = (value) => (typeof value === "object" && value !== null ? JSON.stringify(value) : String(value ?? "–"));
  return append(h("div.stack", {}), [
    h("p.sub", {}, t("search.took", { count: answer.hits.length, took: milliseconds(answer.took_s) })),
    table(t("search.hits"), [
      { title: t("search.score"), cell: (hit) => badge(hit.score.toFixed(4), "accent") },
      ...names.map((name) => ({ title: name, cell: (hit) => write(hit.values[name]) })),
    ], answer.hits, t("search.none")),
  ]);
}
