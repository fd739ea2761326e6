// Every endpoint with the official client, its streams and its errors. The gateway's address is the argument.
import assert from "node:assert/strict";
import OpenAI, { APIError, BadRequestError, NotFoundError, toFile } from "openai";

const client = new OpenAI({ baseURL: `${process.argv[2]}/v1`, apiKey: "none", maxRetries: 0 });
const STORY = "It was a dark night.";
const messages = [{ role: "user", content: "hello" }];
const done = [];

async function check(name, work) {
  await work();
  done.push(name);
}

async function collected(stream) {
  const found = [];
  for await (const one of stream) found.push(one);
  return found;
}

async function refused(work, kind, param, said) {
  const error = await work.then(() => assert.fail("it was not refused"), (reason) => reason);
  assert.ok(error instanceof kind, String(error));
  assert.equal(error.param ?? null, param);
  assert.match(error.message, said);
  assert.equal(error.requestID.length, 32);
}

const png = (image) => Buffer.from(image.b64_json, "base64").subarray(1, 4).toString() === "PNG";

await check("models", async () => {
  const names = (await collected(client.models.list())).map((model) => model.id);
  for (const name of ["chat", "digits", "drawn", "told"]) assert.ok(names.includes(name), name);
  assert.equal((await client.models.retrieve("told")).owned_by, "atelier");
  await refused(client.models.retrieve("none"), NotFoundError, "model", /there is no model 'none'/);
});

await check("images", async () => {
  const drawn = await client.images.generate({ model: "drawn", prompt: "", n: 2, seed: 7 });
  assert.deepEqual(drawn.data.map((image) => image.seed), [7, 8]);
  assert.ok(drawn.data.every(png));
  const link = await client.images.generate({ model: "drawn", prompt: "", response_format: "url" });
  assert.equal((await fetch(link.data[0].url)).headers.get("content-type"), "image/png");
  const events = await collected(await client.images.generate({ model: "drawn", prompt: "", stream: true }));
  assert.deepEqual(events.map((event) => event.type), ["image_generation.completed"]);
  assert.equal(events[0].usage.output_tokens, 1);
  await refused(client.images.generate({ model: "drawn", prompt: "a face" }), BadRequestError, "prompt", /no prompt/);
  await refused(client.images.generate({ model: "drawn", prompt: "", style: "vivid" }), BadRequestError, "style", /style/);
  const upload = () => toFile(Buffer.from(drawn.data[0].b64_json, "base64"), "a.png", { type: "image/png" });
  assert.ok(png((await client.images.edit({ model: "altered", image: await upload(), prompt: "" })).data[0]));
  assert.ok(png((await client.images.createVariation({ model: "altered", image: await upload() })).data[0]));
  const text = await toFile(Buffer.from("GIF89a"), "a.png", { type: "image/png" });
  await refused(client.images.edit({ model: "altered", image: text, prompt: "" }), BadRequestError, "image", /PNG/);
});

await check("completions", async () => {
  const whole = await client.completions.create({ model: "told", prompt: "It", seed: 7 });
  assert.equal(whole.choices[0].text, STORY);
  assert.equal(whole.usage.total_tokens, 8);
  const chunks = await collected(await client.completions.create({ model: "told", prompt: "It", stream: true }));
  assert.equal(chunks.map((chunk) => chunk.choices[0].text).join(""), STORY);
  await refused(client.completions.create({ model: "told", prompt: "It", suffix: "x" }), BadRequestError, "suffix", /left|taken/);
});

await check("chat", async () => {
  const whole = await client.chat.completions.create({ model: "chat", messages });
  assert.equal(whole.choices[0].message.content, STORY);
  const options = { stream: true, stream_options: { include_usage: true } };
  const chunks = await collected(await client.chat.completions.create({ model: "chat", messages, ...options }));
  assert.equal(chunks.map((chunk) => chunk.choices[0]?.delta?.content ?? "").join(""), STORY);
  assert.equal(chunks.at(-1).usage.total_tokens, 8);
  const stream = client.chat.completions.stream({ model: "chat", messages });
  assert.equal(await stream.finalContent(), STORY);
  const tools = [{ type: "function", function: { name: "a" } }];
  await refused(client.chat.completions.create({ model: "chat", messages, tools }), BadRequestError, "tools", /tools/);
});

await check("responses", async () => {
  const whole = await client.responses.create({ model: "chat", input: "hello", store: false });
  assert.equal(whole.output_text, STORY);
  const events = await collected(await client.responses.create({ model: "chat", input: "hello", stream: true }));
  assert.deepEqual(events.map((event) => event.sequence_number), [...events.keys()]);
  assert.equal(events.at(-1).type, "response.completed");
  const stream = client.responses.stream({ model: "chat", input: "hello" });
  assert.equal((await stream.finalResponse()).output_text, STORY);
  await refused(client.responses.retrieve(whole.id), NotFoundError, null, /none is kept/);
  const asked = { model: "chat", input: "hello", previous_response_id: whole.id };
  await refused(client.responses.create(asked), BadRequestError, "previous_response_id", /send the whole conversation/);
});

await check("speech", async () => {
  const sound = await client.audio.speech.create({ model: "digits", input: "4 2", voice: "alloy" });
  assert.equal(sound.headers.get("content-type"), "audio/mpeg");
  assert.equal(Buffer.from(await sound.arrayBuffer()).subarray(0, 3).toString(), "ID3");
  const asked = { model: "digits", input: "4 2", voice: "none" };
  await refused(client.audio.speech.create(asked), BadRequestError, "voice", /model digits has/);
});

await check("a stream that breaks", async () => {
  const stream = await client.chat.completions.create({ model: "broken", messages, stream: true });
  const error = await collected(stream).then(() => assert.fail("it did not break"), (reason) => reason);
  assert.ok(error instanceof APIError, String(error));
  assert.match(JSON.stringify(error.error), /broke off its answer/);
});

await check("a caller who leaves", async () => {
  const stream = await client.chat.completions.create({ model: "chat", messages, stream: true });
  for await (const chunk of stream) {
    assert.ok(chunk.id);
    break;
  }
});

console.log(JSON.stringify(done));
