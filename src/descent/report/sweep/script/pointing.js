// Which run is meant: pointing at dots, stepping through them by keys, choosing one and its row.

const REACH = 24; // pixels from which a dot is still meant: a finger is not sharp

const tip = document.getElementById("plot-tip");
const card = document.getElementById("chosen");
const rings = {
  pointed: document.getElementById("ring-pointed"),
  chosen: document.getElementById("ring-chosen"),
};
const chosen = { run: null, pointed: null };

function nearest(event) {
  const box = dots.svg.getBoundingClientRect();
  const [x, y] = [event.clientX - box.left, event.clientY - box.top];
  let [best, least] = [null, REACH];
  for (const run of everyRun) {
    // a run that the filters hide gives way to others
    const handicap = filters.passes[run] ? 0 : REACH / 2;
    const away = Math.hypot(dots.x[run] - x, dots.y[run] - y) + handicap;
    if (away < least) [best, least] = [run, away];
  }
  return best;
}

function pointAt(run) {
  if (run === chosen.pointed) return;
  chosen.pointed = run;
  ring(rings.pointed, run);
  tip.hidden = run === null;
  if (run === null) return;
  const measure = study.measures[dots.measure.value];
  tip.replaceChildren(make("strong", {}, title(run)), ...facts(run, measure ? [measure] : []));
  const [wide, high] = [tip.offsetWidth, tip.offsetHeight];
  const left = Math.min(Math.max(0, dots.x[run] - wide / 2), dots.box.clientWidth - wide);
  const above = dots.y[run] - high - 12;
  tip.style.left = `${Math.max(0, left)}px`;
  tip.style.top = `${above < 0 ? dots.y[run] + 14 : above}px`;
}

function ring(circle, run) {
  circle.toggleAttribute("hidden", run === null);
  if (run === null) return;
  circle.setAttribute("cx", dots.x[run]);
  circle.setAttribute("cy", dots.y[run]);
}

function title(run) {
  return `run ${cellText(columns[0], run)}: ${statuses.values[run]}`;
}

// What was swept and what came of it, name and value.
function facts(run, measures) {
  const list = make("dl");
  const fact = (name, text) =>
    list.append(make("div", {}, make("dt", {}, name), make("dd", {}, text)));
  for (const column of columns) {
    if (column.swept || column.seed) fact(column.name, cellText(column, run));
  }
  for (const measure of measures) {
    fact(measure.label, shown(scoreOf(measure, run), columns[measure.column].whole));
  }
  const reason = statuses.reasons[run];
  return reason ? [list, make("p", { class: "reason" }, reason)] : [list];
}

function choose(run) {
  chosen.run = run;
  ring(rings.chosen, run);
  const row = run === null ? null : showRow(run);
  for (const other of table.body.children) other.classList.toggle("chosen", other === row);
  drawCard(run, row);
}

function drawCard(run, row) {
  if (run === null) return card.replaceChildren(make("p", { class: "hint" }, card.dataset.hint));
  const link = columns.find((column) => column.links)?.links[run];
  const go = make("button", { type: "button" }, "Go to its row");
  go.addEventListener("click", () => {
    const target = showRow(run);
    target.scrollIntoView({ block: "center" });
    target.querySelector("button").focus({ preventScroll: true });
  });
  const ways = [row ? go : make("span", {}, "The filters hide its row.")];
  if (link) ways.unshift(make("a", { href: link }, "Open its directory"));
  const command = make("pre", {}, make("code", {}, study.commands[run]));
  const copy = make("button", { type: "button", class: "copy" }, "Copy");
  copy.setAttribute("aria-label", "Copy the command that repeats this run");
  card.replaceChildren(
    make("h3", {}, title(run)),
    ...facts(run, study.measures),
    make("p", { class: "ways" }, ...ways),
    make("div", { class: "command" }, command, copy),
  );
}

// ---- keys

// along, across, by how many; Home and End begin anew
const STEPS = {
  ArrowRight: ["x", "y", 1],
  ArrowLeft: ["x", "y", -1],
  ArrowUp: ["y", "x", -1],
  ArrowDown: ["y", "x", 1],
  Home: ["x", "y", 1],
  End: ["x", "y", -1],
};

function pressed(event) {
  const now = chosen.pointed ?? chosen.run;
  if (event.key in STEPS) {
    const [along, across, by] = STEPS[event.key];
    const from = event.key.startsWith("Arrow") ? now : null;
    pointAt(neighbour(from, dots[along], dots[across], by));
  } else if (event.key === "Enter" || event.key === " ") choose(now);
  else if (event.key === "Escape") pointAt(null);
  else return;
  event.preventDefault();
}

// The next run along an axis, of those that pass the filters.
function neighbour(now, along, across, by) {
  const line = table.runs.toSorted((a, b) => along[a] - along[b] || across[a] - across[b] || a - b);
  if (!line.length) return null;
  const place = now === null ? -1 : line.indexOf(now);
  if (place < 0) return by > 0 ? line[0] : line.at(-1);
  return line[Math.min(Math.max(place + by, 0), line.length - 1)];
}
