/* What the page shows: each section takes parts of the status and gives what stands under its
   heading. A section is drawn anew only where its parts have changed. */

const VERSIONS_SHOWN = 12;
const DEMO = "rluf demo";

/** The version's number in chat@12. */
function numberOf(policy) {
  return Number(policy.split("@").at(-1));
}

function drawLive({ live, service }) {
  if (live.length === 0) {
    return empty("Nothing is live yet. Register a policy and make it champion; until then chats are answered 503.");
  }
  const arms = live.map((arm) =>
    h("li", null,
      h("div", { class: "name" },
        h("h3", null, arm.policy, " ", h("span", { class: "soft" }, arm.arm)),
        h("span", { class: "share" }, whole(arm.share), h("small", null, " of users"))),
      h("progress", { max: 1, value: arm.share, "aria-label": `share of users of ${arm.arm}` }, whole(arm.share)),
      arm.recipe && arm.recipe !== arm.arm ? h("p", { class: "soft" }, arm.recipe) : null,
      because(arm.why),
      h("p", { class: "soft small" }, "live ", time(arm.since), `, by ${arm.who}`),
      arm.problem ? h("p", { class: "problem" }, `✕ It could not be loaded: ${arm.problem}`) : null));
  const serving = service.serving.map((row) => `${row.policy} as ${row.arm}`).join(", ");
  return [
    service.is_whole ? null
      : h("p", { class: "problem" }, `✕ This process does not serve all of it yet; it serves ${serving || "nothing"}.`),
    h("ul", { class: "arms" }, arms),
  ];
}

function drawLove({ love, live }, width) {
  const rows = love.filter((row) => row.rate !== null).sort((a, b) => numberOf(a.policy) - numberOf(b.policy));
  if (rows.length === 0) return empty("No reply has been shown yet, so nothing could be loved.");
  const arms = new Map((live ?? []).map((arm) => [arm.policy, arm.arm]));
  const told = rows.slice(-VERSIONS_SHOWN).map((row) => ({
    label: row.policy,
    note: arms.has(row.policy) ? `live: ${arms.get(row.policy)}` : "",
    rate: row.rate,
    isLive: arms.has(row.policy),
    row,
  }));
  return [
    rateChart(told, width, "Love rate per policy version"),
    table(["version", "loved", "shown", "users"], told.map(({ row }) =>
      [row.policy, count(row.num_loved), count(row.num_shown), count(row.num_users)])),
    rows.length > told.length ? h("p", { class: "soft small" }, `The ${told.length} newest of ${rows.length} versions.`) : null,
  ];
}

function drawFunnel({ funnel, signals }, width) {
  if (funnel.num_shown + funnel.num_reactions === 0) {
    return empty("No event has been stored yet. Each reply and each reaction will be counted here.");
  }
  const part = (number) => (funnel.num_shown ? `${share(number / funnel.num_shown)} of shown` : "");
  return [
    barChart([
      { label: "replies shown", amount: funnel.num_shown, note: `to ${plural(funnel.num_users, "user", "users")}` },
      { label: "reacted to", amount: funnel.num_reacted, note: part(funnel.num_reacted) },
      { label: "loved", amount: funnel.num_loved, note: part(funnel.num_loved), isHeart: true },
    ], width, "From replies shown to love"),
    signals.length === 0 ? null : table(["signal", "stands", "taken back", "mis-taps"],
      signals.map((row) => [row.signal, count(row.num_on), count(row.num_taken_back), count(row.num_mistaps)])),
  ];
}

function drawFallen({ funnel, signals, dead_letters: deadLetters }) {
  const fallen = [
    ["dead letters, kept with their reason", deadLetters.reduce((sum, row) => sum + row.num, 0)],
    ["events stored twice, counted once", funnel.num_duplicates],
    ["reactions to replies that were never shown", funnel.num_dangling],
    ["reactions by somebody else than the reader", funnel.num_elsewhere],
    ["replies set aside from learning", funnel.num_not_learnable],
    ["replies that a ruling of the guard leaves out", funnel.num_quarantined],
    ["mis-taps set aside", signals.reduce((sum, row) => sum + row.num_mistaps, 0)],
  ];
  if (fallen.every(([, number]) => number === 0)) return empty("Nothing fell out: no dead letter, no duplicate, no mis-tap.");
  return [
    table(["what", "events"], fallen.map(([name, number]) => [name, count(number)])),
    deadLetters.length === 0 ? null : table(["dead letters by reason", "events", "last"],
      deadLetters.map((row) => [row.reason, count(row.num), time(row.last_at)])),
  ];
}

function drawActivity({ activity }, width) {
  const minutes = (name) => activity.map((minute) => ({ ago: minute.minutes_ago, amount: minute[name] }));
  if (activity.every((minute) => minute.num_shown + minute.num_reactions === 0)) {
    return empty("Nothing came in during the last hour.");
  }
  return [
    minuteChart(minutes("num_shown"), width, "replies shown", false),
    minuteChart(minutes("num_reactions"), width, "reactions", true),
  ];
}

/** Only the last verdict of each gate on each version counts; newest versions stand first. */
function drawVerdicts({ verdicts }) {
  if (verdicts.length === 0) return empty("No gate has judged a version yet.");
  const policies = new Map();
  for (const verdict of verdicts) {
    const gates = policies.get(verdict.policy) ?? new Map();
    if (!gates.has(verdict.gate)) gates.set(verdict.gate, verdict);
    policies.set(verdict.policy, gates);
  }
  return h("ul", { class: "rows" }, [...policies].map(([policy, gates]) => {
    const order = ["refused", "undecided", "passed"];
    const rows = [...gates.values()].sort(
      (a, b) => order.indexOf(a.ruling) - order.indexOf(b.ruling));
    const count = (ruling) => rows.filter((row) => row.ruling === ruling).length;
    const refused = count("refused");
    const undecided = count("undecided");
    const words = refused
      ? `✕ refused by ${refused} of ${plural(rows.length, "gate", "gates")}`
      : undecided
        ? `? undecided by ${undecided} of ${plural(rows.length, "gate", "gates")}`
        : `✓ passed ${plural(rows.length, "gate", "gates")}`;
    return h("li", null,
      h("div", { class: "head" },
        h("h3", null, policy), h("span", { class: `pill ${refused ? "bad" : undecided ? "" : "good"}` }, words),
        h("span", { class: "soft" }, "judged ", time(rows[0].at))),
      h("ul", { class: "gates" }, rows.map((row) => {
        const why = objections(row);
        const measures = [...row.checks, ...row.informative];
        const tone = { passed: "good", refused: "bad", undecided: "undecided" }[row.ruling];
        return h("li", { class: row.ruling === "passed" ? null : row.ruling },
          h("span", { class: `gate ${tone}` }, row.gate.replaceAll("_", " ")),
          h("span", { class: "soft" }, ` ${row.ruling}`),
          why.length ? h("ul", null, why.map((reason) => h("li", null, reason))) : null,
          measures.length
            ? h("details", { "data-key": `${policy} ${row.gate}` },
                h("summary", null, plural(measures.length, "measure", "measures")), drawMeasures(measures))
            : null);
      })));
  }));
}

function drawHistory({ history, model }) {
  if (history.length === 0) return empty("Nothing has been made live yet.");
  return h("ol", { class: "rows" }, history.map((row) =>
    h("li", null,
      h("div", { class: "head" },
        row.what === "alias"
          ? h("span", null, h("b", null, row.alias), " ",
              row.to === null ? "taken away" : `→ ${model}@${row.to}`,
              row.from === null ? "" : `, was ${model}@${row.from}`)
          : h("span", { class: "chips" }, row.arms.length === 0 ? "no arms" : row.arms.map((arm) =>
              h("span", null, h("b", null, arm.arm), ` ${model}@${arm.number} `,
                h("span", null, whole(arm.share))))),
        h("span", { class: "soft" }, time(row.at))),
      row.experiment ? h("p", { class: "soft small" }, `experiment ${row.experiment}`) : null,
      because(row.why),
      h("p", { class: "soft small" }, `by ${row.who}`))));
}

function drawLineage({ lineage }) {
  if (lineage.length === 0) return empty("Nothing is live, so nothing has a past to tell.");
  const branch = (node) => h("li", null,
    h("b", null, node.ref), node.recipe ? h("span", { class: "soft" }, ` ${node.recipe}`) : null,
    h("div", null, h("code", null, `artifact ${node.artifact.hash.slice(0, 10)}`,
      node.snapshot ? ` · snapshot ${node.snapshot.hash.slice(0, 10)}, ${count(node.snapshot.num_rows)} rows` : "")),
    node.cut ? h("div", { class: "soft small" }, "older generations are left out") : null,
    node.parents.length ? h("ul", null, node.parents.map(branch)) : null);
  return h("ul", { class: "tree" }, lineage.map(branch));
}

const SECTIONS = [
  { id: "live", title: "What is live", kind: "wide", needsRegistry: true,
    why: "Which version answers which share of users, and why.", uses: ["live", "service"], draw: drawLive },
  { id: "love", title: "Love rate per version",
    why: "Loved share of all shown replies. Versions shown at different times met different users: only an experiment compares them fairly.",
    uses: ["love", "live"], draw: drawLove },
  { id: "funnel", title: "From reply to love",
    why: "Every stored event, each once; a reaction that was taken back no longer stands.",
    uses: ["funnel", "signals"], draw: drawFunnel },
  { id: "activity", title: "Coming in", kind: "wide", why: "Events by the minute in which they became known.",
    uses: ["activity"], draw: drawActivity },
  { id: "verdicts", title: "Last verdicts", kind: "wide", needsRegistry: true,
    why: "What each gate said last of each version; a refusal is stored like any other verdict.",
    uses: ["verdicts"], draw: drawVerdicts },
  { id: "history", title: "What was made live", kind: "wide", needsRegistry: true, why: "Newest first.",
    uses: ["history", "model"], draw: drawHistory },
  { id: "fallen", title: "What fell out on the way", kind: "short", why: "Nothing is dropped in silence.",
    uses: ["funnel", "signals", "dead_letters"], draw: drawFallen },
  { id: "lineage", title: "Where it comes from", kind: "short", needsRegistry: true,
    why: "What each live version was made of.", uses: ["lineage"], draw: drawLineage },
];

function drawTiles({ funnel, freshness, worker }) {
  const tile = (name, value, note) => h("div", null, h("dt", null, name), h("dd", null, value, h("small", null, note)));
  return [
    tile("replies shown", count(funnel.num_shown), `to ${plural(funnel.num_users, "user", "users")}`),
    tile("loved", count(funnel.num_loved),
      funnel.num_shown ? `${share(funnel.num_loved / funnel.num_shown)} of shown replies` : "nothing shown yet"),
    tile("reactions stored", count(funnel.num_reactions), "given or taken back"),
    tile("last reply", time(freshness.last_shown_at), "when it became known"),
    tile("last reaction", time(freshness.last_reaction_at), "when it became known"),
    worker ? tile("worker is behind", plural(worker.num_lagging, "event", "events"),
      `${count(worker.num_duplicates)} duplicates dropped since it started`) : null,
  ].filter((node) => node !== null);
}
