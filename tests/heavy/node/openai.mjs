// Embeddings through the JavaScript client: `node openai.mjs URL`. Prints one JSON object.
import OpenAI from "openai";

const [url] = process.argv.slice(2);
const client = new OpenAI({ apiKey: "any", baseURL: `${url}/compatible-mode/v1`, maxRetries: 0 });
const model = "text-embedding-v4";
const texts = ["The cat sleeps.", "The spacecraft entered orbit around Mars."];
const vectors = (answer) => answer.data.map((item) => item.embedding);

// By default the client asks for base64 and decodes it.
const several = vectors(await client.embeddings.create({ model, input: texts }));
const [one] = vectors(await client.embeddings.create({ model, input: texts[0] }));
const small = await client.embeddings.create({ model, input: "one text", dimensions: 256 });
const [floats] = vectors(
  await client.embeddings.create({ model, input: texts[0], encoding_format: "float" }),
);
const [query] = vectors(await client.embeddings.create({ model, input: "space travel" }));
let refused;
try {
  await client.embeddings.create({ model: "no-such", input: "one text" });
} catch (error) {
  refused = [error.constructor.name, error.status, error.code, Boolean(error.requestID)];
}
const listed = [];
for await (const entry of client.models.list()) listed.push(entry.id);

console.log(
  JSON.stringify({
    one,
    several,
    floats,
    query,
    small: small.data[0].embedding.length,
    usage: small.usage,
    refused,
    listed,
  }),
);
