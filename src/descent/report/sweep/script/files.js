// The table of all runs as a file: the runs that pass the filters, in their order, with the columns shown.

const LATEX = {
  "\\": "\\textbackslash{}", "~": "\\textasciitilde{}", "^": "\\textasciicircum{}",
  "²": "$^2$", "±": "$\\pm$", "–": "--",
};

function runsCsv(within) {
  const heads = within.flatMap((column) => (column === statuses ? ["status", "reason"] : [column.name]));
  const rows = table.runs.map((run) => within.flatMap((column) => exact(column, run)));
  return [heads, ...rows].map((row) => `${row.map(quoted).join(",")}\n`).join("");
}

function exact(column, run) {
  const value = column.values[run] ?? "";
  return column === statuses ? [value, statuses.reasons[run]] : [value];
}

function quoted(value) {
  const text = String(value);
  return /[",\n]/.test(text) ? `"${text.replaceAll('"', '""')}"` : text;
}

// For booktabs; `longtable` goes on over several pages of paper.
function runsLatex(within) {
  const line = (cells) => `${cells.map(escaped).join(" & ")} \\\\\n`;
  const places = within.map((column) => (column.isNumber ? "r" : "l")).join("");
  const rows = table.runs.map((run) => line(within.map((column) => cellText(column, run))));
  const head = line(within.map((column) => column.name));
  return `\\begin{longtable}{${places}}\n\\toprule\n${head}\\midrule\n\\endhead\n${rows.join("")}\\bottomrule\n\\end{longtable}\n`;
}

function escaped(text) {
  return text.replace(/[\\~^²±–&%$#_{}]/g, (letter) => LATEX[letter] ?? `\\${letter}`);
}

function saveAs(name, type, text) {
  const address = URL.createObjectURL(new Blob([text], { type }));
  make("a", { download: name, href: address }).click();
  setTimeout(() => URL.revokeObjectURL(address), 10_000); // once the browser has taken it
}
