// Every run as a dot: a measure over a swept option, coloured by another.

const MOST_GROUPS = 8; // colours that stand side by side; more share the middle of a band
const GAP = 4; // pixels between strips
const MOST_ROWS_OF_STRIP = 8;

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
  const offer = (select, column) => select.append(new Option(column.name, columns.indexOf(column)));
  for (const column of choices) offer(dots.across, column);
  dots.colour.append(new Option("nothing", ""));
  for (const column of swept) offer(dots.colour, column);
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
  const strips = stack(cells, frame);
  frame.scaleTop = frame.top + strips.reduce((sum, strip) => sum + strip.high + GAP, 0);
  frame.bottom = frame.scaleTop + (width < 600 ? 230 : 300);
  dots.svg.setAttribute("width", width);
  dots.svg.classList.toggle("many", count > 1000);
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

// Runs that share an area, a value and a colour stand beside one another.
function cellsOf(areas, scale, colour, frame) {
  const levels = colour ? colour.level.values.length + colour.level.of.includes(-1) : 1;
  const groups = scale.bands && levels <= MOST_GROUPS ? levels : 1;
  const room = ((frame.right - frame.left) * scale.room * 0.86) / groups;
  const cells = new Map();
  for (const area of areas) {
    for (const run of area.runs) {
      const group = groups === 1 ? 0 : (colour.level.of[run] + groups) % groups;
      const key = `${area.name} ${scale.level(run)} ${group}`;
      const aside = (group - (groups - 1) / 2) * room;
      if (!cells.has(key)) cells.set(key, { area, runs: [], room, aside });
      cells.get(key).runs.push(run);
    }
  }
  return [...cells.values()];
}

// As many rows in a strip as its fullest cell needs.
function stack(cells, frame) {
  const strips = [...new Set(cells.map((cell) => cell.area))].filter((area) => area.name);
  let top = frame.top;
  for (const strip of strips) {
    const own = cells.filter((cell) => cell.area === strip);
    const beside = (cell) => Math.max(1, Math.floor(cell.room / frame.size));
    const rows = own.map((cell) => Math.ceil(cell.runs.length / beside(cell)));
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
  else spread(runs, room, frame.size);
}

// Dots that would hide one another step aside, the nearest free place first; where the room is
// narrow they overlap in part.
function spread(runs, room, size) {
  const step = Math.max(1, Math.min(size, room / 5));
  const places = Math.max(1, Math.floor(room / step));
  const last = new Float64Array(places).fill(-Infinity); // height of the last dot in each place
  const aside = (i) => (i % 2 ? (i + 1) / 2 : -i / 2); // 0, 1, -1, 2, -2 ...
  for (const run of runs.toSorted((a, b) => dots.y[a] - dots.y[b] || a - b)) {
    let place = last.findIndex((y) => dots.y[run] - y >= size);
    if (place < 0) place = last.indexOf(last.reduce((a, b) => Math.min(a, b)));
    last[place] = dots.y[run];
    dots.x[run] += aside(place) * step;
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
