// From values to places between 0 and 1 on an axis, and where its ticks lie.

const DECADES = 1.5; // values that span more than this get a log axis
const MOST_BANDS = 24; // different values that get a band each

function numberScale(values) {
  const low = values.reduce((a, b) => Math.min(a, b), Infinity);
  const high = values.reduce((a, b) => Math.max(a, b), -Infinity);
  const log = low > 0 && Math.log10(high) - Math.log10(low) > DECADES;
  const to = log ? Math.log10 : (value) => value;
  const span = to(high) - to(low) || Math.abs(to(low)) || 1;
  const [from, length] = [to(low) - 0.05 * span, 1.1 * span];
  const middle = low === high ? 0.5 - (to(low) - from) / length : 0;
  const place = (value) => middle + (to(value) - from) / length;
  const ticks = (log ? decades(low, high) : evenly(low, high)).map((tick) => ({
    at: place(tick.value),
    text: tick.text,
  }));
  return { log, place, ticks };
}

function evenly(low, high) {
  if (low === high) return [{ value: low, text: shown(low) }];
  const rough = (high - low) / 5;
  const power = 10 ** Math.floor(Math.log10(rough));
  const step = power * [1, 2, 5, 10].find((factor) => factor * power >= rough);
  const digits = Math.max(0, -Math.floor(Math.log10(step) + 1e-9));
  const ticks = [];
  for (let k = Math.ceil(low / step); k * step <= high; k++) {
    const value = k * step;
    const plain = digits <= 6 && Math.abs(value) < 1e4;
    ticks.push({ value, text: plain ? value.toFixed(digits) : shown(value) });
  }
  return ticks;
}

function decades(low, high) {
  const [first, last] = [Math.floor(Math.log10(low)), Math.ceil(Math.log10(high))];
  const span = Math.log10(high) - Math.log10(low);
  const factors = span <= 2 ? [1, 2, 5] : span <= 4 ? [1, 3] : [1];
  const every = Math.ceil((last - first) / 8);
  const ticks = [];
  for (let power = first; power <= last; power += every) {
    for (const factor of factors) {
      const value = Number(`${factor}e${power}`);
      if (value >= low * 0.98 && value <= high * 1.02) ticks.push({ value, text: shown(value) });
    }
  }
  return ticks;
}

// A band for each value of an option, in order; for many numbers a scale, on which a value has the
// room to its nearest neighbour.
function optionScale(column) {
  const { values, of } = column.level;
  const many = values.length > MOST_BANDS;
  if (column.isNumber && many && values.every(Number.isFinite) && !of.includes(-1)) {
    const { place, ticks } = numberScale(values);
    const gaps = values.slice(1).map((value, i) => place(value) - place(values[i]));
    const room = gaps.reduce((a, b) => Math.min(a, b), 1);
    const at = (run) => place(column.values[run]);
    return { bands: 0, room, level: (run) => of[run], at, ticks };
  }
  const texts = values.map((value) => told(column, value));
  if (of.includes(-1)) texts.push("–");
  const level = (run) => (of[run] < 0 ? values.length : of[run]);
  const at = (i) => (i + 0.5) / texts.length;
  const ticks = texts.map((text, i) => ({ at: at(i), text }));
  return { bands: texts.length, room: 1 / texts.length, level, at: (run) => at(level(run)), ticks };
}
