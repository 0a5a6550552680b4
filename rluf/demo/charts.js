/* Charts that only the report has. */

const BAR_ROW = 46;

/** Observed against predicted, in bins of {predicted, observed, low, high, num_rows}. The axes share
    one unit but not one length: predictions that crowd together are drawn apart, and the dashed line
    says where they would equal what was observed. */
function reliabilityChart(bins, width, title) {
  const [left, top, right, height] = [64, 12, width - 14, 330];
  const floor = height - 46;
  const xMost = Math.max(0.02, ...bins.map((b) => b.predicted)) * 1.08;
  const yMost = Math.max(0.05, ...bins.flatMap((b) => [b.observed, b.high])) * 1.06;
  const x = (value) => left + Math.min(value / xMost, 1) * (right - left);
  const y = (value) => floor - Math.min(value / yMost, 1) * (floor - top);
  const rows = ticks(0, yMost, 5);
  const columns = ticks(0, xMost, width < 420 ? 4 : 5);
  const rowWords = tickWords(rows);
  const columnWords = tickWords(columns);
  const end = Math.min(xMost, yMost);
  const middle = (floor + top) / 2;
  return chart(
    width, height, title,
    bins.map((b) => `predicted ${share(b.predicted)}, observed ${share(b.observed)}`
      + ` (${share(b.low)} to ${share(b.high)}) of ${b.num_rows} replies`).join("; "),
    rows.map((tick, n) => [
      line(left, y(tick), right, y(tick), "grid"), text(left - 8, y(tick) + 4, "tick", "end", rowWords[n]),
    ]),
    columns.map((tick, n) => text(x(tick), floor + 18, "tick", "middle", columnWords[n])),
    line(x(0), y(0), x(end), y(end), "reference"),
    bins.map((b) => [
      line(x(b.predicted), y(b.low), x(b.predicted), y(b.high), "whisker thin s1"),
      mark(x(b.predicted), y(b.observed), 1),
    ]),
    text((left + right) / 2, height - 6, "tick", "middle", "predicted P[love]"),
    s("text", { x: 13, y: middle, class: "tick", "text-anchor": "middle", transform: `rotate(-90 13 ${middle})` },
      "observed love rate"),
  );
}

/** What took how long, one under the other on one clock: rows of {label, start, end}, in seconds. */
function timelineChart(rows, width, title) {
  const height = BAR_ROW * rows.length + 40;
  const bottom = height - 40;
  const total = Math.max(1, ...rows.map((r) => r.end));
  const x = (seconds) => (seconds / total) * width;
  const anchor = (at) => (at < 24 ? "start" : at > width - 34 ? "end" : "middle");
  const told = (r) => `${count(Math.round(r.end - r.start))} s`;
  return chart(
    width, height, title, rows.map((r) => `${r.label}: ${told(r)}`).join("; "),
    ticks(0, total, 5).map((tick) => [
      line(x(tick), bottom, x(tick), bottom + 5, "axis"),
      text(x(tick), bottom + 19, "tick", anchor(x(tick)), `${count(tick)} s`),
    ]),
    line(0, bottom, width, bottom, "axis"),
    text(width / 2, height - 4, "tick", "middle", "seconds since the start"),
    rows.map((r, n) => [
      text(0, BAR_ROW * n + 17, "label", "start", r.label),
      text(width, BAR_ROW * n + 17, "value", "end", `${told(r)} · ${share((r.end - r.start) / total, 0)}`),
      bar(0, BAR_ROW * n + 25, width, "trough"),
      bar(x(r.start), BAR_ROW * n + 25, Math.max(x(r.end) - x(r.start), 2), "bar"),
    ]),
  );
}

function bar(x, y, width, kind) {
  return s("rect", { x, y, width, height: 10, rx: 5, class: kind });
}

/** One measure drawn small: mark, interval, and its limits as upright lines. It repeats the row of
    the table that it stands in, so screen readers pass it over. */
function measureChart({ value, low, high, allowed_low: least = null, allowed_high: most = null }) {
  if (value === null) return null;
  const [width, height, side] = [132, 22, 7];
  const limits = [least, most].filter((limit) => limit !== null);
  const isWhole = low !== null && high !== null;
  const ends = [value, ...limits, ...(isWhole ? [low, high] : [])];
  const pad = (Math.max(...ends) - Math.min(...ends)) * 0.08 || 0.01;
  const start = Math.min(...ends) - pad;
  const scale = (width - 2 * side) / (Math.max(...ends) + pad - start);
  const x = (at) => side + (at - start) * scale;
  const y = height / 2;
  return s(
    "svg", { viewBox: `0 0 ${width} ${height}`, width, height, class: "small-chart", "aria-hidden": "true", focusable: "false" },
    line(side, y, width - side, y, "rail"),
    limits.map((limit) => line(x(limit), 2, x(limit), height - 2, "limit")),
    isWhole ? line(x(low), y, x(high), y, "whisker") : null,
    s("circle", { cx: x(value), cy: y, r: 4.2, class: "mark" }),
  );
}

/** What each thing was made of, oldest on the left. `boxes`: key to {name, note, parents, isResult},
    parents before their children. */
function lineageChart(boxes, width, title) {
  const columns = inColumns(boxes);
  const [gap, tall, step] = [width < 420 ? 22 : 40, 44, 58];
  const wide = (width - 2 - gap * (columns.length - 1)) / columns.length;
  const height = step * (Math.max(...columns.map((keys) => keys.length)) - 1) + tall + 4;
  const places = new Map(columns.flatMap((keys, number) => keys.map((key, row) => {
    const top = (height - (step * (keys.length - 1) + tall)) / 2;
    return [key, { x: 1 + number * (wide + gap), y: top + row * step }];
  })));
  const edge = (parent, key) => {
    const [from, to] = [places.get(parent), places.get(key)];
    const [x1, y1, y2] = [from.x + wide, from.y + tall / 2, to.y + tall / 2];
    const bend = (x1 + to.x) / 2;
    return s("path", { d: `M${x1} ${y1}C${bend} ${y1} ${bend} ${y2} ${to.x} ${y2}`, class: "edge" });
  };
  return chart(
    width, height, title,
    [...boxes].map(([key, box]) => `${key} comes from ${box.parents.join(", ") || "nothing older"}`).join("; "),
    [...boxes].flatMap(([key, box]) => box.parents.map((parent) => edge(parent, key))),
    [...boxes].map(([key, box]) => {
      const { x, y } = places.get(key);
      return [
        s("rect", { x, y, width: wide, height: tall, rx: 6, class: box.isResult ? "box result" : "box" }),
        text(x + wide / 2, y + 19, "label", "middle", box.name),
        text(x + wide / 2, y + 35, "note", "middle", box.note),
      ];
    }),
  );
}

/** The keys of each column: a box stands as far right as what was made of it allows, so that lines
    are short. */
function inColumns(boxes) {
  const depth = (key) => 1 + Math.max(-1, ...boxes.get(key).parents.map(depth));
  const last = Math.max(0, ...[...boxes.keys()].map(depth));
  const column = new Map();
  for (const key of [...boxes.keys()].sort((a, b) => depth(b) - depth(a))) {
    const made = [...boxes].filter(([, box]) => box.parents.includes(key)).map(([other]) => column.get(other));
    column.set(key, made.length ? Math.min(...made) - 1 : last);
  }
  return Array.from({ length: last + 1 }, (_, n) => [...boxes.keys()].filter((key) => column.get(key) === n));
}
