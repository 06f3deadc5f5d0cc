// The axes of the plot: its strips, lines, ticks and titles.

const CHARACTER = 7.2; // pixels, of a tick's text

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
