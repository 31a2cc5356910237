// Playground: texts, images and videos in, vectors out; and a question to a collection.

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
    embedCard(services.filter((each) => each.is_enabled && each.weights)),
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
  const seeing = mediaFields();
  const dimension = h("input", { type: "number", min: "1", name: "dimension", placeholder: String(usual?.default_dimension ?? "") });
  const fit = () => {
    const chosen = services.find((each) => each.model === model.value);
    dimension.placeholder = String(chosen?.default_dimension ?? "");
    const sees = chosen?.modalities.some((each) => each !== "text") ?? false;
    seeing.shown.hidden = !sees;
    texts.required = !sees;
  };
  model.addEventListener("change", fit);
  fit();
  const purpose = select([["document", t("playground.document")], ["query", t("playground.query")]], "document", null);
  const problem = h("p.problem", { role: "alert" });
  const go = h("button.button.primary", { type: "submit" }, t("playground.embed"));
  const out = h("div.stack", { role: "status", "aria-live": "polite" });
  const form = submitted(h("form.form", {},
    field(t("playground.texts"), texts, t("playground.texts_hint")),
    seeing.shown,
    h("div.form-row", {}, field(t("usage.model"), model), field(t("playground.dimension"), dimension), field(t("playground.purpose"), purpose)),
    problem, h("div.actions", {}, go),
  ), go, problem, async () => {
    const lines = texts.value.split("\n").map((line) => line.trim()).filter(Boolean);
    const media = seeing.shown.hidden ? [] : await seeing.read();
    const inputs = [...lines.map((text) => ({ text, name: text })), ...media];
    const answer = await post("/playground/embed", {
      model: model.value, purpose: purpose.value, dimension: dimension.value ? Number(dimension.value) : null,
      contents: inputs.map((each) => (each.source ? { media: [each.source] } : { text: each.text })),
    });
    fill(out, showVectors(inputs, answer));
  });
  return h("section.card", { "aria-label": t("playground.embed_title") }, h("h2", {}, t("playground.embed_title")), form, out);
}

/** Build the choice of images and videos: files of this machine, which the page reads, and addresses. */
function mediaFields() {
  const files = h("input", { type: "file", name: "files", multiple: true, accept: "image/*,video/*" });
  const addresses = h("textarea", { name: "addresses", rows: "2" });
  const shown = h("div.form-row", {},
    field(t("playground.files"), files, t("playground.files_hint")),
    field(t("playground.addresses"), addresses, t("playground.addresses_hint")));
  const read = async () => {
    const found = await Promise.all([...files.files].map(async (file) => ({ name: file.name, source: await readFile(file) })));
    const named = addresses.value.split("\n").map((line) => line.trim()).filter(Boolean);
    return [...found, ...named.map((source) => ({ name: source, source }))];
  };
  return { shown, read };
}

function readFile(file) {
  return new Promise((done, fail) => {
    const reader = new FileReader();
    reader.addEventListener("load", () => done(reader.result));
    reader.addEventListener("error", () => fail(reader.error));
    reader.readAsDataURL(file);
  });
}

/** Show what was embedded: a text, or a picture with what the server found it to be. */
function showInput(input, facts) {
  if (!input.source) return input.text;
  const seen = (facts ?? []).map((each) => t(`playground.${each.kind}`, {
    format: each.format, width: each.width, height: each.height, seconds: number(each.duration_s, 1), bytes: number(each.size_bytes),
  }));
  const isShown = input.source.startsWith("data:image/");
  return h("div", {}, isShown ? h("img.thumbnail", { src: input.source, alt: input.name }) : null,
    h("div", {}, input.name), seen.length ? h("div.sub", {}, seen.join(", ")) : null);
}

function showVectors(inputs, answer) {
  const rows = inputs.map((input, place) => ({ input, place, vector: answer.vectors[place], tokens: answer.token_counts[place], media: answer.media[place] }));
  return [
    h("div.figures", {},
      figure(t("playground.tokens"), number(answer.total_tokens)),
      figure(t("playground.dimension"), number(answer.dimension)),
      figure(t("playground.took"), milliseconds(answer.took_s)),
      figure(t("playground.cost"), money(answer.cost), t("usage.cost_note")),
    ),
    table(t("playground.vectors"), [
      { title: "#", cell: (row) => String(row.place + 1) },
      { title: t("playground.input"), cell: (row) => showInput(row.input, row.media) },
      { title: t("playground.tokens"), number: true, cell: (row) => number(row.tokens) },
      { title: t("playground.vector"), cell: (row) => h("details", {}, h("summary.code", {}, `[${row.vector.slice(0, 4).map((value) => value.toFixed(4)).join(", ")}, …]`),
        h("pre", {}, lines(row.vector))) },
    ], rows),
    inputs.length > 1 ? matrix(answer.similarities) : null,
  ];
}

function lines(vector) {
  const written = [];
  for (let start = 0; start < vector.length; start += SHOWN_COMPONENTS) {
    written.push(vector.slice(start, start + SHOWN_COMPONENTS).map((value) => value.toFixed(5).padStart(8)).join(" "));
  }
  return written.join("\n");
}

/** Show how alike each two inputs are: a darker cell is a higher cosine. */
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
  const place = { database: h("div", {}), collection: h("div", {}), field: h("div", {}) };
  let database = "default";
  let collections = [];
  let collection = null;
  let vector = null;
  const text = h("input", { name: "question", required: true, value: t("search.sample") });
  const filter = h("input", { name: "filter", placeholder: t("search.filter_sample") });
  const limit = h("input", { type: "number", name: "limit", min: "1", max: "100", value: "5" });
  const contains = h("input", { type: "search", name: "contains" });
  const more = (found) => (found.total > found.collections.length ? t("search.narrow", { shown: number(found.collections.length), total: number(found.total) }) : null);
  const offerFields = () => {
    const found = collections.find((each) => each.name === collection?.value);
    const filled = (found?.fields ?? []).filter((each) => each.filled_by);
    vector = select(filled.map((each) => [each.name, `${each.name} (${each.filled_by.model || each.filled_by.kind})`]), filled[0]?.name, null);
    fill(place.field, field(t("search.field"), vector));
  };
  const offer = () => attempt(async () => {
    const found = await get(`${at("instances", instance.value, "collections")}${query({ database, contains: contains.value.trim() })}`);
    fill(place.database, field(t("collections.database"), select(found.databases.map((each) => [each, each]), database, (event) => {
      database = event.target.value;
      offer();
    })));
    collections = found.collections.filter((each) => each.fields.some((one) => one.filled_by));
    collection = select(collections.map((each) => [each.name, each.name]), collections[0]?.name, offerFields);
    fill(place.collection, field(t("search.collection"), collection, collections.length ? more(found) : t("search.no_collection")));
    offerFields();
  });
  instance.addEventListener("change", () => {
    database = "default";
    offer();
  });
  contains.addEventListener("change", offer);
  offer();
  const problem = h("p.problem", { role: "alert" });
  const go = h("button.button.primary", { type: "submit" }, t("search.go"));
  const out = h("div.stack", { role: "status", "aria-live": "polite" });
  const form = submitted(h("form.form", {},
    h("div.form-row", {}, field(t("usage.instance"), instance), place.database, field(t("collections.contains"), contains), place.collection, place.field),
    field(t("search.question"), text),
    h("div.form-row", {}, field(t("search.filter"), filter), field(t("search.limit"), limit)),
    problem, h("div.actions", {}, go),
  ), go, problem, async () => {
    if (!collection?.value) return collection?.focus();
    const answer = await post("/playground/search", {
      instance: instance.value, database, collection: collection.value, field: vector.value, text: text.value,
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
