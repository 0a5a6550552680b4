// The official client of OpenAI in JavaScript.
import assert from "node:assert/strict";
import OpenAI from "openai";
import { check, expectLoved, HELLO, KEY, main, MODEL, newUser, URL_ } from "./checks.mjs";

const client = new OpenAI({ baseURL: `${URL_}/v1`, apiKey: KEY, maxRetries: 0, timeout: 60_000 });
const chats = client.chat.completions;
const strict = { headers: { "x-rluf-strict": "true" } };
const weather = {
  type: "function",
  function: { name: "weather", parameters: { type: "object", properties: {} } },
};

async function textOf(stream) {
  let text = "";
  for await (const chunk of stream) text += chunk.choices[0]?.delta?.content ?? "";
  return text;
}

check("a whole answer is parsed with its usage", async () => {
  const answer = await chats.create({ model: MODEL, messages: HELLO, max_completion_tokens: 20 });
  assert.equal(answer.object, "chat.completion");
  assert.equal(typeof answer.choices[0].message.content, "string");
  const { prompt_tokens, completion_tokens, total_tokens } = answer.usage;
  assert.equal(prompt_tokens + completion_tokens, total_tokens);
});

check("a stream says the same as the whole answer", async () => {
  const given = { model: MODEL, messages: HELLO, seed: 3 };
  const whole = (await chats.create(given)).choices[0].message.content;
  assert.equal(await textOf(await chats.create({ ...given, stream: true })), whole);
});

check("the usage of a stream comes where asked for", async () => {
  const stream = await chats.create({
    model: MODEL, messages: HELLO, stream: true, stream_options: { include_usage: true },
  });
  let last;
  for await (const chunk of stream) last = chunk;
  assert.ok(last.usage.total_tokens > 0);
});

check("the stream helper gives the final answer", async () => {
  const runner = chats.stream({ model: MODEL, messages: HELLO });
  const final = await runner.finalChatCompletion();
  assert.equal(final.choices[0].message.role, "assistant");
});

check("answers side by side have ids of their own", async () => {
  const calls = Array.from({ length: 8 }, (_, seed) =>
    chats.create({ model: MODEL, messages: HELLO, seed }));
  const ids = (await Promise.all(calls)).map((answer) => answer.id);
  assert.equal(new Set(ids).size, 8);
});

check("several choices are numbered", async () => {
  const answer = await chats.create({ model: MODEL, messages: HELLO, n: 3 });
  assert.deepEqual(answer.choices.map((choice) => choice.index), [0, 1, 2]);
});

check("a stop sequence is not shown", async () => {
  const given = { model: MODEL, messages: HELLO, seed: 9 };
  const whole = (await chats.create(given)).choices[0].message.content;
  const stop = whole.slice(3, 5);
  const cut = await chats.create({ ...given, stop });
  assert.equal(cut.choices[0].message.content, whole.slice(0, whole.indexOf(stop)));
});

check("log-probabilities are given where asked for", async () => {
  const answer = await chats.create({
    model: MODEL, messages: HELLO, logprobs: true, top_logprobs: 2, max_completion_tokens: 6,
  });
  const content = answer.choices[0].logprobs?.content;
  assert.ok(content?.length > 0);
  assert.ok(content.every((token) => token.logprob <= 0 && token.top_logprobs.length === 2));
});

check("models are listed", async () => {
  const names = [];
  for await (const model of client.models.list()) names.push(model.id);
  assert.deepEqual(names.slice(0, 2), ["chat", "chat@v1"]);
});

check("a model is retrieved by its version", async () => {
  assert.equal((await client.models.retrieve("chat@v1")).id, "chat@v1");
});

check("errors are the client's own classes, with message, code and param", async () => {
  await assert.rejects(chats.create({ model: "gpt-4o", messages: HELLO }), (fault) => {
    assert.ok(fault instanceof OpenAI.NotFoundError);
    assert.equal(fault.code, "model_not_found");
    assert.equal(fault.param, "model");
    assert.match(fault.message, /gpt-4o/);
    return true;
  });
  await assert.rejects(chats.create({ model: MODEL, messages: HELLO, temperature: 9 }), (fault) => {
    assert.ok(fault instanceof OpenAI.BadRequestError);
    assert.equal(fault.param, "temperature");
    assert.equal(fault.type, "invalid_request_error");
    assert.ok(fault.requestID);
    return true;
  });
  const wrong = new OpenAI({ baseURL: `${URL_}/v1`, apiKey: "wrong", maxRetries: 0 });
  await assert.rejects(wrong.models.list(), OpenAI.AuthenticationError);
  const unserved = new OpenAI({ baseURL: `${URL_}/v1`, apiKey: KEY, maxRetries: 0 });
  await assert.rejects(unserved.embeddings.create({ model: MODEL, input: "x" }), (fault) => {
    assert.ok(fault instanceof OpenAI.APIError);
    assert.doesNotMatch(fault.message, /no body/);
    return true;
  });
});

check("an error before a stream is raised", async () => {
  await assert.rejects(
    chats.create({ model: MODEL, messages: HELLO, temperature: 9, stream: true }),
    OpenAI.BadRequestError,
  );
});

check("a love counts by the id of a whole answer", async () => {
  const user = newUser();
  const answer = await chats.create({ model: MODEL, messages: HELLO, user });
  await expectLoved(answer.id, user);
});

check("a love counts by the id of a stream", async () => {
  const user = newUser();
  const stream = await chats.create({ model: MODEL, messages: HELLO, user, stream: true });
  let id;
  for await (const chunk of stream) id = chunk.id;
  await expectLoved(id, user);
});

check("tools are named in a warning and refused in strict mode", async () => {
  const given = { model: MODEL, messages: HELLO, tools: [weather] };
  const { response } = await chats.create(given).withResponse();
  assert.match(response.headers.get("x-rluf-warnings") ?? "", /tools/);
  await assert.rejects(chats.create(given, strict), OpenAI.BadRequestError);
});

check("the responses API answers and streams", async () => {
  const user = newUser();
  const answer = await client.responses.create({ model: MODEL, input: "hello there", user });
  assert.equal(typeof answer.output_text, "string");
  const events = [];
  const stream = await client.responses.create({ model: MODEL, input: "hello", stream: true });
  for await (const event of stream) events.push(event.type);
  assert.equal(events[0], "response.created");
  assert.match(events.at(-1), /^response\.(completed|incomplete)$/);
  await expectLoved(answer.id, user);
});

check("the responses stream helper gives the final response", async () => {
  const stream = client.responses.stream({ model: MODEL, input: "hello there" });
  const final = await stream.finalResponse();
  assert.equal(final.object, "response");
});

check("the completions API answers and streams the same", async () => {
  const given = { model: MODEL, prompt: "hello there", max_tokens: 12, seed: 1 };
  const whole = (await client.completions.create(given)).choices[0].text;
  let text = "";
  for await (const chunk of await client.completions.create({ ...given, stream: true })) {
    text += chunk.choices[0]?.text ?? "";
  }
  assert.equal(text, whole);
});

check("an abandoned stream is closed and the next is answered", async () => {
  const stream = await chats.create({
    model: MODEL, messages: HELLO, stream: true, max_completion_tokens: 900,
  });
  for await (const _ of stream) break;
  await chats.create({ model: MODEL, messages: HELLO, max_completion_tokens: 4 });
});

check("an aborted request raises the client's own class", async () => {
  const leaving = new AbortController();
  const asked = chats.create(
    { model: MODEL, messages: HELLO, max_completion_tokens: 900 }, { signal: leaving.signal });
  setTimeout(() => leaving.abort(), 20);
  await assert.rejects(asked, OpenAI.APIUserAbortError);
});

check("a time-out raises the client's own class", async () => {
  await assert.rejects(
    chats.create({ model: MODEL, messages: HELLO, max_completion_tokens: 900 }, { timeout: 5 }),
    OpenAI.APIConnectionTimeoutError,
  );
});

await main();
