// Everything tied together, once the page stands.

function markDots() {
  dots.marks.childNodes.forEach((mark, run) => mark.classList.toggle("out", !filters.passes[run]));
  ring(rings.chosen, chosen.run);
  chosen.pointed = null;
  ring(rings.pointed, null);
  tip.hidden = true;
}

function filterRuns() {
  applyFilters(tableColumns());
  listRuns();
  markDots();
  choose(chosen.run);
}

async function copy(button, text) {
  let done = true;
  try {
    await navigator.clipboard.writeText(text);
  } catch {
    done = copyByHand(text); // a page opened as a file may not use the clipboard directly
    button.focus();
  }
  const said = done ? "Copied" : "Not copied";
  document.getElementById("said").textContent = said;
  button.textContent = said;
  setTimeout(() => {
    button.textContent = "Copy";
    document.getElementById("said").textContent = "";
  }, 2000);
}

function copyByHand(text) {
  const area = make("textarea", { class: "unseen" });
  area.value = text;
  document.body.append(area);
  area.select();
  const done = document.execCommand("copy");
  area.remove();
  return done;
}

function clicked(event) {
  const button = event.target.closest("button.copy");
  const row = event.target.closest("#runs tbody tr");
  if (button) {
    const command = button.closest(".command")?.querySelector("code").textContent;
    copy(button, command ?? study.commands[row.dataset.run]);
  } else if (row && !event.target.closest("a") && getSelection().isCollapsed) {
    choose(Number(row.dataset.run));
  }
}

document.documentElement.classList.add("scripted");
buildFilters();
drawHead();
buildDots();
listRuns();
choose(null);
drawDots();

document.addEventListener("click", clicked);
filters.text.addEventListener("input", filterRuns);
document.getElementById("filter-lists").addEventListener("change", filterRuns);
document.getElementById("clear-filters").addEventListener("click", () => {
  clearFilters();
  filterRuns();
});
table.everyColumn.addEventListener("change", () => {
  filters.searched = null; // what is found is what is shown
  drawHead();
  filterRuns();
});
table.previous.addEventListener("click", () => turnTo(table.page - 1));
table.next.addEventListener("click", () => turnTo(table.page + 1));
document.getElementById("runs-csv").addEventListener("click", () => {
  saveAs("runs.csv", "text/csv;charset=utf-8", runsCsv(tableColumns()));
});
document.getElementById("runs-tex").addEventListener("click", () => {
  saveAs("runs.tex", "text/x-tex;charset=utf-8", runsLatex(tableColumns()));
});
for (const select of [dots.measure, dots.across, dots.colour]) {
  select.addEventListener("change", drawDots);
}
dots.svg.addEventListener("pointermove", (event) => pointAt(nearest(event)));
dots.svg.addEventListener("pointerleave", () => pointAt(null));
dots.svg.addEventListener("click", (event) => choose(nearest(event) ?? chosen.run));
dots.svg.addEventListener("keydown", pressed);
dots.svg.addEventListener("blur", () => pointAt(null));
new ResizeObserver(() => {
  if (dots.box.clientWidth !== Number(dots.svg.getAttribute("width"))) drawDots();
}).observe(dots.box);
