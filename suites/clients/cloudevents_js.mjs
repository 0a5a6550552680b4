// The CloudEvents SDK in JavaScript, over HTTP.
import assert from "node:assert/strict";
import { randomUUID } from "node:crypto";
import { CloudEvent, HTTP } from "cloudevents";
import { check, features, HELLO, main, MODEL, newUser, send, waitFor } from "./checks.mjs";

async function answered(user) {
  const said = await send("/v1/chat/completions",
    { model: MODEL, messages: HELLO, user, max_completion_tokens: 4 });
  return (await said.json()).id;
}

const reaction = (responseId, user) =>
  ({ response_id: responseId, user_id: user, signal: "love", action: "add" });

const event = (data, changed = {}) =>
  new CloudEvent({ type: "rluf.reaction.v1", source: "/suites/js", data, ...changed });

const post = ({ headers, body }) => send("/v1/events", body, { headers, method: "POST" });

const counts = (user) =>
  waitFor(async () => (await features(user)).num_love === 1, () => features(user));

for (const mode of ["structured", "binary"]) {
  check(`a ${mode} event counts`, async () => {
    const user = newUser();
    const said = await post(HTTP[mode](event(reaction(await answered(user), user))));
    assert.equal(said.status, 202, await said.text());
    await counts(user);
  });
}

check("an event with bytes as data counts", async () => {
  const user = newUser();
  const bytes = Buffer.from(JSON.stringify(reaction(await answered(user), user)));
  const made = event(bytes, { datacontenttype: "application/json" });
  const said = await post(HTTP.structured(made));
  assert.equal(said.status, 202, await said.text());
  await counts(user);
});

check("a retried event is one reaction", async () => {
  const user = newUser();
  const message = HTTP.structured(event(reaction(await answered(user), user)));
  for (let turn = 0; turn < 3; turn++) assert.equal((await post(message)).status, 202);
  await counts(user);
});

check("extensions pass", async () => {
  const user = newUser();
  const made = event(reaction(await answered(user), user), { myext: "x", partitionkey: "p" });
  assert.equal((await post(HTTP.binary(made))).status, 202);
  await counts(user);
});

check("an exposure of another system counts", async () => {
  const user = newUser();
  const response = `theirs-${randomUUID()}`;
  const shown = { response_id: response, conversation_id: "c", user_id: user, policy: "theirs@1",
    messages: HELLO, response: "hello" };
  assert.equal((await post(HTTP.binary(event(shown, { type: "rluf.response.shown.v1" })))).status, 202);
  assert.equal((await post(HTTP.structured(event(reaction(response, user))))).status, 202);
  await counts(user);
});

check("what would be dead-lettered is refused before", async () => {
  for (const data of [{}, reaction("", "u"), reaction("r", " ")]) {
    const said = await post(HTTP.structured(event(data)));
    assert.ok(said.status >= 400 && said.status < 500, `${said.status}`);
  }
});

await main();
