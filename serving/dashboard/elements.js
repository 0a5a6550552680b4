"use strict";
/* Making elements, and saying numbers. Text is only ever set as text, never as markup. */

const SVG = "http://www.w3.org/2000/svg";
const NONE = "–";
const NO_BREAK = "\u00a0";

function build(node, attributes, children) {
  for (const [name, value] of Object.entries(attributes ?? {})) {
    if (value !== null && value !== undefined && value !== false) {
      node.setAttribute(name, value === true ? "" : String(value));
    }
  }
  node.append(...children.flat(Infinity).filter((child) => child !== null && child !== undefined));
  return node;
}

/** An HTML element: h("p", {class: "soft"}, "text", h("b", null, "bold")). */
function h(tag, attributes, ...children) {
  return build(document.createElement(tag), attributes, children);
}

/** An SVG element. */
function s(tag, attributes, ...children) {
  return build(document.createElementNS(SVG, tag), attributes, children);
}

/** With a real minus sign. */
function minus(text) {
  return text.replaceAll("-", "−");
}

/** 0.1234 as 12.3 %. */
function share(value, digits = 1) {
  return value === null || value === undefined
    ? NONE : minus((value * 100).toFixed(digits)) + NO_BREAK + "%";
}

/** 0.1234 as +12.3 %. */
function change(value, digits = 1) {
  return (value > 0 ? "+" : "") + share(value, digits);
}

/** A number with few digits. */
function number(value) {
  return value === null || value === undefined ? NONE : minus(String(Number(value.toPrecision(3))));
}

/** A share of users, without a needless .0. */
function whole(value) {
  return share(value).replace(".0" + NO_BREAK, NO_BREAK);
}

function count(value) {
  return value.toLocaleString("en-US");
}

function plural(number, one, many) {
  return `${count(number)} ${number === 1 ? one : many}`;
}

/** 2026-11-25T02:09:25.29Z as 2026-11-25 02:09:25. */
function clock(iso) {
  return iso.slice(0, 19).replace("T", " ");
}

/** How long before `now` something was, both as ISO times. */
function ago(iso, now) {
  const seconds = Math.max(0, (Date.parse(now) - Date.parse(iso)) / 1000);
  if (seconds < 5) return "just now";
  for (const [size, unit] of [[86400, "d"], [3600, "h"], [60, "min"]]) {
    if (seconds >= size) return `${Math.floor(seconds / size)} ${unit} ago`;
  }
  return `${Math.floor(seconds)} s ago`;
}

/** A time that keep_times() keeps saying how long ago it was. */
function time(iso) {
  return iso ? h("time", { datetime: iso, title: clock(iso) + " UTC" }, clock(iso)) : NONE;
}

function keepTimes(root, now) {
  for (const node of root.querySelectorAll("time")) {
    node.textContent = ago(node.getAttribute("datetime"), now);
  }
}

/** How numbers of a measure are said; those in its limit are round, so they drop their zeros. */
function speaker(measure, isLimit) {
  const { name, unit, low } = measure;
  const value = measure.value ?? 0;
  const short = (x, unitOf) => minus(`${Number(x.toPrecision(6))}${NO_BREAK}${unitOf}`.trimEnd());
  if (name.endsWith("_ratio")) {
    return (x) => (isLimit ? short(x, "×") : `${x.toFixed(2)}${NO_BREAK}×`);
  }
  if (name.endsWith("_rise") || name.endsWith("_gap")) {
    if (isLimit) return (x) => short(x * 100, "pp");
    const digits = Math.abs(value) >= 0.0005 || value === 0 ? 1 : 3;
    return (x) => minus(`${x > 0 ? "+" : ""}${(x * 100).toFixed(digits)}${NO_BREAK}pp`);
  }
  if (name.endsWith("_lift")) return (x) => change(x);
  if (unit === "ratio" || unit === "probability") {
    return (x) => (isLimit ? short(x * 100, "%") : share(x));
  }
  if (isLimit || (Number.isInteger(value) && low === null)) return (x) => short(x, unit);
  return (x) => minus(`${x.toFixed(2)}${NO_BREAK}${unit}`.trimEnd());
}

/** A measure in words, its limit in the unit of its value. */
function tell(measure) {
  const say = speaker(measure, false);
  const sayLimit = speaker(measure, true);
  const { low, high } = measure;
  const least = measure.allowed_low ?? null;
  const most = measure.allowed_high ?? null;
  const needed = measure.users_needed ?? null;
  return {
    name: measure.name.replaceAll("_", " ").replace(/^num /, "").replace("kl nats", "KL")
      + (measure.about ? `: ${measure.about}` : ""),
    value: measure.value === null ? NONE : say(measure.value),
    interval: low === null || high === null ? NONE : `${say(low)} to ${say(high)}`,
    limit: least !== null && most !== null ? `${sayLimit(least)} to ${sayLimit(most)}`
      : least !== null ? `≥ ${sayLimit(least)}`
      : most !== null ? `≤ ${sayLimit(most)}`
      : "no limit",
    outcome: measure.outcome ?? "informs",
    needed: needed === null ? "" : `about ${needed.toLocaleString("en")} users would decide`,
  };
}
