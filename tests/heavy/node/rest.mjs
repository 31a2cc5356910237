// Raw text through the Node SDK's client of REST v2: `node rest.mjs URL NAME`. Prints one JSON object.
import { HttpClient } from "@zilliz/milvus2-sdk-node";

const [endpoint, collectionName] = process.argv.slice(2);
const client = new HttpClient({ endpoint, token: "root:Milvus" });
const seen = {};

const created = await client.createCollection({
  collectionName,
  schema: {
    autoID: false,
    fields: [
      { fieldName: "id", dataType: "Int64", isPrimary: true },
      { fieldName: "document", dataType: "VarChar", elementTypeParams: { max_length: 9000 } },
      { fieldName: "dense", dataType: "FloatVector", elementTypeParams: { dim: 1024 } },
    ],
    functions: [
      {
        name: "embed",
        type: "TextEmbedding",
        inputFieldNames: ["document"],
        outputFieldNames: ["dense"],
        params: { provider: "aliyun_milvus", model_name: "text-embedding-v4" },
      },
    ],
  },
  indexParams: [{ fieldName: "dense", indexName: "dense", metricType: "COSINE" }],
});
seen.created = created.code;
const rows = ["A cat sleeps.", "A rocket flies."].map((document, id) => ({ id, document }));
seen.inserted = (await client.insert({ collectionName, data: rows })).data.insertCount;
const search = async () => {
  const asked = { collectionName, data: ["space travel"], annsField: "dense", limit: 1 };
  return (await client.search({ ...asked, outputFields: ["document"] })).data[0].document;
};
seen.found = await search();
const changed = [{ id: 0, document: "An astronaut walks on the moon in a space suit." }];
seen.upserted = (await client.upsert({ collectionName, data: changed })).data.upsertCount;
await client.delete({ collectionName, filter: "id == 1" });
seen.left = await search();
seen.dropped = (await client.dropCollection({ collectionName })).code;
console.log(JSON.stringify(seen));
