/* Parts that the page and the report of the demo show alike. */

function empty(words) {
  return h("p", { class: "empty" }, words);
}

/** A reason and, folded away, what it was forced past. */
function because(why) {
  const [plain, forced] = why.replace(/\)$/, "").split(" (forced: ");
  if (!forced) return h("p", null, why);
  return [
    h("p", null, plain),
    h("details", { "data-key": forced }, h("summary", null, "Forced past its gates: what they said"), h("p", null, forced)),
  ];
}

function table(heads, rows) {
  return h("table", null,
    h("thead", null, h("tr", null, heads.map((head) => h("th", { scope: "col" }, head)))),
    h("tbody", null, rows.map(([name, ...cells]) =>
      h("tr", null, h("th", { scope: "row" }, name), cells.map((cell) => h("td", null, cell))))));
}

/** A table of checks, and of measures of which nothing is asked. `meanings` says of a measure's
    name what it is; `picture` draws one measure small. */
function drawMeasures(measures, { label = null, meanings = {}, picture = null } = {}) {
  const heads = ["measure", "value", "95 % interval", "limit", "outcome"];
  if (picture) heads.splice(3, 0, "picture");
  return h("table", { class: "measures", role: "table", "aria-label": label },
    h("thead", { role: "rowgroup" }, h("tr", { role: "row" },
      heads.map((head) => h("th", { scope: "col", role: "columnheader", class: head }, head)))),
    h("tbody", { role: "rowgroup" }, measures.map((measure) => {
      const told = tell(measure);
      const meaning = meanings[measure.name];
      const mark = { kept: "✓", broken: "✕", undecided: "?", informs: "·" }[told.outcome];
      return h("tr", { class: told.outcome, role: "row" },
        h("th", { scope: "row", role: "rowheader", class: "name" }, told.name, meaning ? h("small", null, meaning) : null),
        h("td", { role: "cell", class: "value" }, h("b", null, told.value)),
        h("td", { role: "cell", class: told.interval === NONE ? "interval none" : "interval" }, told.interval),
        picture ? h("td", { role: "cell", class: "picture" }, picture(measure)) : null,
        h("td", { role: "cell", class: "limit" }, told.limit),
        h("td", { role: "cell", class: "outcome" }, `${mark} ${told.outcome}`));
    })));
}

/** Why a check was not kept, in one sentence. */
function objection(check) {
  const told = tell(check);
  const between = told.interval === NONE ? "" : ` (${told.interval})`;
  const sentence = `${told.name} is ${told.value}${between}, allowed is ${told.limit}`;
  if (told.outcome !== "undecided") return sentence;
  return `${sentence}: not enough evidence${told.needed ? `, ${told.needed}` : ""}`;
}

/** Broken checks first, then undecided ones; of a verdict of an older program, its own words. */
function objections({ checks, reasons }) {
  if (checks.length === 0) return reasons;
  const left = checks.filter((check) => check.outcome !== "kept");
  return left.sort((a, b) => Number(b.outcome === "broken") - Number(a.outcome === "broken"))
    .map(objection);
}
