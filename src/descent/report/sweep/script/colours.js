// Dots told apart by an option: colours and shapes for words, one scale of colours for numbers.

const MOST_NAMED = 12; // values that the legend names one by one
const COLOURS = 7;
const SHAPES = [
  (r) => `M${-r},0a${r},${r} 0 1,0 ${2 * r},0a${r},${r} 0 1,0 ${-2 * r},0`,
  (r) => `M${-r},${-r}h${2 * r}v${2 * r}h${-2 * r}z`,
  (r) => `M0,${-1.25 * r}L${1.2 * r},${0.95 * r}H${-1.2 * r}z`,
  (r) => `M0,${-1.35 * r}L${1.35 * r},0L0,${1.35 * r}L${-1.35 * r},0z`,
  (r) => `M0,${1.25 * r}L${1.2 * r},${-0.95 * r}H${-1.2 * r}z`,
];

function colourDots(colour, radius) {
  dots.marks.childNodes.forEach((mark, run) => {
    const [x, y] = [dots.x[run], dots.y[run]].map((place) => place.toFixed(1));
    mark.setAttribute("transform", `translate(${x},${y})`);
    dress(mark, colour, colour ? colour.level.of[run] : 0, radius);
  });
  drawLegend(colour);
}

// Shape and colour of a value: level -1 has none, and no option makes all alike.
function dress(mark, colour, level, radius) {
  const words = colour && !colour.isNumber;
  mark.setAttribute("d", SHAPES[words && level >= 0 ? level % SHAPES.length : 0](radius));
  mark.style.fill = !colour || words ? "" : ramp(level, colour.level.values.length);
  mark.setAttribute("class", level < 0 ? "unset" : `c${words ? level % COLOURS : 0}`);
}

function ramp(level, levels) {
  if (level < 0) return "";
  const at = levels > 1 ? (2 * level) / (levels - 1) : 0;
  const [from, to] = at < 1 ? [0, 1] : [1, 2];
  const much = (100 * (at - from)).toFixed(1);
  return `color-mix(in oklab, var(--ramp${to}) ${much}%, var(--ramp${from}))`;
}

function drawLegend(colour) {
  if (!colour) return dots.legend.replaceChildren();
  const { values, of } = colour.level;
  const named = values.length <= MOST_NAMED ? values.map((_, level) => level) : ends(colour);
  if (of.includes(-1)) named.push(-1);
  const chips = named.map((level) => {
    const mark = drawn("path", {});
    dress(mark, colour, level, 5);
    const size = { width: 16, height: 16, viewBox: "-8 -8 16 16" };
    const icon = drawn("svg", { ...size, "aria-hidden": true });
    icon.append(mark);
    return make("span", { class: "chip" }, icon, told(colour, values[level] ?? null));
  });
  if (values.length > MOST_NAMED) chips.push(make("span", { class: "chip" }, moreThan(colour)));
  dots.legend.replaceChildren(make("span", {}, `${colour.name}:`), ...chips);
}

// Of many numbers the legend names some from end to end, of many words the first.
function ends(colour) {
  const last = colour.level.values.length - 1;
  if (!colour.isNumber) return Array.from({ length: MOST_NAMED }, (_, level) => level);
  return [0, 0.25, 0.5, 0.75, 1].map((share) => Math.round(share * last));
}

function moreThan(colour) {
  const all = colour.level.values.length;
  return colour.isNumber ? `${all} values` : `and ${all - MOST_NAMED} more`;
}
