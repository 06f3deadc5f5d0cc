"""How a text file is laid out: what parts its cells, and where its rows begin."""

from __future__ import annotations

import csv
import re
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from descent.errors import UserError, counted

SEPARATORS = {",": "commas", ";": "semicolons", "\t": "tabs", "|": "bars", " ": "blanks"}
# What a shell and Hydra would take for their own, as a word.
MARKS = {
    "comma": ",", "dot": ".", "semicolon": ";", "tab": "\t", "\\t": "\t", "bar": "|", "pipe": "|",
    "blank": " ", "space": " ",
}  # fmt: skip
# Cells that say there is no value, in any case; `data.missing_words` takes other ones.
MISSING_WORDS = ("", "na", "n/a", "#n/a", "#na", "<na>", "?", "-", "--", "null", "nan", r"\n")
SAMPLE_CHARACTERS, SAMPLE_ROWS = 2**18, 200
MOST_LINES_ABOVE = 20  # a title and remarks; a header further down is not looked for


@dataclass(frozen=True)
class Dialect:
    """How a file is written; `auto` finds it out.

    Args:
        separator: between cells: `auto`, one character, or its name, such as `tab`.
        decimal: `auto`, `dot` or `comma`.
        thousands: the mark between thousands: `auto`, `none`, `dot` or `comma`.
        encoding: `auto`, or a name that Python knows.
        header: whether the first row names the columns.
        comment: what begins a line that is no row: `auto`, `none`, or a text.
        missing_words: cells that say there is no value, in any case; None for the usual ones.
        day_first: whether 01/02/2026 is in February; None to find it out.
    """

    separator: str = "auto"
    decimal: str = "auto"
    thousands: str = "auto"
    encoding: str = "auto"
    header: bool = True
    comment: str = "auto"
    missing_words: Sequence[str] | None = None
    day_first: bool | None = None

    def __post_init__(self) -> None:
        for name in ("separator", "decimal", "thousands"):
            given = getattr(self, name)
            object.__setattr__(self, name, MARKS.get(given, given))

    @property
    def missing(self) -> list[str]:
        """Return the words for no value, in small letters."""
        given = MISSING_WORDS if self.missing_words is None else ("", *self.missing_words)
        return [str(word).strip().lower() for word in given]


@dataclass
class Layout:
    """Where the rows of a text are.

    Args:
        text: from the header on, or from the first row where there is none.
        separator: between cells; a blank stands for any run of blanks and tabs.
        comment: what begins lines that are no rows; None if there are none.
        width: cells of most rows.
        hash_header: whether the header stands behind a comment mark.
        first_line: the number of the text's first line in the file, from 1.
    """

    text: str
    separator: str
    comment: str | None
    width: int
    hash_header: bool
    first_line: int

    def cells(self, text: str) -> list[list[str]]:
        """Return a text's rows without comments, cell by cell; blank lines are empty rows."""
        lines = [
            line.strip() if self.separator == " " else line
            for line in text.split("\n")
            if self.comment is None or not line.startswith(self.comment)
        ]
        if self.separator == " ":
            lines = [line.replace("\t", " ") for line in lines]
        return list(csv_rows(lines, self.separator))


def csv_rows(lines: Sequence[str], separator: str, strict: bool = False) -> Iterator[list[str]]:
    """Yield the cells of each row; a row may reach over several lines."""
    csv.field_size_limit(2**31 - 1)
    # lines end as they did, for cells that hold a line end
    ended = (line + "\n" for line in lines)
    return csv.reader(ended, delimiter=separator, skipinitialspace=True, strict=strict)


def find_layout(text: str, path: Path, suffix: str, dialect: Dialect, notes: list[str]) -> Layout:
    """Find where a text's rows begin and what parts their cells; note what is not as usual."""
    first, told = 1, None
    found = re.match(r"\s*sep=(.)\n", text, re.IGNORECASE)  # what spreadsheets write above
    if found:
        told, text, first = found[1], text[found.end() :], 2
    sample = text[:SAMPLE_CHARACTERS]
    if len(text) > len(sample):
        sample = sample[: sample.rfind("\n") + 1] or sample
    lines = sample.split("\n")
    marked = dialect.comment if dialect.comment not in ("auto", "none") else "#"
    plain = [line for line in lines if line.strip() and not line.startswith(marked)]
    plain = plain or [line for line in lines if line.strip()]
    separator = told or dialect.separator
    if separator == "auto":
        separator = "\t" if suffix in (".tsv", ".tab") else ","
        separator = _separator(plain[:SAMPLE_ROWS], separator, suffix)
        if separator != ("\t" if suffix in (".tsv", ".tab") else ","):
            word = SEPARATORS[separator]
            notes.append(f"cells are parted by {word}; data.separator=... overrules")
    elif len(separator) != 1:
        raise UserError(
            f"data.separator={separator} must be one character, or its name, such as semicolon."
        )
    trial = Layout(text, separator, None, 1, False, first)
    counts = [len(row) for line in plain[:SAMPLE_ROWS] for row in trial.cells(line)]
    trial.width = Counter(counts).most_common(1)[0][0] if counts else 1
    trial.comment, trial.hash_header = _comments(text, lines, trial, dialect)
    if trial.comment is not None:
        count = sum(line.startswith(trial.comment) for line in text.split("\n"))
        count -= trial.hash_header
        if count:
            notes.append(
                f"{counted(count, 'line')} beginning with {trial.comment} left out; "
                "data.comment=none reads them"
            )
    return _from_header(trial, lines, notes, path)


def _separator(lines: Sequence[str], usual: str, suffix: str) -> str:
    """Return what parts cells: it cuts the header and most rows into as many."""
    best, chosen = (0.0, 0.0, 0), usual
    for separator in sorted((s for s in SEPARATORS if s != " "), key=lambda s: s != usual):
        counts = [len(row) for row in csv_rows(list(lines), separator) if row]
        if not counts:
            continue
        width, rows = Counter(counts[1:] or counts).most_common(1)[0]
        if width < 2:
            continue
        share = rows / max(len(counts) - 1, 1)
        # R's tables have no name above their row names; a trailing separator adds a cell
        header = 1.0 if counts[0] == width else 0.9 if abs(counts[0] - width) == 1 else 0.0
        if not header and width in counts[1 : MOST_LINES_ABOVE + 1]:
            header = 0.5  # lines above the header
        score = (round(share * header, 1), header, width)
        if score > best and share * header > 0.4:
            best, chosen = score, separator
    if best[2] <= 2 and (best[2] == 0 or suffix in (".txt", ".dat", ".data")):
        header, *widths = [
            len(row) for row in csv_rows([" ".join(x.split()) for x in lines], " ") if row
        ]
        by_r = header == min(widths, default=0) - 1 > 1  # with row names, which have none
        if len({*widths}) == 1 and (header == widths[0] or by_r) and header > max(best[2], 1):
            return " "
    return chosen


def _comments(
    text: str, lines: Sequence[str], layout: Layout, dialect: Dialect
) -> tuple[str | None, bool]:
    """Return the mark of comment lines, and whether the header stands behind one."""
    if dialect.comment == "none":
        return None, False
    if dialect.comment != "auto":
        return dialect.comment, False
    if not (text.startswith("#") or "\n#" in text):
        return None, False
    marked = [line for line in text.split("\n") if line.startswith("#")]
    above = []
    for line in lines:
        if line.strip() and not line.startswith("#"):
            break
        above += [line] if line.strip() else []
    fields = [len(next(iter(layout.cells(line)), [])) for line in marked]
    below = fields[len(above) :]
    if any(count == layout.width for count in below) and layout.width > 1:
        return None, False  # rows that begin with a number sign
    header = bool(above) and layout.width > 1 and fields[len(above) - 1] == layout.width
    return "#", header


def _from_header(layout: Layout, lines: Sequence[str], notes: list[str], path: Path) -> Layout:
    """Cut off what stands above the header."""
    if layout.hash_header:
        assert layout.comment is not None
        at = max(
            i for i, line in enumerate(lines)
            if line.startswith("#") and not any(x.strip() and x[0] != "#" for x in lines[:i])
        )  # fmt: skip
        rest = layout.text.split("\n", at)[-1].removeprefix("#")
        return Layout(rest, layout.separator, "#", layout.width, True, layout.first_line + at)
    skipped: list[str] = []
    at = 0
    for i, line in enumerate(lines):
        if not line.strip() or (layout.comment and line.startswith(layout.comment)):
            continue
        cells = [cell for row in layout.cells(line) for cell in row]
        while cells and not cells[-1].strip():
            cells.pop()
        if len(cells) > 1 or layout.width == 1 or line.count('"') % 2:
            at = i
            break
        skipped.append(line.strip())
        if len(skipped) > MOST_LINES_ABOVE:
            at, skipped = 0, []
            break
    else:
        skipped = []
    if skipped:
        lines_above = counted(len(skipped), "line")
        notes.append(f"{lines_above} above the header left out, such as '{skipped[0][:60]}'")
    rest = layout.text.split("\n", at)[-1] if at else layout.text
    return Layout(
        rest, layout.separator, layout.comment, layout.width, False, layout.first_line + at
    )


def listed(names: Sequence[str], most: int = 12) -> str:
    """Return names for a sentence; a file that is no table may have endless and odd ones."""
    readable = ["".join(c if c.isprintable() else "?" for c in name[:30]) for name in names[:most]]
    shown = ", ".join(readable)
    return shown if len(names) <= most else f"{shown} and {len(names) - most} more"
