// What an application does with raw text, through the Node SDK: `node milvus.mjs HOST:PORT NAME`.
// Prints one JSON object: what each step found.
import {
  DataType,
  FunctionType,
  MilvusClient,
  RRFRanker,
  WeightedRanker,
} from "@zilliz/milvus2-sdk-node";

const [address, name] = process.argv.slice(2);
const texts = [
  "The cat sleeps on the warm windowsill.",
  "Stock markets fell sharply on Monday.",
  "Fresh bread smells wonderful in the morning.",
  "The spacecraft entered orbit around Mars.",
];
const client = new MilvusClient({ address, token: "root:Milvus" });
const ids = (answer) => answer.results.map((hit) => Number(hit.id));
const seen = {};

await client.connectPromise;
const created = await client.createCollection({
  collection_name: name,
  description: "raw text",
  enable_dynamic_field: true,
  fields: [
    { name: "id", data_type: DataType.Int64, is_primary_key: true, autoID: false },
    { name: "document", data_type: DataType.VarChar, max_length: 9000, enable_analyzer: true },
    { name: "dense", data_type: DataType.FloatVector, dim: 1024 },
    { name: "sparse", data_type: DataType.SparseFloatVector },
  ],
  functions: [
    {
      name: "embed",
      type: FunctionType.TEXTEMBEDDING,
      input_field_names: ["document"],
      output_field_names: ["dense"],
      params: { provider: "aliyun_milvus", model_name: "text-embedding-v4" },
    },
    {
      name: "bm25",
      type: FunctionType.BM25,
      input_field_names: ["document"],
      output_field_names: ["sparse"],
      params: {},
    },
  ],
  index_params: [
    { field_name: "dense", index_type: "AUTOINDEX", metric_type: "COSINE" },
    { field_name: "sparse", index_type: "SPARSE_INVERTED_INDEX", metric_type: "BM25" },
  ],
});
seen.created = created.error_code;
await client.loadCollectionSync({ collection_name: name });

const data = texts.map((document, id) => ({ id, document, words: document.split(" ").length }));
seen.inserted = (await client.insert({ collection_name: name, data })).insert_cnt;

const search = (more) =>
  client.search({ collection_name: name, limit: 2, output_fields: ["id", "document"], ...more });
seen.one = ids(await search({ data: "space travel", anns_field: "dense" }));
const several = await search({ data: ["bakery", "finance"], anns_field: "dense" });
seen.several = several.results.map((hits) => Number(hits[0].id));
seen.words = ids(await search({ data: "orbit around Mars", anns_field: "sparse" }));
const filter = "words < 7";
seen.filtered = ids(await search({ data: "space travel", anns_field: "dense", filter }));

const parts = [
  { data: "space travel", anns_field: "dense", limit: 3 },
  { data: "orbit around Mars", anns_field: "sparse", limit: 3 },
];
seen.ranked = ids(await search({ data: parts, rerank: RRFRanker(60) }));
seen.weighted = ids(await search({ data: parts, rerank: WeightedRanker([0.7, 0.3]) }));

const row = { id: 1, document: "A rocket flies to the moon." };
seen.upserted = (await client.upsert({ collection_name: name, data: [row] })).upsert_cnt;
seen.afterUpsert = ids(await search({ data: "space travel", anns_field: "dense" })).sort();

const refused = await client.insert({ collection_name: name, data: [{ id: 9, document: "" }] });
seen.refused = [refused.status.code, refused.status.reason];

await client.delete({ collection_name: name, ids: [3] });
seen.afterDelete = ids(await search({ data: "space travel", anns_field: "dense" }))[0];
seen.count = (await client.count({ collection_name: name })).data;
seen.flushed = (await client.flushSync({ collection_names: [name] })).flushed;
const described = await client.describeCollection({ collection_name: name });
seen.functions = described.schema.functions.map((entry) => entry.name).sort();
seen.dropped = (await client.dropCollection({ collection_name: name })).error_code;
await client.closeConnection();
console.log(JSON.stringify(seen));
