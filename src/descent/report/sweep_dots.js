// Every run as a dot: a measure over a swept option, coloured by another.

const MOST_GROUPS = 8; // colours that stand side by side; more share the middle of a band
const GAP = 4; // pixels between strips
const MOST_ROWS_OF_STRIP = 8;
const CHARACTER = 7.2; // pixels, of a tick's text

const dots = {
  box: document.getElementById("plot"),
  svg: document.querySelector("#plot svg"),
  axes: document.getElementById("plot-axes"),
  marks: document.getElementById("plot-marks"),
  legend: document.getElementById("plot-legend"),
  measure: document.getElementById("plot-measure"),
  across: document.getElementById("plot-across"),
  colour: document.getElementById("plot-colour"),
  x: new Float64Array(count), // pixels
  y: new Float64Array(count),
};

function buildDots() {
  study.measures.forEach((measure, i) => dots.measure.append(new Option(measure.label, i)));
  if (!study.measures.length) dots.measure.append(new Option("none", ""));
  const choices = swept.length ? swept : [columns[0]];
  for (const column of choices) dots.across.append(new Option(column.name, columns.indexOf(column)));
  dots.colour.append(new Option("nothing", ""));
  for (const column of swept) dots.colour.append(new Option(column.name, columns.indexOf(column)));
  const across = choices.find((column) => column.isNumber) ?? choices[0];
  const rest = swept.filter((column) => column !== across);
  const few = rest.filter((column) => column.level.values.length <= MOST_GROUPS);
  const colour = few.find((column) => !column.isNumber) ?? few[0] ?? rest[0];
  dots.across.value = columns.indexOf(across);
  dots.colour.value = colour ? columns.indexOf(colour) : "";
  for (const run of everyRun) dots.marks.append(drawn("path", { "data-run": run }));
}

function drawn(tag, attributes, text = "") {
  const element = document.createElementNS(dots.svg.namespaceURI, tag);
  for (const [name, value] of Object.entries(attributes)) element.setAttribute(name, value);
  element.textContent = text;
  return element;
}

function drawDots() {
  const measure = study.measures[dots.measure.value] ?? null;
  const across = columns[dots.across.value];
  const colour = columns[dots.colour.value] ?? null;
  const scores = everyRun.map((run) => (measure ? scoreOf(measure, run) : null));
  const known = scores.filter((score) => score !== null);
  const up = known.length ? numberScale(known) : null;
  const scale = optionScale(across);
  const radius = count > 1000 ? 3 : count > 200 ? 4 : 5;
  const width = Math.max(260, dots.box.clientWidth);
  const frame = { left: 70, right: width - 10, top: 26, size: 2 * radius + 1 };
  const cells = cellsOf(areasOf(scores), scale, colour === across ? null : colour, frame);
  const strips = stack([...new Set(cells.map((cell) => cell.area))].filter((area) => area.name), cells, frame);
  frame.scaleTop = frame.top + strips.reduce((sum, strip) => sum + strip.high + GAP, 0);
  frame.bottom = frame.scaleTop + (width < 600 ? 230 : 300);
  dots.svg.setAttribute("width", width);
  dots.svg.setAttribute("height", frame.bottom + 44);
  drawAxes(frame, strips, scale, up, measure, across);
  for (const cell of cells) placeCell(cell, frame, scale, up, scores);
  colourDots(colour, radius);
  markDots();
}

// The scale, and strips above it: for runs that diverged, and for others without a value.
function areasOf(scores) {
  const diverged = (run) => statuses.values[run] === "diverged";
  return [
    { name: "diverged", runs: everyRun.filter(diverged) },
    { name: "no value", runs: everyRun.filter((run) => scores[run] === null && !diverged(run)) },
    { name: "", runs: everyRun.filter((run) => scores[run] !== null && !diverged(run)) },
  ];
}

// Runs that share an area, a band and a colour stand beside one another.
function cellsOf(areas, scale, colour, frame) {
  const levels = colour ? colour.level.values.length + colour.level.of.includes(-1) : 1;
  const groups = scale.bands && levels <= MOST_GROUPS ? levels : 1;
  const room = scale.bands ? ((frame.right - frame.left) / scale.bands / groups) * 0.86 : 0;
  const cells = new Map();
  for (const area of areas) {
    for (const run of area.runs) {
      const group = groups === 1 ? 0 : (colour.level.of[run] + groups) % groups;
      const key = `${area.name} ${scale.bands ? scale.band(run) : ""} ${group}`;
      const aside = (group - (groups - 1) / 2) * room;
      if (!cells.has(key)) cells.set(key, { area, runs: [], room, aside });
      cells.get(key).runs.push(run);
    }
  }
  return [...cells.values()];
}

// As many rows in a strip as its fullest cell needs.
function stack(strips, cells, frame) {
  let top = frame.top;
  for (const strip of strips) {
    const own = cells.filter((cell) => cell.area === strip);
    const rows = own.map((cell) => Math.ceil(cell.runs.length / Math.max(1, Math.floor(cell.room / frame.size))));
    strip.rows = Math.min(Math.max(2, ...rows), MOST_ROWS_OF_STRIP);
    strip.high = strip.rows * frame.size + 10;
    strip.top = top;
    top += strip.high + GAP;
  }
  return strips;
}

function placeCell({ area, runs, room, aside }, frame, scale, up, scores) {
  const [wide, high] = [frame.right - frame.left, frame.bottom - frame.scaleTop];
  for (const run of runs) {
    dots.x[run] = frame.left + scale.at(run) * wide + aside;
    if (!area.name) dots.y[run] = frame.bottom - up.place(scores[run]) * high;
  }
  if (area.name) lineUp(runs, area, room, frame.size);
  else if (room) spread(runs, room, frame.size);
}

// Dots that would hide one another step aside, the nearest free place first.
function spread(runs, room, size) {
  const places = Math.max(1, Math.floor(room / size));
  const last = new Float64Array(places).fill(-Infinity); // height of the last dot in each place
  const aside = (i) => (i % 2 ? (i + 1) / 2 : -i / 2); // 0, 1, -1, 2, -2 ...
  for (const run of runs.toSorted((a, b) => dots.y[a] - dots.y[b] || a - b)) {
    let place = last.findIndex((y) => dots.y[run] - y >= size);
    if (place < 0) place = last.indexOf(last.reduce((a, b) => Math.min(a, b)));
    last[place] = dots.y[run];
    dots.x[run] += aside(place) * size;
  }
}

// In a strip the height says nothing: dots stand in rows, closer where they are many.
function lineUp(runs, strip, room, size) {
  const rows = Math.min(runs.length, strip.rows);
  const inRow = Math.ceil(runs.length / rows);
  const apart = Math.min(room / inRow, size + 1);
  runs.forEach((run, k) => {
    dots.x[run] += (Math.floor(k / rows) - (inRow - 1) / 2) * apart;
    dots.y[run] = strip.top + strip.high / 2 + ((k % rows) - (rows - 1) / 2) * size;
  });
}

function drawAxes(frame, strips, scale, up, measure, across) {
  const parts = [];
  const text = (x, y, anchor, words) =>
    parts.push(drawn("text", { x, y, "text-anchor": anchor }, words));
  const line = (x1, y1, x2, y2) => parts.push(drawn("line", { x1, y1, x2, y2 }));
  for (const { name, top, high } of strips) {
    const box = { x: frame.left, y: top, width: frame.right - frame.left, height: high };
    parts.push(drawn("rect", { ...box, class: "strip" }));
    text(frame.left - 8, top + high / 2 + 4, "end", name);
  }
  for (const tick of up?.ticks ?? []) {
    const y = frame.bottom - tick.at * (frame.bottom - frame.scaleTop);
    line(frame.left, y, frame.right, y);
    text(frame.left - 8, y + 4, "end", tick.text);
  }
  line(frame.left, frame.bottom, frame.right, frame.bottom);
  for (let i = 1; i < scale.bands; i++) {
    const x = frame.left + (i / scale.bands) * (frame.right - frame.left);
    line(x, frame.scaleTop, x, frame.bottom);
  }
  const better = measure ? ` (${measure.lower ? "lower" : "higher"} is better)` : "";
  text(2, 15, "start", (measure?.label ?? "no measure") + better);
  drawTicks(parts, frame, scale, across.isNumber);
  text((frame.left + frame.right) / 2, frame.bottom + 38, "middle", across.name);
  dots.axes.replaceChildren(...parts);
}

function drawTicks(parts, frame, scale, isNumber) {
  const room = (frame.right - frame.left) / Math.max(scale.bands, 1) / CHARACTER; // characters
  const longest = Math.max(...scale.ticks.map((tick) => tick.text.length));
  const every = scale.bands ? Math.ceil((isNumber ? longest + 1 : 5) / room) : 1;
  scale.ticks.forEach((tick, i) => {
    if (i % every) return;
    const most = scale.bands ? Math.floor(every * room) - 1 : Infinity;
    const fits = tick.text.length <= most;
    const x = frame.left + tick.at * (frame.right - frame.left);
    const label = drawn(
      "text",
      { x, y: frame.bottom + 18, "text-anchor": "middle" },
      fits ? tick.text : `${tick.text.slice(0, most - 1)}…`,
    );
    if (!fits) label.append(drawn("title", {}, tick.text));
    parts.push(label);
  });
}
