// What every suite in JavaScript is made of: the same as checks.py, for Node.
import assert from "node:assert/strict";
import { randomUUID } from "node:crypto";

export const URL_ = process.env.SUITES_URL;
export const KEY = process.env.SUITES_KEY;
export const MODEL = "chat";
export const HELLO = [{ role: "user", content: "hello there" }];
const SOON_MS = 60_000; // Only a check that fails waits so long.
const checks = [];

export const check = (name, run) => checks.push([name, run]);
export const newUser = () => `user-${randomUUID().slice(0, 12)}`;

export async function send(path, body, { method, headers } = {}) {
  return fetch(URL_ + path, {
    method: method ?? (body === undefined ? "GET" : "POST"),
    headers: { authorization: `Bearer ${KEY}`, "content-type": "application/json", ...headers },
    body: body === undefined || typeof body === "string" ? body : JSON.stringify(body),
  });
}

export async function features(user) {
  const said = await send(`/v1/features/users/${user}`);
  return said.status === 200 ? (await said.json()).features : {};
}

export async function waitFor(isSo, seen = () => "") {
  const until = Date.now() + SOON_MS;
  while (!(await isSo())) {
    if (Date.now() > until) {
      throw new Error(`it did not come to be; seen: ${JSON.stringify(await seen())}`);
    }
    await new Promise((done) => setTimeout(done, 200));
  }
}

export async function expectLoved(responseId, user) {
  const body = { response_id: responseId, signal: "love", actor_id: user };
  const said = await send("/v1/feedback", body, { headers: { "idempotency-key": randomUUID() } });
  assert.equal(said.status, 202, await said.text());
  await waitFor(async () => (await features(user)).num_love === 1, () => features(user));
}

export async function main() {
  for (const [name, run] of checks) {
    const began = Date.now();
    let outcome = "passed";
    let why = "";
    try {
      await run();
    } catch (fault) {
      outcome = "failed";
      why = `${fault?.name}: ${fault?.message}`.slice(0, 700);
    }
    console.log(JSON.stringify({ check: name, outcome, why, s: (Date.now() - began) / 1000 }));
  }
  process.exit(0);
}
