// The runs, one array a column: how a cell is shown, sorted and found.

const LONG_NAME = 13; // characters of a heading

// JSON has no infinities and no NaN: Python wrote them as words.
const WORDS = { inf: Infinity, "-inf": -Infinity, nan: NaN };

const study = JSON.parse(document.getElementById("study").textContent);
const count = study.count;
const everyRun = Array.from({ length: count }, (_, run) => run);
const byWord = new Intl.Collator("en", { numeric: true }); // [32] before [128]
const columns = study.columns.map(readColumn);
const statuses = columns.find((column) => column.reasons);
const swept = columns.filter((column) => column.swept);

function readColumn(given) {
  const values = given.numbers?.map((value) => WORDS[value] ?? value) ?? given.texts;
  const column = { ...given, values, isNumber: "numbers" in given };
  column.level = levelled(values, column.isNumber, given.order);
  column.key = column.isNumber
    ? Float64Array.from(values, (value) => value ?? NaN)
    : ranks(given.reasons ? values.map((word, run) => `${word}\n${given.reasons[run]}`) : values, given.order);
  return column;
}

// The different values in order, and which of them each run has: -1 for none. Words of a swept option
// come in the order that its pictures have, so that one colour means one of them on the whole page.
function levelled(values, isNumber, order) {
  const known = [...new Set(values)].filter((value) => value !== null && !Number.isNaN(value));
  const given = (a, b) => order.indexOf(a) - order.indexOf(b);
  known.sort(isNumber ? (a, b) => a - b : order ? given : byWord.compare);
  const place = new Map(known.map((value, level) => [value, level]));
  return { values: known, of: Int32Array.from(values, (value) => place.get(value) ?? -1) };
}

function ranks(texts, order) {
  return Float64Array.from(levelled(texts, false, order).of, (level) => (level < 0 ? NaN : level));
}

function told(column, value) {
  return column.isNumber ? shown(value, column.whole) : (value ?? "–");
}

function cellText(column, run) {
  return told(column, column.values[run]);
}

// The text that the filter looks through.
function searched(run, within) {
  return [...within.map((column) => cellText(column, run)), statuses.reasons[run]]
    .join("\n")
    .toLowerCase();
}

// What is missing comes last whichever way the column is sorted; ties stay in order.
function ordered(runs, column, falling) {
  const key = column.key;
  const sign = falling ? -1 : 1;
  return runs.toSorted((a, b) => {
    const missing = Number.isNaN(key[a]) - Number.isNaN(key[b]);
    return missing || sign * (key[a] - key[b]) || a - b;
  });
}

// A run's score: only of those that ended well, else null.
function scoreOf(measure, run) {
  const value = columns[measure.column].values[run];
  return statuses.values[run] === "ok" && Number.isFinite(value) ? value : null;
}

function make(tag, attributes = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) element.setAttribute(name, value);
  element.append(...children);
  return element;
}

// A long name in two parts that may stand in two lines, cut near its middle.
function breakable(name) {
  const cuts = [...name.matchAll(/[./_ ](?=.)/g)].map((found) => found.index + 1);
  if (name.length <= LONG_NAME || !cuts.length) return [name];
  const away = (cut) => Math.abs(cut - name.length / 2);
  const cut = cuts.reduce((best, next) => (away(next) < away(best) ? next : best));
  const part = (text) => make("span", { class: "part" }, text);
  return [part(name.slice(0, cut)), make("wbr"), part(name.slice(cut))];
}
