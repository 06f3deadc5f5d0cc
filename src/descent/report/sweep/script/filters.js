// Which runs pass: a text in any cell, a status, a value of each swept option.

const MOST_CHOICES = 30; // of an option that gets a list of its own

const filters = {
  text: document.getElementById("filter-text"),
  lists: [], // a select each, with its column
  passes: new Uint8Array(count).fill(1),
  searched: null, // the text of each run, made when first asked for
};

function buildFilters() {
  const few = swept.filter((column) => column.level.values.length <= MOST_CHOICES);
  for (const column of [statuses, ...few]) {
    const select = make("select");
    const choices = column.level.values.map((value, level) => [level, told(column, value)]);
    if (column.level.of.includes(-1)) choices.push([-1, "–"]);
    select.append(make("option", { value: "" }, "all"));
    for (const [level, text] of choices) select.append(make("option", { value: level }, text));
    filters.lists.push({ column, select });
    document
      .getElementById("filter-lists")
      .append(make("label", {}, make("span", {}, column.name), select));
  }
}

function clearFilters() {
  filters.text.value = "";
  for (const { select } of filters.lists) select.value = "";
}

function applyFilters(within) {
  const wanted = filters.text.value.toLowerCase().split(/\s+/).filter(Boolean);
  const asked = filters.lists.filter(({ select }) => select.value !== "");
  if (wanted.length) filters.searched ??= everyRun.map((run) => searched(run, within));
  for (const run of everyRun) {
    filters.passes[run] =
      asked.every(({ column, select }) => column.level.of[run] === Number(select.value)) &&
      wanted.every((word) => filters.searched[run].includes(word));
  }
}
