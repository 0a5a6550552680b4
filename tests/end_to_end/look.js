/* What tests ask of a page, computed from what the browser drew. */

function channels(colour) {
  const numbers = colour.match(/[\d.]+/g).map(Number);
  return { rgb: numbers.slice(0, 3), alpha: numbers[3] ?? 1 };
}

/** Relative luminance, WCAG 2.2. */
function luminance(rgb) {
  const [r, g, b] = rgb.map((c) => c / 255)
    .map((c) => (c <= 0.04045 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4));
  return 0.2126 * r + 0.7152 * g + 0.0722 * b;
}

function groundOf(element) {
  for (let node = element; node; node = node.parentElement) {
    const { rgb, alpha } = channels(getComputedStyle(node).backgroundColor);
    if (alpha > 0.5) return rgb;
  }
  return [255, 255, 255];
}

function paleTexts(ratioMin) {
  const found = [];
  for (const element of document.querySelectorAll("body *")) {
    const words = [...element.childNodes].filter((node) => node.nodeType === Node.TEXT_NODE)
      .map((node) => node.textContent.trim()).join(" ").trim();
    if (!words || !element.checkVisibility() || element.closest("script, style, noscript, title, desc")) continue;
    const style = getComputedStyle(element);
    const ink = channels(element.namespaceURI.endsWith("svg") ? style.fill : style.color).rgb;
    const [high, low] = [luminance(ink), luminance(groundOf(element))].sort((a, b) => b - a);
    const ratio = (high + 0.05) / (low + 0.05);
    if (ratio < ratioMin) found.push(`${ratio.toFixed(2)}: ${words.slice(0, 60)}`);
  }
  return found;
}

function cutLabels() {
  const found = [];
  for (const chart of document.querySelectorAll("svg.chart")) {
    const frame = chart.getBoundingClientRect();
    const boxes = [...chart.querySelectorAll("text")].map((node) => ({
      words: node.textContent, box: node.getBoundingClientRect(),
    }));
    for (const { words, box } of boxes) {
      if (box.left < frame.left - 1 || box.right > frame.right + 1
          || box.top < frame.top - 1 || box.bottom > frame.bottom + 3) found.push(`cut: ${words}`);
    }
    boxes.forEach((one, index) => boxes.slice(index + 1).forEach((other) => {
      const across = Math.min(one.box.right, other.box.right) - Math.max(one.box.left, other.box.left);
      const down = Math.min(one.box.bottom, other.box.bottom) - Math.max(one.box.top, other.box.top);
      if (across > 1 && down > 3) found.push(`overlap: ${one.words} / ${other.words}`);
    }));
  }
  return found;
}

function unnamedCharts() {
  return [...document.querySelectorAll("svg")]
    .filter((chart) => chart.getAttribute("aria-hidden") !== "true")
    .filter((chart) => chart.getAttribute("role") !== "img"
      || !chart.querySelector("title")?.textContent || !chart.querySelector("desc")?.textContent)
    .map((chart) => chart.outerHTML.slice(0, 120));
}

function groundLuminance() {
  return luminance(groundOf(document.body));
}
