// Ready-made vectors through the Node SDK: `node quick.mjs HOST:PORT NAME`. Prints one JSON object.
import { MilvusClient } from "@zilliz/milvus2-sdk-node";

const [address, collection_name] = process.argv.slice(2);
const client = new MilvusClient({ address });
const seen = {};

await client.connectPromise;
seen.created = (await client.createCollection({ collection_name, dimension: 4 })).error_code;
const data = [1, 2, 3, 4, 5].map((id) => ({ id, vector: [id, 1, 0, 0], colour: `c${id % 2}` }));
await client.insert({ collection_name, data });
const found = await client.search({
  collection_name,
  data: [1, 1, 0, 0],
  limit: 3,
  filter: "colour == {wanted}",
  exprValues: { wanted: "c1" },
  output_fields: ["id"],
});
seen.found = found.results.map((hit) => Number(hit.id));
const change = [{ id: 1, colour: "blue" }];
await client.upsert({ collection_name, data: change, partial_update: true });
const rows = await client.get({ collection_name, ids: [1] });
seen.updated = rows.data.map((row) => [Number(row.id), row.$meta.colour, row.vector]);
const pages = await client.queryIterator({
  collection_name,
  batchSize: 2,
  output_fields: ["id"],
});
seen.pages = [];
for await (const page of pages) seen.pages.push(page.map((row) => Number(row.id)));
await client.dropCollection({ collection_name });
await client.closeConnection();
console.log(JSON.stringify(seen));
