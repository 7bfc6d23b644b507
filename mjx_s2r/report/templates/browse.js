// The run browser's program. It reads the JSON in the element "data" and builds the page from it.
// Every text from a run is set as text, never as HTML. What is chosen stands in the page's address:
// #runs=a,b&metrics=success&x=step&log=1&mean=1&q=words&verb=teacher&task=reach&status=running
// &sort=-begun&rows=all
"use strict";

const DATA = JSON.parse(document.getElementById("data").textContent);
const RUNS = new Map(DATA.runs.map((run) => [run.name, run]));
const COLOURS = 8;
const DASHES = ["", "7 3", "2 2.5", "9 3 2 3"];
const AXES = { step: "iterations", env_steps: "environment steps", seconds: "training time" };
const FIRST = ["success", "return", "eval_success", "eval_return", "entropy", "label_error_m"];
const SEED = /(^|\.)(seed|run|resume|teacher|student)$/; // settings that differ between seeds
const GROUPS = {
  model: "Physics", actuator: "Actuators", sensor: "Sensors", world: "Pushes and start",
  visual: "Appearance and camera",
};
const SIDE_BY_SIDE = 6; // runs whose ranges are shown beside each other

// ---- elements ------------------------------------------------------------------------------

/** Returns an element with attributes ("on..." are listeners, false and null are left out). */
function h(tag, attributes = {}, ...children) {
  return filled(document.createElement(tag), attributes, children);
}

/** Returns an element of a drawing. */
function s(tag, attributes = {}, ...children) {
  return filled(document.createElementNS("http://www.w3.org/2000/svg", tag), attributes, children);
}

function filled(element, attributes, children) {
  for (const [name, value] of Object.entries(attributes)) {
    if (name.startsWith("on")) element.addEventListener(name.slice(2), value);
    else if (value !== false && value !== null && value !== undefined) {
      element.setAttribute(name, value === true ? "" : value);
    }
  }
  element.append(...children.flat(9).filter((c) => c !== null && c !== false && c !== undefined));
  return element;
}

/** Puts children into an element instead of those that it has. */
function refill(element, ...children) {
  element.replaceChildren();
  return filled(element, {}, children);
}

// ---- words and numbers -----------------------------------------------------------------------

/** Returns a number with four digits, and k, M and G for thousands and more. */
function short(value) {
  if (value === null || value === undefined) return "";
  for (const [size, letter] of [[1e9, "G"], [1e6, "M"], [1e4, "k"]]) {
    if (Math.abs(value) >= size) return digits(value / (letter === "k" ? 1e3 : size)) + letter;
  }
  return digits(value);
}

function digits(value) {
  const text = Number(value).toPrecision(4);
  return text.includes("e") ? String(Number(text)).replace("e+", "e") : String(Number(text));
}

/** Returns a share as a percentage; only certainty is written 0 % or 100 %. */
function percent(share) {
  if (share === null || share === undefined) return "";
  const close = (share > 0 && share < 0.01) || (share > 0.99 && share < 1);
  return `${close ? Math.min(Math.max(100 * share, 0.1), 99.9).toFixed(1) : (100 * share).toFixed(0)} %`;
}

function duration(seconds) {
  if (seconds === null || seconds === undefined) return "";
  if (seconds < 60) return `${seconds < 10 ? seconds.toFixed(1) : seconds.toFixed(0)} s`;
  const minutes = Math.floor(seconds / 60);
  if (minutes < 60) return `${minutes} min ${Math.floor(seconds % 60)} s`;
  return `${Math.floor(minutes / 60)} h ${minutes % 60} min`;
}

function date(unix) {
  if (!unix) return "";
  const at = new Date(1000 * unix);
  const two = (x) => String(x).padStart(2, "0");
  return `${at.getFullYear()}-${two(at.getMonth() + 1)}-${two(at.getDate())} ` +
    `${two(at.getHours())}:${two(at.getMinutes())}`;
}

function size(bytes) {
  return bytes < 1e6 ? `${Math.max(1, Math.round(bytes / 1e3))} kB` : `${(bytes / 1e6).toFixed(1)} MB`;
}

const title = (metric) => (DATA.metrics[metric] || [metric.replaceAll("_", " ")])[0];
const unit = (metric) => (DATA.metrics[metric] || ["", ""])[1];
const isShare = (metric) => unit(metric) === "%";
const figure = (metric, value) => (isShare(metric) ? percent(value) : short(value));

// ---- what is chosen, in the page's address ---------------------------------------------------

const state = {
  runs: [], metrics: [], x: "step", log: false, mean: false, q: "", verb: "", task: "", status: "",
  sort: "-begun", rows: "",
};
const LISTS = ["runs", "metrics"];
const FLAGS = ["log", "mean"];
const START = { ...state };
let missing = []; // runs that the address names and this page does not have

function readAddress() {
  Object.assign(state, START, { runs: newest(), metrics: [] });
  for (const part of location.hash.slice(1).split("&").filter(Boolean)) {
    const [name, text = ""] = part.split("=", 2);
    const key = name === "metric" ? "metrics" : name;
    if (LISTS.includes(key)) state[key] = text.split(",").filter(Boolean).map(decoded);
    else if (FLAGS.includes(key)) state[key] = text === "1";
    else if (key in state) state[key] = decoded(text);
  }
  missing = state.runs.filter((name) => !RUNS.has(name));
  state.runs = state.runs.filter((name) => RUNS.has(name));
  if (!(state.x in AXES)) state.x = "step";
}

function decoded(text) {
  try { return decodeURIComponent(text); } catch { return text; }
}

/** Returns the runs to begin with: the newest with curves, and two more of its verb and task. */
function newest() {
  const logged = DATA.runs.filter((run) => run.lines > 1);
  const alike = logged.filter((r) => r.verb === logged[0].verb && r.task === logged[0].task);
  return alike.slice(0, 3).map((run) => run.name);
}

function address() {
  const encode = (text) => encodeURIComponent(text).replaceAll("%2F", "/");
  const parts = [`runs=${state.runs.map(encode).join(",")}`];
  if (state.metrics.length) parts.push(`metrics=${state.metrics.map(encode).join(",")}`);
  for (const name of FLAGS) if (state[name]) parts.push(`${name}=1`);
  for (const name of ["x", "q", "verb", "task", "status", "sort", "rows"]) {
    if (state[name] !== START[name]) parts.push(`${name}=${encode(state[name])}`);
  }
  return "#" + parts.join("&");
}

/** Takes what was changed, writes the address, and shows those parts of the page anew. */
function change(changes, ...parts) {
  Object.assign(state, changes);
  history.replaceState(null, "", address());
  for (const part of parts) part();
}

const chosen = () => state.runs.map((name) => RUNS.get(name));

function toggle(name) {
  const on = state.runs.includes(name);
  const runs = on ? state.runs.filter((n) => n !== name) : [...state.runs, name];
  change({ runs }, showRows, showChosen);
}

// ---- the table of runs -----------------------------------------------------------------------

const evaluated = (run) => run.last.eval_success ?? run.last.success;
const COLUMNS = [
  { key: "name", text: "run", of: (run) => run.name, cell: nameCell },
  { key: "verb", text: "verb", of: (run) => run.verb, hide: "narrow" },
  { key: "task", text: "task", of: (run) => run.task, cell: taskCell, hide: "narrow" },
  { key: "status", text: "status", of: (run) => run.status, cell: statusCell },
  { key: "success", text: "success in training", of: evaluated, show: percent, count: true,
    about: "newest line of the log; by mean actions where the run judges them" },
  { key: "robots", text: "success on robots", of: (run) => run.robots?.success[0], show: percent,
    count: true, about: "on robots or their stand-ins, from the run's evaluation" },
  { key: "return", text: "return", of: (run) => run.last.eval_return ?? run.last.return, count: true,
    hide: "narrow" },
  { key: "step", text: "iterations", of: (run) => run.last.step, show: steps, count: true,
    hide: "narrow" },
  { key: "env_steps", text: "environment steps", of: (run) => run.last.env_steps, count: true,
    hide: "wide" },
  { key: "seconds", text: "training time", of: (run) => run.last.seconds, show: duration, count: true,
    hide: "wide" },
  { key: "begun", text: "begun", of: (run) => run.begun, show: date, hide: "wide" },
  { key: "links", text: "", of: () => null, cell: linksCell, hide: "wide" },
];

function nameCell(run) {
  const cut = run.name.lastIndexOf("/") + 1;
  const only = (event) => {
    event.preventDefault();
    change({ runs: [run.name] }, showRows, showChosen);
  };
  return h("a", { href: `#runs=${encodeURIComponent(run.name)}`, onclick: only,
    title: "show only this run" },
    h("span", { class: "soft" }, run.name.slice(0, cut)), run.name.slice(cut));
}

/** Returns the task; of module:Class the class. */
function taskCell(run) {
  return h("span", { title: run.task }, run.task.split(":").pop());
}

function statusCell(run) {
  return h("span", { class: `status ${run.status}`, title: run.note || null }, run.status);
}

/** Returns links to the run's own page and policy; all links stand beside the chosen runs. */
function linksCell(run) {
  const own = run.links.filter(([text]) => /^[^/]+\.(html|onnx)$/.test(text)).slice(0, 2);
  return links({ links: own }).flatMap((link) => [link, " "]);
}

function links(run) {
  return run.links.map(([text, href]) => {
    const word = text.endsWith(".html") ? text.replace(/\.html$/, "").split("/").pop() : text;
    return h("a", { href, title: text }, word);
  });
}

function steps(value, run) {
  if (value === undefined || value === null) return run.planned ? `0 of ${short(run.planned)}` : "";
  return run.planned ? `${short(value)} of ${short(run.planned)}` : short(value);
}

/** Returns the runs that pass the filters, in order. */
function shown() {
  const words = state.q.toLowerCase().split(/\s+/).filter(Boolean);
  const found = DATA.runs.filter((run) =>
    ["verb", "task", "status"].every((key) => !state[key] || run[key] === state[key]) &&
    words.every((word) => (word.includes("=") ? hasSetting(run, word) : hasWord(run, word))));
  const down = state.sort.startsWith("-");
  const column = COLUMNS.find((c) => c.key === state.sort.replace(/^-/, "")) || COLUMNS[0];
  const key = (run) => column.of(run);
  return found.sort((a, b) => {
    const [x, y] = [key(a), key(b)];
    const empty = (v) => v === undefined || v === null || v === "";
    if (empty(x) || empty(y)) return empty(x) - empty(y); // those without a value come last
    const order = typeof x === "string" ? x.localeCompare(y, "en", { numeric: true }) : x - y;
    return (down ? -order : order) || a.name.localeCompare(b.name, "en", { numeric: true });
  });
}

function hasWord(run, word) {
  return `${run.name} ${run.verb} ${run.task} ${run.status}`.toLowerCase().includes(word);
}

/** Returns whether a run has a setting, written name=value; the end of its name is enough. */
function hasSetting(run, word) {
  const [name, value] = word.split("=", 2);
  return Object.entries(settings(run)).some(([key, found]) =>
    (key.toLowerCase() === name || key.toLowerCase().endsWith(`.${name}`)) &&
    String(found).toLowerCase() === value);
}

function filters() {
  const choice = (key, plural) => {
    const counts = new Map();
    for (const run of DATA.runs) if (run[key]) counts.set(run[key], (counts.get(run[key]) || 0) + 1);
    const options = [...counts].sort().map(([value, count]) =>
      h("option", { value, selected: state[key] === value }, `${value} (${count})`));
    return h("select", { "aria-label": key, onchange: (e) => change({ [key]: e.target.value }, showRows) },
      h("option", { value: "" }, plural), options);
  };
  const search = (e) => change({ q: e.target.value.trim() }, showRows);
  const all = () => change({ runs: shown().map((run) => run.name) }, showRows, showChosen);
  const none = () => change({ runs: [] }, showRows, showChosen);
  return h("div", { class: "tools" },
    h("input", { type: "search", value: state.q, oninput: search, "aria-label": "filter runs",
      placeholder: "filter: words, or a setting such as seed=1" }),
    choice("verb", "all verbs"), choice("task", "all tasks"), choice("status", "any status"),
    h("button", { type: "button", onclick: all }, "choose all shown"),
    h("button", { type: "button", onclick: none }, "choose none"));
}

function head() {
  const by = state.sort.replace(/^-/, "");
  const cells = COLUMNS.map((column) => {
    const down = state.sort.startsWith("-");
    const sorted = column.key === by ? (down ? "descending" : "ascending") : null;
    const sort = () => {
      const first = column.count || column.key === "begun" ? "-" : "";
      const other = first ? "" : "-";
      change({ sort: (by === column.key && state.sort === first + by ? other : first) + column.key },
        showRows);
      document.querySelector(`[data-sort="${column.key}"]`)?.focus();
    };
    const arrow = sorted ? (down ? " ↓" : " ↑") : "";
    return h("th", { scope: "col", class: classes(column), "aria-sort": sorted },
      column.text && h("button", { type: "button", onclick: sort, "data-sort": column.key,
        title: column.about || null }, column.text + arrow));
  });
  return h("thead", {}, h("tr", {}, h("th", { scope: "col", class: "pick" },
    h("span", { class: "hidden" }, "chosen")), cells));
}

const classes = (column) => [column.count && "count", column.hide].filter(Boolean).join(" ") || null;

function row(run) {
  const place = state.runs.indexOf(run.name);
  const box = h("input", { type: "checkbox", checked: place >= 0, "aria-label": `choose ${run.name}`,
    "data-run": run.name, onchange: () => refocus(run.name) });
  const cells = COLUMNS.map((column) => {
    const value = column.of(run);
    const made = column.cell ? column.cell(run) : (column.show || plain)(value, run);
    return column.key === "name" ? h("th", { scope: "row" }, made)
      : h("td", { class: classes(column), title: spread(column, run) }, made);
  });
  return h("tr", { class: place >= 0 ? "chosen" : null },
    h("td", { class: "pick" }, box, " ", place >= 0 && key(place)), cells);
}

function refocus(name) {
  toggle(name);
  [...document.querySelectorAll("[data-run]")].find((e) => e.dataset.run === name)?.focus();
}

const plain = (value) => (typeof value === "number" ? short(value) : value ?? "");

/** Returns the interval behind the success on robots. */
function spread(column, run) {
  if (column.key !== "robots" || !run.robots) return null;
  const [, low, high] = run.robots.success;
  const episodes = run.robots.episodes ? `${run.robots.episodes} episodes, ` : "";
  const interval = low === null ? "" : `95 % interval ${percent(low)} to ${percent(high)}, `;
  return `${episodes}${interval}${run.robots.file}`;
}

function showRows() {
  const found = shown();
  const table = document.getElementById("runs-table");
  refill(table, head(), h("tbody", {}, found.map(row)));
  const lost = missing.length ? ` Not on this page: ${missing.join(", ")}.` : "";
  const count = `${found.length} of ${DATA.runs.length} runs shown, ${state.runs.length} chosen.${lost}`;
  document.getElementById("count").textContent = count;
}

// ---- lines: colour and dash of a run -----------------------------------------------------------

const colour = (place) => `var(--run${place % COLOURS})`;
const dash = (place) => DASHES[(place + Math.floor(place / COLOURS)) % DASHES.length];

function key(place) {
  return h("span", { class: "key", "aria-hidden": "true" },
    s("svg", { viewBox: "0 0 27 11" }, s("line", { x1: 0, x2: 27, y1: 5.5, y2: 5.5,
      "stroke-width": 2.6, "stroke-dasharray": dash(place), style: `stroke:${colour(place)}` })));
}

// ---- the chosen runs -------------------------------------------------------------------------

function showChosen() {
  const place = document.getElementById("chosen");
  const runs = chosen();
  if (!runs.length) {
    refill(place, section("chosen-runs", "Chosen runs",
      h("p", { class: "none" }, "None. Choose runs in the table; a click on a name chooses it alone.")));
    return;
  }
  refill(place,
    section("chosen-runs", runs.length === 1 ? "Chosen run" : `${runs.length} chosen runs`, legend(runs)),
    curvesSection(runs), resultsSection(runs), settingsSection(runs), picturesSection(runs),
    flightsSection(runs), rangesSection(runs));
  drawCharts();
}

function section(id, heading, ...children) {
  return h("section", { id }, h("h2", {}, heading), children);
}

function legend(runs) {
  return h("div", { class: "legend" }, runs.map((run, place) => {
    const facts = [run.verb, run.task, run.last.seconds !== undefined && duration(run.last.seconds)];
    return h("div", {}, key(place),
      h("span", { class: "what" }, h("strong", {}, run.name), h("br"),
        h("span", { class: "soft" }, facts.filter(Boolean).join(", "), facts.some(Boolean) && ", "),
        statusCell(run), run.note && h("span", { class: "soft" }, ` (${run.note})`), " ",
        links(run).flatMap((link) => [link, " "])),
      h("button", { type: "button", "aria-label": `leave out ${run.name}`, title: "leave out",
        onclick: () => toggle(run.name) }, "×"));
  }));
}

// ---- curves -------------------------------------------------------------------------------------

/** Returns the metrics that chosen runs have, well-known ones first. */
function metricsOf(runs) {
  const names = new Set(runs.flatMap((run) => Object.keys(run.curves)));
  return [...FIRST.filter((n) => names.has(n)), ...[...names].filter((n) => !FIRST.includes(n)).sort()];
}

function metricsShown(runs) {
  const known = metricsOf(runs);
  const asked = state.metrics.filter((name) => known.includes(name));
  return asked.length ? asked : known.filter((n) => FIRST.includes(n)).slice(0, 3);
}

function curvesSection(runs) {
  const logged = runs.filter((run) => Object.keys(run.curves).length);
  if (!logged.length) {
    return section("curves", "Curves", h("p", { class: "none" }, "No chosen run has a log of metrics."));
  }
  const on = metricsShown(runs);
  const pick = (name) => {
    const metrics = on.includes(name) ? on.filter((n) => n !== name) : [...on, name];
    change({ metrics }, showChosen);
    document.querySelector(`[data-metric="${CSS.escape(name)}"]`)?.focus();
  };
  const chip = (name) => h("button", { type: "button", "data-metric": name,
    "aria-pressed": String(on.includes(name)), onclick: () => pick(name) }, title(name));
  const known = metricsOf(runs);
  const isFirst = (name) => FIRST.includes(name) || on.includes(name);
  const rest = known.filter((name) => !isFirst(name));
  const axis = h("select", { onchange: (e) => change({ x: e.target.value }, showChosen) },
    Object.entries(AXES).map(([value, text]) =>
      h("option", { value, selected: state.x === value }, text)));
  const flag = (name, text) => h("label", {}, h("input", { type: "checkbox", checked: state[name],
    onchange: (e) => change({ [name]: e.target.checked }, showChosen) }), text);
  const thinned = logged.some((run) => run.lines > DATA.points);
  return section("curves", "Curves",
    h("div", { class: "tools" }, h("label", {}, "over", axis), flag("log", "logarithmic"),
      flag("mean", "mean over seeds")),
    h("div", { class: "chips", role: "group", "aria-label": "metrics" }, known.filter(isFirst).map(chip)),
    rest.length > 0 && h("details", {}, h("summary", {}, `${rest.length} more metrics`),
      h("div", { class: "chips", role: "group", "aria-label": "more metrics" }, rest.map(chip))),
    h("div", { class: "charts" }, on.map((name) => h("figure", { "data-chart": name }))),
    h("p", { class: "soft" },
      thinned && `Logs of more than ${DATA.points} lines are thinned: their first and last line, and ` +
        `between them means of neighbours, so that there are ${DATA.points} points. `,
      state.mean && "Runs that differ in their seeds only are one line, their mean; the band is from " +
        "the least to the most. ",
      "Point at a chart, or go through it with the arrow keys, to read it."));
}

/** Returns the lines of a chart: one of each run, or the mean of those that differ by seed only. */
function linesOf(runs, metric) {
  const factor = isShare(metric) ? 100 : 1;
  const single = runs.map((run, place) => {
    const x = run.x[state.x], y = run.curves[metric];
    if (!x || !y) return null;
    const points = x.map((at, i) => [at, y[i]]).filter(([at, v]) => at !== null && v !== null)
      .map(([at, v]) => [at, factor * v]);
    return { label: run.name, place, run, points };
  }).filter((line) => line && line.points.length);
  if (!state.mean) return single;
  const groups = new Map();
  for (const line of single) {
    const name = sameButSeed(line.run);
    groups.set(name, [...(groups.get(name) || []), line]);
  }
  return [...groups.values()].map((group) => (group.length < 2 ? group[0] : meanOf(group)));
}

function sameButSeed(run) {
  const kept = Object.entries(settings(run)).filter(([name]) => !SEED.test(name));
  return JSON.stringify([run.verb, run.task, kept.sort()]);
}

/** Returns the mean of lines, on the axis of the first as far as all of them reach. */
function meanOf(group) {
  const ends = group.map((line) => line.points[line.points.length - 1][0]);
  const starts = group.map((line) => line.points[0][0]);
  const [from, to] = [Math.max(...starts), Math.min(...ends)];
  const axis = group[0].points.map(([x]) => x).filter((x) => x >= from && x <= to);
  const each = axis.map((x) => group.map((line) => at(line.points, x)));
  const mean = (values) => values.reduce((a, b) => a + b, 0) / values.length;
  return {
    label: `${group[0].label} and ${group.length - 1} more (mean)`, place: group[0].place,
    points: axis.map((x, i) => [x, mean(each[i])]),
    band: axis.map((x, i) => [x, Math.min(...each[i]), Math.max(...each[i])]),
  };
}

/** Returns the value of a line at x, between its two neighbours. */
function at(points, x) {
  const right = points.findIndex(([px]) => px >= x);
  if (right <= 0) return points[Math.max(right, 0)][1];
  const [[x0, y0], [x1, y1]] = [points[right - 1], points[right]];
  return x1 === x0 ? y1 : y0 + ((y1 - y0) * (x - x0)) / (x1 - x0);
}

let drawnWidth = 0;
const resized = new ResizeObserver(([{ target }]) => {
  if (Math.abs(target.clientWidth - drawnWidth) > 1) requestAnimationFrame(drawCharts);
});

function drawCharts() {
  const all = document.querySelector(".charts");
  if (!all) return;
  resized.disconnect();
  resized.observe(all);
  drawnWidth = all.clientWidth;
  for (const place of all.querySelectorAll("[data-chart]")) {
    const metric = place.dataset.chart;
    const lines = linesOf(chosen(), metric);
    const inUnit = unit(metric) && `, ${unit(metric)}`;
    const own = title(metric) !== metric.replaceAll("_", " ") && ` (${metric})`; // its name in the log
    refill(place, h("div", { class: "title" }, h("strong", {}, title(metric)), inUnit,
      own && h("span", { class: "soft" }, own)));
    if (!lines.length) {
      place.append(h("p", { class: "none" }, `No chosen run logs it over ${AXES[state.x]}.`));
    } else {
      drawChart(place, lines, metric);
    }
  }
}

function drawChart(place, lines, metric) {
  const [width, height] = [Math.max(place.clientWidth, 240), 230];
  const box = { left: 52, right: width - 12, top: 10, bottom: height - 40 };
  const xs = lines.flatMap((line) => line.points.map((p) => p[0]));
  const ys = lines.flatMap((line) => (line.band || line.points).flatMap((p) => p.slice(1)));
  const log = state.log && !isShare(metric) && ys.some((y) => y > 0);
  const yEnds = isShare(metric) ? [0, 100] : apart(ys.filter((y) => !log || y > 0), log);
  const xEnds = [Math.min(0, ...xs), Math.max(...xs, 1e-9)];
  const x = scale(xEnds, [box.left, box.right], false);
  const y = scale(yEnds, [box.bottom, box.top], log);
  const yTicks = log ? decades(yEnds) : ticks(yEnds, 4);
  const xTicks = state.x === "seconds" ? timeTicks(xEnds, width) : ticks(xEnds, width < 330 ? 3 : 5);
  const yText = (v) => short(v);
  const marks = [
    yTicks.map((v) => [
      s("line", { class: "grid-line", x1: box.left, x2: box.right, y1: y(v), y2: y(v) }),
      s("text", { x: box.left - 6, y: y(v) + 4, "text-anchor": "end" }, yText(v)),
    ]),
    xTicks.map((v) => s("text", { x: x(v), y: box.bottom + 16, "text-anchor": "middle" },
      state.x === "seconds" ? clock(v) : short(v))),
    s("text", { x: box.right, y: height - 4, "text-anchor": "end" }, AXES[state.x]),
  ];
  const fine = (points) => points.filter((p) => !log || p[1] > 0);
  const drawn = lines.map((line) => {
    const points = fine(line.points);
    const path = points.map((p) => `${x(p[0]).toFixed(1)} ${y(p[1]).toFixed(1)}`).join("L");
    const last = points[points.length - 1];
    const style = `stroke:${colour(line.place)}`;
    return last && [
      line.band && bandShape(fine(line.band), x, y, colour(line.place)),
      s("path", { d: `M${path}`, fill: "none", style, "stroke-width": 1.8,
        "stroke-dasharray": dash(line.place), "stroke-linejoin": "round" }),
      s("circle", { cx: x(last[0]), cy: y(last[1]), r: 3, style: `fill:${colour(line.place)}` }),
    ];
  });
  const label = `${title(metric)} over ${AXES[state.x]}: ` + lines.map((line) =>
    `${line.label} ends at ${short(line.points[line.points.length - 1][1])}`).join("; ");
  const svg = s("svg", { viewBox: `0 0 ${width} ${height}`, height, role: "img", tabindex: 0,
    "aria-label": label }, marks, drawn);
  place.append(svg);
  follow(place, svg, lines, metric, { x, box, xEnds });
}

function bandShape(band, x, y, fill) {
  const there = band.map((p) => `${x(p[0]).toFixed(1)} ${y(p[2]).toFixed(1)}`);
  const back = band.map((p) => `${x(p[0]).toFixed(1)} ${y(p[1]).toFixed(1)}`).reverse();
  return s("path", { d: `M${[...there, ...back].join("L")}Z`, style: `fill:${fill}`, opacity: 0.18 });
}

/** Shows a cursor with the values of all lines, for the pointer and for the arrow keys. */
function follow(place, svg, lines, metric, { x, box, xEnds }) {
  const cursor = s("line", { class: "cursor", y1: box.top, y2: box.bottom, visibility: "hidden" });
  const reading = h("div", { class: "reading", hidden: true, "aria-live": "polite" });
  svg.append(cursor);
  place.append(reading);
  const stops = [...new Set(lines.flatMap((line) => line.points.map((p) => p[0])))].sort((a, b) => a - b);
  let index = stops.length - 1;
  const show = (i) => {
    index = Math.min(Math.max(i, 0), stops.length - 1);
    const value = stops[index];
    const near = lines.filter((line) => value <= line.points[line.points.length - 1][0] &&
      value >= line.points[0][0]);
    const rows = near.map((line) => [line, at(line.points, value)]).sort((a, b) => b[1] - a[1]);
    const text = (v) => (isShare(metric) ? `${digits(v)} %` : short(v));
    refill(reading,
      h("div", {}, state.x === "seconds" ? duration(value) : `${value.toLocaleString("en")} ${AXES[state.x]}`),
      rows.slice(0, 10).map(([line, v]) => h("div", {}, key(line.place),
        h("span", { class: "what" }, h("bdi", {}, line.label)), h("b", {}, text(v)))),
      rows.length > 10 && h("div", { class: "soft" }, `and ${rows.length - 10} more`));
    cursor.setAttribute("x1", x(value));
    cursor.setAttribute("x2", x(value));
    cursor.setAttribute("visibility", "visible");
    reading.hidden = false;
    const right = x(value) > (box.left + box.right) / 2;
    const share = place.clientWidth / Math.max(place.clientWidth, 240);
    reading.style.top = "2.2rem";
    reading.style.left = right ? "auto" : `${share * x(value) + 10}px`;
    reading.style.right = right ? `${place.clientWidth - share * x(value) + 10}px` : "auto";
  };
  const hide = () => {
    cursor.setAttribute("visibility", "hidden");
    reading.hidden = true;
  };
  svg.addEventListener("pointermove", (event) => {
    const area = svg.getBoundingClientRect();
    const shareX = (event.clientX - area.left) / area.width * svg.viewBox.baseVal.width;
    const value = xEnds[0] + (shareX - box.left) / (box.right - box.left) * (xEnds[1] - xEnds[0]);
    let best = 0;
    stops.forEach((stop, i) => {
      if (Math.abs(stop - value) < Math.abs(stops[best] - value)) best = i;
    });
    show(best);
  });
  svg.addEventListener("pointerleave", hide);
  svg.addEventListener("blur", hide);
  svg.addEventListener("keydown", (event) => {
    const to = { ArrowLeft: index - 1, ArrowRight: index + 1, Home: 0, End: stops.length - 1 };
    if (event.key in to) {
      event.preventDefault();
      show(to[event.key]);
    } else if (event.key === "Escape") hide();
  });
}

function scale([from, to], [start, end], log) {
  const f = log ? Math.log10 : (v) => v;
  const span = f(to) - f(from) || 1;
  return (v) => start + ((f(v) - f(from)) / span) * (end - start);
}

/** Returns the ends of values, set apart where they are equal and with a little air around. */
function apart(values, log) {
  let [low, high] = [Math.min(...values), Math.max(...values)];
  if (log) return low < high ? [low, high] : [low / 2, high * 2];
  if (low === high) [low, high] = [low - 0.5 * (Math.abs(low) || 1), high + 0.5 * (Math.abs(high) || 1)];
  const air = 0.04 * (high - low);
  return [low >= 0 && low < 0.3 * high ? 0 : low - air, high + air];
}

function ticks([low, high], count) {
  const raw = (high - low) / count;
  const power = 10 ** Math.floor(Math.log10(raw));
  const step = power * [1, 2, 2.5, 5, 10].find((f) => f * power >= raw * 0.999);
  const out = [];
  for (let i = Math.ceil(low / step - 1e-9); i * step <= high + 1e-9 * step; i++) out.push(i * step);
  return out;
}

/** Returns ticks of a logarithmic axis: powers of ten, with 2 and 5 or 3 between where there is room. */
function decades([low, high]) {
  for (const between of [[1, 2, 5], [1, 3], [1]]) {
    const found = [];
    for (let p = Math.floor(Math.log10(low)); p <= Math.log10(high); p++) {
      found.push(...between.map((f) => f * 10 ** p).filter((v) => v >= low && v <= high));
    }
    if (found.length < 2) return [low, high];
    if (found.length <= 6) return found;
    if (between.length === 1) return found.filter((_, i) => i % Math.ceil(found.length / 6) === 0);
  }
}

function timeTicks([low, high], width) {
  const steps = [1, 2, 5, 10, 20, 30, 60, 120, 300, 600, 1200, 1800, 3600, 7200, 14400, 36000, 86400];
  const count = width < 330 ? 3 : 5;
  const step = steps.find((v) => v >= (high - low) / count) || 86400 * Math.ceil(high / count / 86400);
  const out = [];
  for (let v = 0; v <= high; v += step) out.push(v);
  return out;
}

function clock(seconds) {
  if (seconds < 60) return `${seconds} s`;
  if (seconds < 3600) return `${short(seconds / 60)} min`;
  return `${short(seconds / 3600)} h`;
}

// ---- settings -----------------------------------------------------------------------------------

/** Returns all settings of a run: the usual ones of its verb, and its own. */
function settings(run) {
  const all = { ...DATA.bases[run.verb], ...run.settings };
  for (const name of run.without) delete all[name];
  return all;
}

const NOT_COMPARED = ["run", "resume", "teacher.run", "teacher.resume"];

function settingsSection(runs) {
  const known = runs.filter((run) => Object.keys(settings(run)).length);
  if (!known.length) return null;
  if (known.length === 1) return settingsOfOne(known[0]);
  const all = known.map(settings);
  const verbs = new Set(known.map((run) => run.verb));
  const names = [...new Set(all.flatMap(Object.keys))].filter((name) => !NOT_COMPARED.includes(name));
  const compared = verbs.size === 1 ? names : names.filter((n) => all.every((one) => n in one));
  const differ = compared.filter((n) => new Set(all.map((one) => JSON.stringify(one[n]))).size > 1);
  const heading = "Settings that differ";
  const others = verbs.size > 1 &&
    h("p", { class: "soft" }, `Of ${[...verbs].join(" and ")} only the settings that all of them have.`);
  if (!differ.length) {
    return section("settings", heading, others, h("p", { class: "none" }, "None; they are the same runs."));
  }
  const rows = differ.map((name) => h("tr", {}, h("th", { scope: "row" }, name),
    all.map((one) => h("td", {}, setting(one[name])))));
  return section("settings", heading, others, h("div", { class: "scroll" },
    h("table", { class: "settings wrap" }, h("thead", {}, h("tr", {}, h("th", { scope: "col" }, "setting"),
      known.map((run) => h("th", { scope: "col" }, key(state.runs.indexOf(run.name)), run.name)))),
      h("tbody", {}, rows))));
}

function settingsOfOne(run) {
  const own = Object.entries(run.settings).filter(([name]) => !NOT_COMPARED.includes(name));
  const list = (entries) => h("dl", { class: "facts" },
    entries.map(([name, value]) => h("div", {}, h("dt", {}, name), h("dd", {}, setting(value)))));
  const peers = DATA.runs.filter((other) => other.verb === run.verb).length;
  return section("settings", "Settings",
    peers > 1 && own.length > 0 &&
      [h("p", {}, `Not as in most of the ${peers} runs of ${run.verb}:`), list(own)],
    h("details", { open: peers < 2 }, h("summary", {}, "all settings"), list(Object.entries(settings(run)))));
}

function setting(value) {
  if (value === undefined) return "(has none)";
  return value === "" ? '""' : String(value);
}

// ---- ranges over time ------------------------------------------------------------------------------

function rangesSection(runs) {
  const with_ = runs.filter((run) => run.ranges);
  if (!with_.length) return null;
  const side = with_.slice(0, SIDE_BY_SIDE);
  const tables = side.map((run) => DATA.tables[run.table]);
  const all = state.rows === "all";
  const names = [...new Set(side.flatMap((run) => Object.keys(run.ranges.rows)))]
    .filter((name) => all || side.some((run) => isOpen(run.ranges.rows[name])));
  const grouped = Map.groupBy ? Map.groupBy(names, groupOf) : groupBy(names, groupOf);
  function groupOf(name) {
    return tables.find((table) => name in table)[name][4];
  }
  const body = [...grouped].flatMap(([group, members]) => [
    h("tr", {}, h("th", { colspan: side.length + 1, scope: "rowgroup" }, GROUPS[group] || group)),
    members.map((name) => {
      const about = tables.find((table) => name in table)[name];
      return h("tr", {}, h("th", { scope: "row" }, name, " ",
        h("span", { class: "ends" }, `${short(about[2])} to ${short(about[3])} ${about[0]}`)),
        side.map((run) => h("td", {}, bandCell(run, name))));
    }),
  ]);
  const flag = h("label", {}, h("input", { type: "checkbox", checked: !all,
    onchange: (e) => change({ rows: e.target.checked ? "" : "all" }, showChosen) }), "only open rows");
  return section("ranges", "Ranges over time",
    h("div", { class: "tools" }, flag),
    h("p", { class: "soft" }, "Each box is as high as the row's limits, which stand beside its name; the " +
      "band is the range that worlds are drawn from, from the first line of the log to the last; the dotted " +
      "line is the nominal value. The last range is written beside it, with its share of the limits. " +
      `At most ${DATA.times} lines of a log are shown, evenly spaced. ` +
      (with_.length > side.length ? `The first ${side.length} of ${with_.length} runs.` : "")),
    names.length ? h("div", { class: "scroll" }, h("table", { class: "ranges" },
      h("thead", {}, h("tr", {}, h("th", { scope: "col" }, "row, limits"), side.map((run) =>
        h("th", { scope: "col" }, key(state.runs.indexOf(run.name)), run.name)))),
      h("tbody", {}, body))) : h("p", { class: "none" }, "No row is open."));
}

function groupBy(items, of) {
  const out = new Map();
  for (const item of items) out.set(of(item), [...(out.get(of(item)) || []), item]);
  return out;
}

function isOpen(row) {
  return row !== undefined && row[2] < row[3];
}

function bandCell(run, name) {
  const found = run.ranges.rows[name];
  if (!found) return h("span", { class: "none" }, "has no such row");
  const [lows, highs, low, high] = found;
  const [, nominal, from, to, , log] = DATA.tables[run.table][name];
  const count = run.ranges.step.length;
  const each = (ends) => (Array.isArray(ends) ? ends : Array(count).fill(ends));
  const first = Math.min(0, run.ranges.step[0]);
  const span = run.ranges.step[count - 1] - first || 1;
  const x = (i) => (count === 1 ? [0, 100][i] : 100 * (run.ranges.step[i] - first) / span);
  const lo = each(lows), hi = each(highs);
  if (count === 1) { lo.push(lo[0]); hi.push(hi[0]); }
  const up = hi.map((v, i) => `${x(i).toFixed(1)} ${100 - v}`);
  const down = lo.map((v, i) => `${x(i).toFixed(1)} ${100 - v}`).reverse();
  const f = log ? Math.log : (v) => v;
  const middle = 100 - 100 * (f(nominal) - f(from)) / (f(to) - f(from));
  const place = colour(state.runs.indexOf(run.name));
  const share = each(highs)[count - 1] - each(lows)[count - 1];
  const text = low === high ? `closed at ${short(low)}` : `${short(low)} to ${short(high)}, ${share} %`;
  return h("div", { class: "band-cell" },
    s("svg", { class: "band", viewBox: "0 0 100 100", preserveAspectRatio: "none", role: "img",
      "aria-label": `${name}: ${text} of the limits` },
      s("path", { d: `M${[...up, ...down].join("L")}Z`, style: `fill:${place};stroke:${place}`,
        "fill-opacity": 0.45, "stroke-width": 1, "vector-effect": "non-scaling-stroke" }),
      s("line", { x1: 0, x2: 100, y1: middle, y2: middle, style: "stroke:var(--ink)",
        "stroke-dasharray": "2 3", "vector-effect": "non-scaling-stroke" })),
    h("span", { class: "ends" }, text));
}

// ---- results, pictures, flights --------------------------------------------------------------------

function resultsSection(runs) {
  const files = runs.flatMap((run) => run.results.map((file) => ({ run, ...file })));
  if (!files.length) return null;
  const lines = (parts) => files.flatMap((file) => file.lines
    .filter((line) => Boolean(line.part) === parts).map((line) => ({ ...file, line })));
  const [whole, parts] = [lines(false), lines(true)];
  return section("results", "Results",
    whole.length > 0 && [h("p", { class: "soft" }, "Share of episodes that reached the goal; the thin line is " +
      "the 95 % interval where the file has one."), resultsTable(whole)],
    parts.length > 0 && h("details", {}, h("summary", {}, `robot by robot (${parts.length} lines)`),
      resultsTable(parts)),
    files.filter((file) => Object.keys(file.facts).length).map((file) => h("details", {},
      h("summary", {}, `figures of ${file.run.name}/${file.file}`),
      h("dl", { class: "facts" }, Object.entries(file.facts).map(([name, value]) =>
        h("div", {}, h("dt", {}, name), h("dd", {}, plain(value === true || value === false ? String(value) : value))))))),
    files.filter((file) => file.left_out).map((file) =>
      h("p", { class: "soft" }, `${file.left_out} more lines of ${file.run.name}/${file.file} are left out.`)));
}

function resultsTable(lines) {
  const rows = lines.map(({ run, file, line }) => h("tr", {},
    h("th", { scope: "row" }, key(state.runs.indexOf(run.name)), run.name),
    h("td", {}, line.label || "all episodes", h("br"), h("span", { class: "ends" }, file)),
    h("td", {}, rateCell(line.success, state.runs.indexOf(run.name))),
    h("td", { class: "n" }, line.episodes ?? ""), h("td", { class: "n" }, estimate(line.return)),
    h("td", { class: "wide" }, line.note || "")));
  const heads = [["run"], ["of what, file"], ["success"], ["episodes", "n"], ["return", "n"],
    ["why others failed", "wide"]];
  return h("div", { class: "scroll" }, h("table", { class: "wrap" },
    h("thead", {}, h("tr", {}, heads.map(([text, name]) => h("th", { scope: "col", class: name }, text)))),
    h("tbody", {}, rows)));
}

function rateCell([value, low, high], place) {
  const interval = low !== null && high !== null;
  const style = `--low:${100 * low}%;--wide:${100 * (high - low)}%`;
  return h("div", { class: "rate-cell" },
    h("div", { class: "bar rate", "aria-hidden": "true" },
      h("span", { class: "fill", style: `--from:0%;--wide:${100 * value}%;background:${colour(place)}` }),
      interval && h("span", { class: "interval", style })),
    h("span", {}, h("strong", {}, percent(value)),
      interval && h("span", { class: "soft" }, ` (${percent(low).replace(" %", "")} to ${percent(high)})`)));
}

function estimate(found) {
  if (!found) return "";
  const [value, low, high] = found;
  return low === null || high === null ? short(value) : `${short(value)} (${short(low)} to ${short(high)})`;
}

function picturesSection(runs) {
  const found = runs.flatMap((run) => run.pictures.map((picture) => ({ run, ...picture })));
  if (!found.length) return null;
  const still = matchMedia("(prefers-reduced-motion: reduce)").matches;
  const figures = found.map((picture) => h("figure",
    { class: picture.pixels ? "pixels" : picture.title.endsWith(".svg") ? "drawing" : null },
    picture.src ? h("img", { src: picture.src, alt: `${picture.title} of ${picture.run.name}`, loading: "lazy" })
      : h("p", { class: "none" }, "not in this page; give it more room with --pictures-mb"),
    h("figcaption", {}, key(state.runs.indexOf(picture.run.name)), `${picture.run.name}: ${picture.title}`,
      !picture.embedded && picture.src && ` (${size(picture.bytes)}, from its own file)`)));
  const drawings = figures.filter((one) => one.className === "drawing");
  const others = figures.filter((one) => one.className !== "drawing");
  const grid = (members) => h("div", { class: "pictures" }, members);
  return section("pictures", "Pictures and films",
    others.length > 0 && (still ? h("details", {}, h("summary", {}, `${others.length}, some of which move`),
      grid(others)) : grid(others)),
    drawings.length > 0 && h("details", {}, h("summary", {}, `drawings (${drawings.length})`), grid(drawings)));
}

function flightsSection(runs) {
  const found = runs.filter((run) => run.flights);
  if (!found.length) return null;
  const counts = (of) => Object.entries(of).map(([name, count]) => `${name} ${short(count)}`).join(", ");
  const sum = (logs, name) => logs.reduce((total, log) => total + (log[name] || 0), 0);
  const rows = found.map(({ name, flights }) => h("tr", {},
    h("th", { scope: "row" }, key(state.runs.indexOf(name)), name),
    h("td", { class: "n" }, flights.logs.length),
    h("td", { class: "n" }, duration(sum(flights.logs, "seconds"))),
    h("td", { class: "n" }, short(sum(flights.logs, "steps"))),
    h("td", {}, counts(flights.modes)),
    h("td", {}, counts(flights.events) || (flights.counted ? "none" : "not counted")),
    h("td", { class: "n" }, flights.counted)));
  const heads = [["run"], ["logs", "n"], ["time", "n"], ["steps", "n"], ["steps by mode"], ["interventions"],
    ["logs counted", "n"]];
  const list = found.map((run) => h("details", {}, h("summary", {}, `logs of ${run.name}`),
    h("div", { class: "scroll" }, h("table", {},
      h("thead", {}, h("tr", {}, ["log", "robot", "begun", "time", "steps", "size", ""].map((text) =>
        h("th", { scope: "col" }, text)))),
      h("tbody", {}, run.flights.logs.map((log) => h("tr", {}, h("th", { scope: "row" }, log.file),
        [log.robot, date(log.begun), duration(log.seconds), short(log.steps), size(log.bytes),
          log.torn ? `${log.torn} bytes are torn` : ""].map((text) => h("td", {}, text)))))))));
  return section("flights", "Flight logs",
    h("p", { class: "soft" }, "Modes and interventions of the safety layer are counted in as many logs as the " +
      "last column says."),
    h("div", { class: "scroll" }, h("table", { class: "wrap" },
      h("thead", {}, h("tr", {}, heads.map(([text, name]) => h("th", { scope: "col", class: name }, text)))),
      h("tbody", {}, rows))), list);
}

// ---- the page ---------------------------------------------------------------------------------------

function build() {
  readAddress();
  refill(document.getElementById("view"),
    h("section", { id: "runs" }, filters(),
      h("p", { id: "count", class: "soft", role: "status" }),
      h("div", { class: "runs", tabindex: 0, role: "region", "aria-label": "table of runs" },
        h("table", { id: "runs-table" }))),
    h("div", { id: "chosen" }),
    problems());
  showRows();
  showChosen();
}

function problems() {
  if (!DATA.problems.length) return h("div");
  return section("problems", "Files that could not be used", h("ul", {}, DATA.problems.map((problem) =>
    h("li", {}, h("code", {}, problem.file), `: ${problem.why}`))));
}

/** Loads the page again and again where it is being rewritten, except while somebody types. */
function followRuns() {
  const about = document.getElementById("about");
  about.textContent = `${DATA.folders.join(", ")}; written ${date(DATA.written)}.`;
  if (!DATA.watch_s) return;
  const box = h("input", { type: "checkbox", checked: true });
  about.append(" ", h("label", {}, box, ` load anew every ${DATA.watch_s} s`));
  setInterval(() => {
    const typing = document.activeElement instanceof HTMLInputElement &&
      document.activeElement.type === "search";
    if (box.checked && !document.hidden && !typing) location.reload();
  }, 1000 * DATA.watch_s);
}

window.addEventListener("hashchange", build);
followRuns();
build();
