// The table of all runs, sorted, one page of rows in the document at a time.

const MOST_ROWS = 50; // thousands would make every sort wait

const table = {
  box: document.getElementById("runs-box"),
  head: document.querySelector("#runs thead tr"),
  body: document.querySelector("#runs tbody"),
  counted: document.getElementById("runs-counted"),
  previous: document.getElementById("previous-page"),
  next: document.getElementById("next-page"),
  everyColumn: document.getElementById("every-column"),
  sorted: columns[study.measures[0]?.column ?? 0],
  falling: study.measures.length > 0 && !study.measures[0].lower,
  runs: everyRun, // that pass the filters, in order
  page: 0,
};

function tableColumns() {
  return columns.filter((column) => !column.more || table.everyColumn.checked);
}

function drawHead() {
  const cells = tableColumns().map((column) => {
    const button = make("button", { type: "button" }, ...breakable(column.name));
    button.addEventListener("click", () => sortBy(column));
    const cell = make("th", { scope: "col", class: cellClass(column) }, button);
    cell.column = column;
    return cell;
  });
  table.head.replaceChildren(...cells, make("th", { scope: "col" }, "command"));
  markSorted();
}

function markSorted() {
  for (const cell of table.head.children) {
    cell.removeAttribute("aria-sort");
    if (cell.column === table.sorted) {
      cell.setAttribute("aria-sort", table.falling ? "descending" : "ascending");
    }
  }
}

function sortBy(column) {
  table.falling = column === table.sorted && !table.falling;
  table.sorted = column;
  markSorted();
  listRuns();
}

// Sorts and filters anew, and goes back to the first page.
function listRuns() {
  const passing = everyRun.filter((run) => filters.passes[run]);
  table.runs = ordered(passing, table.sorted, table.falling);
  turnTo(0);
}

function turnTo(page) {
  table.page = page;
  const first = page * MOST_ROWS;
  const runs = table.runs.slice(first, first + MOST_ROWS);
  const within = tableColumns();
  table.body.replaceChildren(...runs.map((run) => rowOf(run, within)));
  const all = table.runs.length;
  const [from, to, passing, every] = [first + 1, first + runs.length, all, count].map((number) =>
    shown(number, true),
  );
  const rest = all === count ? "" : ` that pass, ${every} in all`;
  table.counted.textContent = all
    ? `${from}–${to} of ${passing} runs${rest}`
    : `None of ${every} runs passes the filters.`;
  table.previous.disabled = page === 0;
  table.next.disabled = first + MOST_ROWS >= all;
  table.box.scrollTop = 0;
}

function rowOf(run, within) {
  const row = make("tr", { "data-run": run });
  if (run === chosen.run) row.classList.add("chosen");
  for (const column of within) row.append(cellOf(column, run));
  const copy = make("button", { type: "button", class: "copy" }, "Copy");
  copy.setAttribute("aria-label", `Copy the command that repeats run ${cellText(columns[0], run)}`);
  row.append(make("td", {}, copy));
  return row;
}

function cellOf(column, run) {
  const text = cellText(column, run);
  const cell = make("td", { class: cellClass(column) });
  if (column === columns[0]) {
    cell.append(make("button", { type: "button", class: "choose" }, text));
  } else if (column === statuses) {
    cell.append(...statusOf(run));
  } else if (column.links && column.links[run] !== null) {
    cell.append(make("a", { href: column.links[run] }, text));
  } else {
    cell.textContent = text;
    if (text === "–") cell.classList.add("none");
  }
  return cell;
}

function statusOf(run) {
  const word = statuses.values[run];
  const reason = statuses.reasons[run];
  const mark = make("span", { class: "status", "data-status": word }, word);
  return reason ? [mark, " ", make("span", { class: "reason" }, reason)] : [mark];
}

function cellClass(column) {
  if (column === statuses) return "outcome";
  return column.isNumber ? "number" : "word";
}

// The row of a run, on its page; null where a filter hides it.
function showRow(run) {
  const place = table.runs.indexOf(run);
  if (place < 0) return null;
  const page = Math.floor(place / MOST_ROWS);
  if (page !== table.page) turnTo(page);
  const row = table.body.children[place - page * MOST_ROWS];
  const box = table.box;
  const above = row.offsetTop - table.head.offsetHeight < box.scrollTop;
  const below = row.offsetTop + row.offsetHeight > box.scrollTop + box.clientHeight;
  if (above || below) box.scrollTop = row.offsetTop - box.clientHeight / 2;
  return row;
}
