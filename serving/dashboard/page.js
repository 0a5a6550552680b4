/* The loop: ask, show, wait, ask again. What was last heard stays on the page when the API is gone. */

const POLL_MS = 3000;
const ANSWER_MS = 10000;
const KEY = "rluf-key";

const byId = (id) => document.getElementById(id);
const drawn = new Map();
let last = null;

/** The key lives in this tab; where storage is forbidden, it lives as long as the page. */
const key = {
  held: "",
  read() {
    try { return sessionStorage.getItem(KEY) ?? key.held; } catch { return key.held; }
  },
  write(value) {
    key.held = value;
    try { sessionStorage.setItem(KEY, value); } catch { /* It is held above. */ }
  },
};

function notice(...paragraphs) {
  return h("div", { class: "notice bad" }, paragraphs.map((words) => h("p", null, words)));
}

function showNotices(...notices) {
  const told = notices.map((node) => node.textContent).join("\n");
  if (drawn.get("notices") === told) return;
  drawn.set("notices", told);
  byId("notices").replaceChildren(...notices);
}

function showHealth(kind, words) {
  const pill = byId("health");
  if (pill.textContent !== words) pill.textContent = words;
  pill.className = `pill ${kind}`;
}

function makeSections() {
  byId("sections").append(...SECTIONS.map((section) =>
    h("section", { class: section.kind, "aria-labelledby": section.id },
      h("h2", { id: section.id }, section.title),
      h("p", { class: "why" }, section.why),
      h("div", { id: `${section.id}-body` }, empty("Waiting for the API.")))));
}

function showSection(section, status) {
  const body = byId(`${section.id}-body`);
  const parts = Object.fromEntries(section.uses.map((name) => [name, status[name]]));
  const width = Math.round(body.clientWidth);
  const seen = JSON.stringify([parts, width, status.registry_error]);
  if (drawn.get(section.id) === seen) return;
  drawn.set(section.id, seen);
  const open = new Set([...body.querySelectorAll("details[open]")].map((node) => node.dataset.key));
  const nodes = status.registry_error && section.needsRegistry
    ? empty("Not known while the registry cannot be read.")
    : section.draw(parts, width);
  body.replaceChildren(...[nodes].flat(Infinity).filter((node) => node !== null));
  for (const node of body.querySelectorAll("details[data-key]")) node.open = open.has(node.dataset.key);
}

function isOfDemo(status) {
  return [...(status.live ?? []), ...(status.history ?? [])].some((row) => row.who === DEMO);
}

function show(status) {
  last = status;
  byId("key-form").hidden = true;
  byId("model").textContent = status.model;
  const synthetic = byId("synthetic");
  synthetic.hidden = !isOfDemo(status);
  synthetic.textContent = "synthetic: users simulated by rluf demo";
  const { is_ready: isReady, reasons, warnings } = status.service;
  showHealth(isReady ? "good" : "bad", isReady ? "✓ ready" : "✕ not ready");
  byId("as-of").textContent = `as of ${clock(status.generated_at)} UTC`;
  showNotices(
    ...(status.registry_error ? [notice(`The registry cannot be read: ${status.registry_error}`,
      "What the store knows is shown; what is live and why is not.")] : []),
    ...(!isReady && !status.registry_error ? [notice("Not ready:", ...reasons)] : []),
    ...(warnings.length ? [notice("Answers are given, but:", ...warnings)] : []),
  );
  byId("tiles").hidden = false;
  byId("tiles").replaceChildren(...drawTiles(status));
  for (const section of SECTIONS) showSection(section, status);
  keepTimes(document, status.generated_at);
}

function showTrouble(health, words) {
  showHealth("bad", health);
  const heard = last ? `Below is what was known at ${clock(last.generated_at)} UTC.` : "Nothing has been heard from it yet.";
  showNotices(notice(words, `${heard} Asking again every 3 seconds.`));
}

async function ask() {
  const headers = key.read() ? { authorization: `Bearer ${key.read()}` } : {};
  let response;
  let body;
  try {
    response = await fetch("v1/status", { headers, cache: "no-store", signal: AbortSignal.timeout(ANSWER_MS) });
    body = await response.json();
  } catch {
    showTrouble("✕ no answer", response ? `The API answered ${response.status} with something that is no JSON.` : "The API does not answer.");
    return;
  }
  if (response.status === 401) {
    showHealth("bad", "✕ no key");
    showNotices(...(key.read() ? [notice("The API did not take this key.")] : []));
    byId("key-form").hidden = false;
  } else if (!response.ok) {
    showTrouble("✕ no status", `The API answered ${response.status}: ${body.error?.message ?? body.detail ?? "no reason given"}`);
  } else {
    show(body);
  }
}

let isAsking = false;
let timer = 0;

async function turn() {
  clearTimeout(timer);
  if (!isAsking && !document.hidden) {
    isAsking = true;
    try { await ask(); } finally { isAsking = false; }
  }
  timer = setTimeout(turn, POLL_MS);
}

makeSections();
byId("key-form").addEventListener("submit", (event) => {
  event.preventDefault();
  key.write(byId("key").value.trim());
  byId("key").value = "";
  turn();
});
document.addEventListener("visibilitychange", () => { if (!document.hidden) turn(); });
window.addEventListener("resize", () => {
  if (last) { SECTIONS.forEach((section) => showSection(section, last)); keepTimes(document, last.generated_at); }
});
turn();
