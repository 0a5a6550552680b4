/* Charts drawn at the width they are shown at, so their text has one size on every screen. */

const EDGE = 24;

function ticks(low, high, about) {
  const raw = (high - low) / about;
  const power = 10 ** Math.floor(Math.log10(raw));
  const step = [1, 2, 2.5, 5, 10].map((m) => m * power).find((size) => size >= raw);
  const found = [];
  for (let n = Math.ceil(low / step - 1e-9); n * step <= high + 1e-9; n += 1) found.push(n * step + 0); // -0 + 0 is 0.
  return found;
}

function chart(width, height, title, description, ...children) {
  return s(
    "svg",
    { viewBox: `0 0 ${width} ${height}`, role: "img", class: "chart", "aria-label": title },
    s("title", null, title), s("desc", null, description), ...children,
  );
}

function line(x1, y1, x2, y2, kind) {
  return s("line", { x1, y1, x2, y2, class: kind });
}

function text(x, y, kind, anchor, ...words) {
  return s("text", { x, y, class: kind, "text-anchor": anchor }, ...words);
}

/** Numbers under an axis, with no more digits than their neighbours need. */
function tickWords(scale, isChange = false) {
  const fits = (digits) => scale.every((t) => Math.abs(t * 100 - Number((t * 100).toFixed(digits))) < 1e-6);
  const digits = [0, 1, 2].find(fits) ?? 3;
  return scale.map((t) => (isChange && Math.abs(t) > 1e-9 ? change(t, digits) : share(Math.abs(t) < 1e-9 ? 0 : t, digits)));
}

/** Circle, square, triangle, diamond: versions are never told apart by colour alone. */
function mark(x, y, series) {
  const kind = `mark s${series}`;
  const points = {
    2: `${x},${y - 7} ${x + 7},${y + 5.5} ${x - 7},${y + 5.5}`,
    3: `${x},${y - 7} ${x + 7},${y} ${x},${y + 7} ${x - 7},${y}`,
  }[series];
  if (points) return s("polygon", { points, class: kind });
  return series === 1
    ? s("rect", { x: x - 5.5, y: y - 5.5, width: 11, height: 11, rx: 1, class: kind })
    : s("circle", { cx: x, cy: y, r: 5.5, class: series === 0 ? kind : "mark" });
}

/** Rates, or changes of them, with intervals: rows of {label, note, rate: {value, low, high}} and
    either isLive (a filled mark, and a word in the note) or series (0 to 3: a mark of its own).
    `reference` gets a dashed line. */
function rateChart(rows, width, title, { reference = null, isChange = false, caption = "" } = {}) {
  const row = 52;
  const axis = caption ? 50 : 30;
  const say = isChange ? change : share;
  const ends = rows.flatMap((r) => [r.rate.low, r.rate.value, r.rate.high]).concat(reference ?? []);
  const pad = (Math.max(...ends) - Math.min(...ends)) * 0.08 || 0.01;
  const least = isChange ? Math.min(...ends) - pad : 0;
  const most = isChange ? Math.max(...ends) + pad : Math.min(1, Math.max(0.01, ...ends) * 1.05);
  const height = row * rows.length + axis;
  const bottom = height - axis;
  const x = (value) => EDGE + ((value - least) / (most - least)) * (width - 2 * EDGE);
  const told = (r) => `${say(r.rate.value)} (${say(r.rate.low)} to ${say(r.rate.high)})`;
  const scale = ticks(least, most, width < 420 ? 4 : 6);
  const words = tickWords(scale, isChange);
  return chart(
    width, height, title, rows.map((r) => `${r.label}: ${told(r)}`).join("; "),
    line(EDGE, bottom, width - EDGE, bottom, "axis"),
    scale.map((tick, index) => [
      line(x(tick), bottom, x(tick), bottom + 5, "axis"),
      text(x(tick), bottom + 20, "tick", "middle", words[index]),
    ]),
    caption ? text(width / 2, height - 4, "tick", "middle", caption) : null,
    rows.map((r, number) => {
      const y = row * number + 36;
      const kind = r.series === undefined ? "whisker" : `whisker s${r.series}`;
      return s(
        "g", { class: r.isLive ? "live" : null },
        text(0, y - 19, "label", "start", r.label, " ", s("tspan", { class: "note", dx: 4 }, r.note)),
        text(width, y - 19, "value", "end", told(r)),
        line(EDGE, y, width - EDGE, y, "rail"),
        reference === null ? null : line(x(reference), y - 11, x(reference), y + 11, "reference"),
        line(x(r.rate.low), y, x(r.rate.high), y, kind),
        [r.rate.low, r.rate.high].map((edge) => line(x(edge), y - 6, x(edge), y + 6, kind)),
        mark(x(r.rate.value), y, r.series),
      );
    }),
  );
}

/** Amounts from one zero: rows of {label, amount, note, isHeart}; `say` puts an amount into words. */
function barChart(rows, width, title, say = count) {
  const row = 46;
  const most = Math.max(1, ...rows.map((r) => r.amount));
  return chart(
    width, row * rows.length, title,
    rows.map((r) => `${r.label}: ${say(r.amount)} ${r.note}`).join("; "),
    rows.map((r, number) => {
      const y = row * number;
      return [
        text(0, y + 17, "label", "start", r.label, " ", s("tspan", { class: "note", dx: 4 }, r.note)),
        text(width, y + 17, "value", "end", say(r.amount)),
        s("rect", { x: 0, y: y + 25, width, height: 10, rx: 5, class: "trough" }),
        r.amount
          ? s("rect", {
              x: 0, y: y + 25, width: Math.max(3, (r.amount / most) * width), height: 10,
              rx: 5, class: r.isHeart ? "bar heart" : "bar",
            })
          : null,
      ];
    }),
  );
}

/** One column a minute, oldest on the left: `minutes` of {ago, amount}. */
function minuteChart(minutes, width, title, isHeart) {
  const isNarrow = width < 480;
  const top = isNarrow ? 40 : 26;
  const floor = top + 62;
  const height = floor + 30;
  const most = Math.max(1, ...minutes.map((m) => m.amount));
  const total = minutes.reduce((sum, m) => sum + m.amount, 0);
  const step = width / minutes.length;
  const peak = `${count(total)} in the last hour, at most ${count(most)} a minute`;
  return chart(
    width, height, title, peak,
    text(0, 14, "label", "start", title),
    isNarrow ? text(0, 31, "note", "start", peak) : text(width, 14, "note", "end", peak),
    line(0, floor, width, floor, "axis"),
    minutes.map((m, index) => {
      const tall = (m.amount / most) * (floor - top);
      return m.amount
        ? s("rect", {
            x: (index * step + 0.5).toFixed(2), y: (floor - Math.max(2, tall)).toFixed(2),
            width: Math.max(1, step - 1).toFixed(2), height: Math.max(2, tall).toFixed(2),
            class: isHeart ? "bar heart" : "bar",
          })
        : null;
    }),
    [[0, "start", "60 min ago"], [width / 2, "middle", "30 min"], [width, "end", "now"]].map(
      ([x, anchor, words]) => text(x, floor + 19, "tick", anchor, words),
    ),
  );
}
