// The stock OpenAI client against a running server: chat, stream, embeddings, a typed error.
// Environment: BASE_URL (with /v1), CHAT and EMBED (function names). Prints one JSON object; throws on a difference.
import assert from "node:assert/strict";
import OpenAI from "openai";

const client = new OpenAI({ baseURL: process.env.BASE_URL, apiKey: "not-checked-on-loopback", maxRetries: 0 });
const request = {
  model: process.env.CHAT, max_tokens: 8, temperature: 0, messages: [{ role: "user", content: "hi" }],
};

const whole = await client.chat.completions.create(request);
assert.ok(whole.choices[0].message.content);
assert.equal(whole.usage.completion_tokens, 8);

const pieces = [];
let usage = null;
for await (const chunk of await client.chat.completions.create({
  ...request, stream: true, stream_options: { include_usage: true },
})) {
  for (const choice of chunk.choices) pieces.push(choice.delta.content ?? "");
  usage = chunk.usage ?? usage;
}
assert.equal(pieces.join(""), whole.choices[0].message.content);
assert.equal(usage.completion_tokens, 8);

const input = ["one", "two"];
const packed = await client.embeddings.create({ model: process.env.EMBED, input });
const plain = await client.embeddings.create({ model: process.env.EMBED, input, encoding_format: "float" });
assert.equal(packed.data.length, 2);
packed.data.forEach((row, i) => {
  assert.equal(row.embedding.length, plain.data[i].embedding.length);
  row.embedding.forEach((x, j) => assert.ok(Math.abs(x - plain.data[i].embedding[j]) < 1e-6));
});

await assert.rejects(client.models.retrieve("absent"), (error) => error instanceof OpenAI.NotFoundError &&
  error.code === "model_not_found");

console.log(JSON.stringify({ chat: true, stream: true, embeddings: true, error: true }));
