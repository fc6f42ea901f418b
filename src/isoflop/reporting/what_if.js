// Answers for another compute, by interpolating the table that Python computed; runs that can be pointed at; budgets
// that can be hidden. The page says the same without this script, for its own target.
const known = JSON.parse(document.getElementById("numbers").textContent);
const logs = known.flops.map(Math.log);
const svgName = document.querySelector("svg")?.namespaceURI; // spelt out, it would look like an address
const $ = (id) => document.getElementById(id);

// Numbers as isoflop/display/format.py writes them.
function number(value, digits = 3) {
  if (value === null || !Number.isFinite(value)) return "unknown";
  if (value === 0) return "0";
  const exponent = Number(Math.abs(value).toExponential(digits - 1).split("e")[1]);
  if (exponent >= -4 && exponent < 6) return value.toFixed(Math.max(digits - 1 - exponent, 0));
  return scientific(value, digits);
}
function scientific(value, digits) {
  const [factor, power] = value.toExponential(digits - 1).split("e");
  return `${factor}e${power[0]}${power.slice(1).padStart(2, "0")}`;
}
function count(value, digits = 3) {
  if (value === null || !Number.isFinite(value)) return "unknown";
  if (Math.abs(value) >= 1e15) return scientific(value, digits);
  const rounded = Math.abs(Number(value.toExponential(digits - 1)));
  for (const [unit, letter] of [[1e12, "T"], [1e9, "B"], [1e6, "M"], [1e3, "k"]]) {
    if (rounded >= unit) return number(value / unit, digits) + letter;
  }
  return value === Math.round(value) ? value.toFixed(0) : number(value, digits);
}
function flopsText(value) {
  const [factor, power] = scientific(value, 3).split("e");
  return `${factor.includes(".") ? factor.replace(/\.?0+$/, "") : factor}e${power}`;
}

// The row of the table at some FLOPs, straight in logs between two rows.
function at(flops) {
  const x = Math.log(flops);
  let i = logs.findIndex((value) => value >= x);
  i = Math.min(Math.max(i, 1), logs.length - 1);
  const t = (x - logs[i - 1]) / (logs[i] - logs[i - 1]);
  const between = (column) => {
    if (column[i - 1] === null || column[i] === null) return null;
    return Math.exp((1 - t) * Math.log(column[i - 1]) + t * Math.log(column[i]));
  };
  const all = (columns) => columns && columns.map(between);
  const found = { flops, params: all(known.params), tokens: all(known.tokens), loss: all(known.loss), band: all(known.band) };
  found.size = nearest(found.params[0], flops);
  return found;
}

// The size that can be built whose params are nearest in ratio, and the tokens that the FLOPs pay for there.
function nearest(params, flops) {
  const away = (size) => Math.abs(Math.log(size[1] / params));
  if (!known.sizes.length) return null;
  const [name, num, perToken] = known.sizes.reduce((best, size) => (away(size) < away(best) ? size : best));
  return { name, params: num, tokens: flops / perToken };
}

function estimate(name, [value, low, high], write) {
  return [name, write(value), `${write(low)} to ${write(high)}, ${known.level} interval`];
}

function tell(found) {
  const unit = known.unit[0].toUpperCase() + known.unit.slice(1) + "s";
  const rows = [estimate("Params", found.params, count), estimate(unit, found.tokens, count)];
  if (found.loss) rows.push(estimate("Loss", found.loss, (loss) => number(loss, 4)));
  if (found.size) {
    rows.push(["Size to build", found.size.name, `${count(found.size.params)} params, ${count(found.size.tokens)} ${known.unit}s`]);
  }
  $("what-if-answer").replaceChildren(...rows.map(([name, value, range]) => {
    const box = document.createElement("div");
    for (const [kind, words, style] of [["dt", name, ""], ["dd", value, "value"], ["dd", range, "range"]]) {
      const part = document.createElement(kind);
      part.textContent = words;
      part.className = style;
      box.append(part);
    }
    return box;
  }));
  const more = [];
  if (found.band) more.push(`Any size from ${count(found.band[0])} to ${count(found.band[1])} params costs at most 1 % more compute.`);
  const beyond = found.flops / known.largest;
  const below = known.smallest / found.flops;
  if (beyond > 1) more.push(`${number(beyond, 2)} times beyond the largest run.`);
  else if (below > 1) more.push(`${number(below, 2)} times below the smallest run.`);
  else more.push("Within the compute of the runs.");
  if (beyond > known.far) more.push(`Beyond ${known.far} times, published laws have often failed.`);
  $("what-if-more").textContent = more.join(" ");
}

// A second drawing over a figure, in its units; `here` turns values into places.
function overlay(name) {
  const svg = document.querySelector(`svg[data-name="${name}"]`);
  if (!svg) return null;
  const [x0, x1, y0, y1, left, right, bottom, top] = svg.dataset.axes.split(" ").map(Number);
  const share = (value, low, high) => (Math.log(value) - Math.log(low)) / (Math.log(high) - Math.log(low));
  const wrap = document.createElement("div");
  wrap.className = "drawing";
  svg.before(wrap);
  const layer = document.createElementNS(svgName, "svg");
  layer.setAttribute("viewBox", svg.getAttribute("viewBox"));
  layer.setAttribute("class", "overlay");
  wrap.append(svg, layer);
  return {
    layer, top: y1, bottom: y0,
    x: (value) => x0 + (x1 - x0) * share(value, left, right),
    y: (value) => Math.min(Math.max(y0 + (y1 - y0) * share(value, bottom, top), y1), y0),
  };
}

function shape(parent, kind, attributes) {
  const made = document.createElementNS(svgName, kind);
  for (const [name, value] of Object.entries(attributes)) made.setAttribute(name, value);
  parent.append(made);
  return made;
}

const marked = [["law", (found) => [["params", found.params], ["tokens", found.tokens]]],
  ["loss", (found) => (found.loss ? [["loss", found.loss]] : [])]]
  .map(([name, parts]) => [overlay(name), parts]).filter(([drawing]) => drawing);
for (const [drawing] of marked) drawing.layer.setAttribute("aria-hidden", "true");

function mark(found, moved) {
  for (const [drawing, parts] of marked) {
    drawing.layer.replaceChildren();
    if (!moved) continue;
    const x = drawing.x(found.flops);
    shape(drawing.layer, "line", { x1: x, x2: x, y1: drawing.top, y2: drawing.bottom, class: "hair" });
    for (const [kind, [value, low, high]] of parts(found)) {
      shape(drawing.layer, "line", { x1: x, x2: x, y1: drawing.y(low), y2: drawing.y(high), class: `span ${kind}` });
      shape(drawing.layer, "circle", { cx: x, cy: drawing.y(value), r: 4.5, class: `dot ${kind}` });
    }
  }
}

const first = logs[0], span = logs[logs.length - 1] - logs[0];
const slider = $("slider"), field = $("target");

function move(flops, from) {
  const inside = Number.isFinite(flops) && flops > 0 && flops >= known.flops[0] * (1 - 1e-6)
    && flops <= known.flops[known.flops.length - 1] * (1 + 1e-6);
  field.setAttribute("aria-invalid", String(!inside));
  if (!inside) return;
  const found = at(flops);
  if (from !== field) field.value = flopsText(flops);
  if (from !== slider) slider.value = String(Math.round((1000 * (Math.log(flops) - first)) / span));
  slider.setAttribute("aria-valuetext", `${flopsText(flops)} FLOPs`);
  tell(found);
  mark(found, Math.abs(flops / known.target - 1) > 1e-9);
}

slider.addEventListener("input", () => {
  const raw = Math.exp(first + (span * Number(slider.value)) / 1000);
  const last = known.flops[known.flops.length - 1];
  move(Math.min(Math.max(Number(raw.toPrecision(3)), known.flops[0]), last), slider);
});
field.addEventListener("input", () => move(Number(field.value.trim().replace(",", ".")), field));
$("back").addEventListener("click", () => move(known.target, null));
$("what-if").hidden = false;
move(known.target, null);

// Runs: a tip on hover and focus; arrow keys go from run to run.
const curves = overlay("curves");
if (curves) {
  if ($("switches")) $("switches").hidden = false;
  const tip = document.createElement("div");
  tip.className = "tip";
  tip.hidden = true;
  tip.setAttribute("aria-hidden", "true"); // the point's own name says the same
  document.body.append(tip);
  curves.layer.setAttribute("role", "group");
  curves.layer.setAttribute("aria-label", "Runs; arrow keys go from one to the next");
  const points = known.runs.map(([cx, cy, budget, words]) => {
    const point = shape(curves.layer, "circle", { cx, cy, r: 6, class: "run", role: "img", "aria-label": words, tabindex: -1 });
    point.dataset.budget = budget;
    const show = () => {
      const box = point.getBoundingClientRect();
      tip.textContent = words;
      tip.hidden = false;
      const left = Math.min(Math.max(box.left + box.width / 2, 8 + tip.offsetWidth / 2), document.documentElement.clientWidth - 8 - tip.offsetWidth / 2);
      tip.style.left = `${left}px`;
      tip.style.top = `${box.top > tip.offsetHeight + 12 ? box.top - tip.offsetHeight - 6 : box.bottom + 6}px`;
    };
    const hide = () => { tip.hidden = true; };
    for (const [event, act] of [["pointerenter", show], ["focus", show], ["pointerleave", hide], ["blur", hide]]) point.addEventListener(event, act);
    return point;
  });
  if (points.length) points[0].setAttribute("tabindex", "0");
  curves.layer.addEventListener("keydown", (event) => {
    const step = { ArrowRight: 1, ArrowDown: 1, ArrowLeft: -1, ArrowUp: -1 }[event.key];
    if (event.key === "Escape") tip.hidden = true;
    if (!step) return;
    event.preventDefault();
    const shown = points.filter((point) => point.style.display !== "none");
    const now = shown.indexOf(document.activeElement);
    shown[(now + step + shown.length) % shown.length]?.focus();
  });
  for (const box of document.querySelectorAll("#switches input")) {
    box.addEventListener("change", () => {
      const display = box.checked ? "" : "none";
      for (const part of document.querySelectorAll(`[id^="curves-budget-${box.dataset.budget}-"]`)) part.style.display = display;
      for (const point of points) if (point.dataset.budget === box.dataset.budget) point.style.display = display;
      for (const point of points) point.setAttribute("tabindex", -1);
      points.find((point) => point.style.display !== "none")?.setAttribute("tabindex", "0");
    });
  }
}
