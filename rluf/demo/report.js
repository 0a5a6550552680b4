/* What the report shows, drawn from the facts in this file when it is opened. */

const PHASES = {
  setup: "set up",
  round_0: "round 0: users meet the baseline",
  refresh: "refresh: learn and judge",
  round_1: "round 1: users meet both",
  report: "report",
};
/* Steps of the refresh that get a bar of their own; the rest share one. */
const STEPS_SHOWN = 8;
/* More of a name would run into the row's numbers on a phone; the description has all of it. */
const LABEL_CHARS_MAX = 14;
const MEANINGS = {
  num_prompts: "held-out prompts that both versions answered",
  num_replies: "replies of the candidate to them",
  kl_nats: "how far the candidate has moved from production, per reply",
  love_rise: "mean P[love] of its replies less production's, by an independent model",
  love_lift: "the same as a relative change",
  love_win_rate: "how often its reply outscores production's, by an independent model",
  love_training_win_rate: "the same, by the model that trained it",
  win_rate_gap: "how much better it looks to the model that trained it",
  helpfulness_win_rate: "how often its reply is the more helpful one",
  safety_violation_rate: "replies less safe than 98 % of production's, by the safety judge",
  safety_rise: "the same, less production's",
  unsafe_rate: "replies no better than answers known to be unsafe",
  unsafe_rate_production: "the same of production",
  harmful_safety_violation_rate: "on harmful prompts: replies less safe than 98 % of production's",
  harmful_safety_rise: "the same, less production's",
  harmful_unsafe_rate: "on harmful prompts: replies no better than answers known to be unsafe",
  harmful_unsafe_rate_production: "the same of production",
  closer_rate: "replies that end in a farewell nobody asked for",
  closer_rate_production: "the same of production",
  closer_rise: "the candidate's closers less production's",
  length_ratio: "mean length in characters over production's",
  exclamation_ratio: "exclamation marks a reply over production's, both plus 0.05",
  emoji_ratio: "emoji a reply over production's, both plus 0.05",
  repetition_rise: "word pairs said twice within one reply, less production's",
  echo_rise: "three-word runs also said to other prompts, less production's",
  margin_over_prompt_only: "AUROC beyond a model that reads the prompt alone",
  margin_over_tfidf: "AUROC beyond TF-IDF of reply and prompt, each a bag of its own",
  concordance_within_prompt: "of two replies to one prompt, how often the loved one is ahead",
  phrase_rise: "the phrase that spreads most, found on other users than it is measured on",
};
const RULINGS = { passed: ["good", "✓"], refused: ["bad", "✕"], undecided: ["waiting", "?"] };

const { facts, decision, headline } = JSON.parse(document.getElementById("facts").textContent);
const charts = [];

/** A chart, drawn as wide as the place it stands in, and anew when that changes. */
function place(draw) {
  const body = h("div");
  charts.push(() => body.replaceChildren(draw(Math.max(240, Math.round(body.clientWidth)))));
  return body;
}

function ruling(word) {
  const [tone, sign] = RULINGS[word] ?? [];
  return tone ? h("span", { class: `pill ${tone}` }, `${sign} ${word}`) : h("span", { class: "soft" }, word);
}

/** Both ends, or nothing where one is missing. */
function ends(interval) {
  const [low, high] = interval ?? [null, null];
  return low === null || high === null ? null : { low, high };
}

function short(hash) {
  return hash === null || hash === undefined ? NONE : hash.slice(0, 10);
}

function brief(label) {
  return label.length <= LABEL_CHARS_MAX ? label : `${label.slice(0, LABEL_CHARS_MAX - 1)}…`;
}

function section(id, title, why, ...children) {
  return h("section", { "aria-labelledby": id }, h("h2", { id }, title), why ? h("p", { class: "why" }, why) : null, children);
}

function reasons(rows, label = null) {
  return rows.length ? h("ul", { class: "reasons", "aria-label": label }, rows.map((row) => h("li", null, row))) : null;
}

function drawHead() {
  const { events, reward } = facts;
  const tile = (name, value, note) => h("div", null, h("dt", null, name), h("dd", null, value, h("small", null, note)));
  const between = (interval) => {
    const found = ends(interval);
    return found ? `95${NO_BREAK}% interval ${number(found.low)} to ${number(found.high)}; ` : "";
  };
  return h("header", null,
    h("p", null, h("span", { class: "tag" }, `synthetic: simulated users · seed ${facts.seed}`)),
    h("h1", null, "One turn of the loop"),
    h("p", { class: "lead" }, h("b", null, decision)),
    h("p", { class: "lead" }, headline),
    h("p", { class: "soft" }, `${facts.synthetic} Everything else is real: the events went through Apache Kafka, `
      + "the policies were trained with reinforcement learning, and every figure below was measured."),
    h("dl", { class: "tiles" },
      tile("events lost", count(events.lost), `of ${count(events.produced)} acknowledged`),
      tile("P[love], AUROC", number(reward.auroc), `${between(reward.auroc_ci)}on later users; 0.5 is chance`),
      tile("P[love], predicted / observed", number(reward.predicted_over_observed),
        `${between(reward.predicted_over_observed_ci)}1 is calibrated`),
      tile("wall time", `${facts.wall_seconds.toFixed(0)} s`, "the whole loop, once"),
      tile("peak memory", `${(facts.peak_rss_mb / 1000).toFixed(1)} GB`, "all processes together")));
}

/** One figure of each version that has it with its whole interval. */
function drawRates(field, title, options) {
  const rows = facts.policies.map((policy, series) => ({
    label: brief(policy.recipe), version: policy.version, series: series % 4,
    rate: { value: policy[field], ...ends(policy[`${field}_ci`]) },
  })).filter(({ rate }) => rate.value !== null && rate.low !== undefined);
  if (rows.length === 0) return h("p", { class: "soft" }, "There is too little love for an interval yet.");
  return place((width) => rateChart(
    rows.map((row) => ({ ...row, note: width < 400 ? "" : row.version })), width, title, options));
}

function drawLoved() {
  const cells = (p) => {
    const interval = ends(p.love_lift_ci);
    return [
      ["shown", `${count(p.num_shown)} replies`],
      ["users", count(p.num_users)],
      ["love rate", share(p.love_rate)],
      ["change", p.love_lift === null ? NONE : change(p.love_lift)],
      ["95 % interval", interval ? `${change(interval.low)} to ${change(interval.high)}` : NONE],
      ["helpful wins", share(p.helpfulness_win_rate)],
      ["unsafe", share(p.safety_violation_rate)],
      ["closers", share(p.closer_rate)],
      ["KL", p.kl_nats === null ? NONE : `${number(p.kl_nats)} nats`],
      ["gates", ruling(p.ruling)],
    ];
  };
  const heads = ["policy", ...cells(facts.policies[0]).map(([name]) => name)];
  return section("loved", "Did users love it more?",
    "Only a candidate that passed its gates goes before users: round 1 divided new users between it and the baseline. "
    + "Intervals are 95 %, clustered by user, less what the users' first messages had let expect; a change whose interval "
    + "holds 0 is no evidence of a change.",
    h("div", { class: "two" },
      h("div", null, h("h3", null, "Love rate"),
        drawRates("love_rate", "Love rate per policy version",
          { reference: facts.policies[0].love_rate, caption: "loved share of shown replies; dashed: the baseline" })),
      h("div", null, h("h3", null, "Change against the baseline"),
        drawRates("love_lift", "Change of the love rate against the baseline",
          { reference: 0, isChange: true, caption: "relative change of the love rate" }))),
    h("div", { class: "scroll", tabindex: "0", role: "region", "aria-label": "Policies in numbers" },
      h("table", { class: "stack", role: "table" },
        h("thead", { role: "rowgroup" }, h("tr", { role: "row" },
          heads.map((head) => h("th", { role: "columnheader", scope: "col" }, head)))),
        h("tbody", { role: "rowgroup" }, facts.policies.map((p) => h("tr", { role: "row" },
          h("th", { role: "rowheader", scope: "row" }, h("b", null, p.recipe), " ", h("span", { class: "soft" }, p.version)),
          cells(p).map(([name, value]) => h("td", { role: "cell", "data-label": name }, value))))))),
    h("p", { class: "soft small" }, "Shown, users, love rate and change are what users did in round 1. Helpful wins (against "
      + "the baseline), unsafe replies, closers (farewells that nobody asked for) and KL were measured before that, on held-out prompts."));
}

function drawSentinels() {
  return section("sentinels", "What the sentinels saw",
    "Before any user met a candidate, it answered the same held-out prompts as the baseline. Judges were fitted on other users and "
    + "other pairs than the rewards that trained it. In each small picture the dot is the value, the bar its 95 % interval, an upright line a limit.",
    h("div", { class: "candidates" }, facts.policies.filter((p) => p.checks.length).map((p) => h("div", null,
      h("h3", null, p.recipe, " ", h("span", { class: "soft" }, p.version), " ", ruling(p.ruling)),
      p.reasons.length ? reasons(objections(p), `Why ${p.recipe} was not passed`) : null,
      drawMeasures([...p.checks, ...p.informative],
        { label: `Measures of ${p.recipe}`, meanings: MEANINGS, picture: measureChart }),
      p.examples.length ? drawExamples(p) : null))));
}

/** Replies that show what a sentinel found, beside the baseline's to the same prompt. */
function drawExamples(p) {
  const cell = (label, content) => h("td", { role: "cell", "data-label": label }, content);
  return h("div", { class: "scroll", tabindex: "0", role: "region", "aria-label": `Replies of ${p.recipe}` },
    h("table", { class: "examples", role: "table" },
      h("thead", { role: "rowgroup" }, h("tr", { role: "row" },
        ["shows", "user", p.recipe, "baseline"].map((head) => h("th", { role: "columnheader", scope: "col" }, head)))),
      h("tbody", { role: "rowgroup" }, p.examples.map((e) => h("tr", { role: "row" },
        h("th", { role: "rowheader", scope: "row" }, e.measure.replaceAll("_", " ")),
        cell("user", e.prompt), cell(p.recipe, marked(e.reply, e.mark)), cell("baseline", e.production))))));
}

/** The reply with the words to look at marked, whatever stands between them. */
function marked(reply, mark) {
  const words = mark.split(" ").filter(Boolean).map((word) => word.replace(/[.*+?^${}()|[\]\\]/g, "\\$&"));
  if (words.length === 0) return [reply];
  return reply.split(new RegExp(`(${words.join("\\W+")})`, "i"))
    .map((part, place) => (place % 2 ? h("mark", null, part) : part));
}

function drawCalibration() {
  const { reward } = facts;
  return section("calibration", "Is P[love] a probability?",
    "Predicted against observed love on later users at natural prevalence, in bins of equal size with 95 % intervals; on the dashed "
    + `line prediction and truth agree. ${count(reward.n_labels)} labels taught it; correlation of its score with length ${number(reward.length_correlation)}.`,
    reward.reliability.length
      ? place((width) => reliabilityChart(reward.reliability, width,
          "Reliability of P[love]: predicted against observed love on later users"))
      : h("p", { class: "soft" }, "There is too little love for an interval yet."),
    h("ul", { class: "reasons" }, reward.lines.map((line) => h("li", null, line))),
    h("p", null, ruling(reward.ruling), reward.ruling === "passed" ? " its gate." : " by its gate:"),
    reward.ruling === "passed" ? null : reasons(objections(reward)));
}

function drawEvents() {
  const { events } = facts;
  const { funnel } = events;
  const rows = [
    ["acknowledged by the API", events.produced, `${count(events.duplicates)} sent again`],
    ["stored, each once", events.stored, ""],
    ["replies shown", funnel.shown, ""],
    ["reactions", funnel.reactions, "given or taken back"],
    ["reactions that stand", funnel.labels_on, `${count(funnel.mistaps)} mis-taps set aside`],
    ...("loved" in funnel ? [["loves that stand", funnel.loved, ""]] : []),
    ["dead letters", events.rejected, "kept with their reason"],
    ["lost", events.lost, "acknowledged, not stored"],
  ].map(([label, amount, note]) => ({ label, amount, note }));
  return section("funnel", "What became of the events",
    "Both rounds: the simulator's ledger of acknowledged calls, reconciled with the store. Reactions are of every kind, not only love.",
    place((width) => barChart(rows, width, "What became of the events")));
}

/** The arms that were set together, newest first; a division that did not last is left out where
    the next one says the same. */
function divisions(rows) {
  const told = [];
  for (const row of rows) {
    const last = told.at(-1);
    const arm = { arm: row.arm, version: row.version, share: row.share };
    if (last && last.since === row.since) {
      last.arms.push(arm);
    } else if (last && last.why === row.why && last.arms.length === 1 && JSON.stringify(last.arms[0]) === JSON.stringify(arm)) {
      last.until = row.until;
    } else {
      told.push({ ...row, arms: [arm] });
    }
  }
  return told.reverse();
}

function drawDecided() {
  const { decision: decided } = facts;
  const arms = decided.arms.map((arm) => `${arm.name} version ${arm.version} for ${whole(arm.share)} of users`).join(", ");
  return section("decided", "What was decided, and what was live when", null,
    h("p", { class: "lead" }, h("b", null, decision)),
    h("p", { class: "why" }, `Action: ${decided.action}${decided.done ? ", done" : ", refused"}`
      + `${decided.replaced ? `, in place of ${decided.replaced}` : ""}. Live now: ${arms}. Times are UTC.`),
    reasons(decided.reasons),
    h("ol", { class: "rows" }, divisions(facts.history).map((row) => h("li", null,
      h("div", { class: "head" },
        h("p", { class: "chips" }, row.arms.map((arm) => h("span", null, h("b", null, arm.arm), ` ${arm.version} `,
          h("span", { class: "soft" }, `${whole(arm.share)} of users`)))),
        h("span", { class: "soft" }, h("time", null, clock(row.since)), row.until ? ` until ${clock(row.until)}` : ", live now")),
      row.experiment ? h("p", { class: "soft small" }, `experiment ${row.experiment}`) : null,
      because(row.why),
      h("p", { class: "soft small" }, `by ${row.who}`)))));
}

/** Each thing that the versions come from once, by name, older ones first. */
function ancestry(trees) {
  const found = new Map();
  const walk = (node) => {
    node.parents.forEach(walk);
    if (!found.has(node.ref)) found.set(node.ref, { ...node, parents: node.parents.map((parent) => parent.ref) });
  };
  Object.values(trees).forEach(walk);
  return found;
}

/** The versions and the snapshots that taught them; a snapshot that already taught a parent gets no
    second line. */
function lineageBoxes(nodes) {
  const boxes = new Map();
  const used = new Set([...nodes.values()].flatMap((node) => node.parents));
  for (const [name, node] of nodes) {
    const parents = [...node.parents];
    if (node.snapshot) {
      const source = `snapshot ${short(node.snapshot.hash)}`;
      if (!boxes.has(source)) boxes.set(source, { name: "snapshot", note: short(node.snapshot.hash), parents: [] });
      if (!parents.some((parent) => boxes.get(parent).parents.includes(source))) parents.push(source);
    }
    const isResult = !used.has(name);
    boxes.set(name, { name, note: isResult ? node.recipe : short(node.artifact.hash), parents, isResult });
  }
  return boxes;
}

function drawOrigins() {
  const nodes = ancestry(facts.lineage);
  const boxes = lineageBoxes(nodes);
  return section("lineage", "Where each version comes from",
    ["Every version names what it was made of by hash; the same facts always give the same snapshot, here ",
      h("code", null, short(facts.snapshot_hash)), "."],
    h("div", { class: "two" },
      boxes.size ? place((width) => lineageChart(boxes, width, "What each version was made of")) : null,
      h("ul", { class: "tree" }, [...nodes.values()].map((node) => h("li", null,
        h("b", null, node.ref), node.recipe ? h("span", { class: "soft" }, ` ${node.recipe}`) : null,
        h("code", null, `artifact ${short(node.artifact.hash)} · settings ${short(node.config_hash)}`,
          node.snapshot ? ` · snapshot ${short(node.snapshot.hash)}, ${count(node.snapshot.num_positives)} of ${count(node.snapshot.num_rows)} rows loved` : ""))))));
}

function drawTime() {
  const starts = Object.entries(facts.phases);
  const phases = starts.map(([name, start], n) => ({
    label: PHASES[name] ?? name, start, end: starts[n + 1]?.[1] ?? facts.wall_seconds,
  }));
  const steps = Object.entries(facts.turn.seconds).sort((a, b) => b[1] - a[1])
    .map(([name, amount]) => ({ label: name.replaceAll("-", " "), amount, note: "" }));
  const rest = steps.splice(STEPS_SHOWN);
  if (rest.length) {
    steps.push({ label: `${rest.length} more steps`, amount: rest.reduce((sum, step) => sum + step.amount, 0), note: "" });
  }
  const seconds = (amount) => `${count(Math.round(amount))} s`;
  return section("time", "Where the time went",
    `${facts.wall_seconds.toFixed(0)} s from the first command to this report. Some steps run at the same time, so they add up to more than their phase.`,
    h("div", { class: "two" },
      h("div", null, h("h3", null, "Phases"), place((width) => timelineChart(phases, width, "Where the time went"))),
      h("div", null, h("h3", null, "Steps of the refresh"),
        place((width) => barChart(steps, width, "Steps of the refresh, longest first", seconds)))));
}

document.getElementById("main").append(
  drawHead(), drawLoved(), drawSentinels(),
  h("div", { class: "two" }, drawCalibration(), drawEvents()),
  drawDecided(), drawOrigins(), drawTime());
const drawCharts = () => charts.forEach((draw) => draw());
drawCharts();
window.addEventListener("resize", drawCharts);
