"""The tables of a page as files, beside it and within it: CSV, and LaTeX for booktabs."""

from __future__ import annotations

import base64
import csv
import io
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from descent.files.atomic import write

KINDS = {".csv": "text/csv", ".tex": "text/x-tex"}
SPECIAL = {
    "\\": r"\textbackslash{}", "~": r"\textasciitilde{}", "^": r"\textasciicircum{}",
    "²": "$^2$", "±": r"$\pm$", "–": "--", "∞": r"$\infty$",
    **{sign: f"\\{sign}" for sign in "&%$#_{}"},
}  # fmt: skip


@dataclass(frozen=True)
class Printed:
    """A table of a page.

    Args:
        name: of its files, without their endings.
        heads: of the columns.
        rows: texts, as the page shows them.
        numbers: places of the columns that hold numbers.
        exact: the same with every digit, for CSV; empty where the rows are that.
        columns: of `exact`; empty where they are `heads`.
    """

    name: str
    heads: Sequence[str]
    rows: Sequence[Sequence[str]]
    numbers: frozenset[int] = frozenset()
    exact: Sequence[Sequence[str]] = ()
    columns: Sequence[str] = ()

    @property
    def files(self) -> dict[str, str]:
        """Its files, by name."""
        rows = self.exact or self.rows
        return {
            f"{self.name}.csv": csv_text([self.columns or self.heads, *rows]),
            f"{self.name}.tex": tabular(
                [escaped(head) for head in self.heads],
                ([escaped(cell) for cell in row] for row in self.rows),
                "".join("r" if i in self.numbers else "l" for i in range(len(self.heads))),
            ),
        }

    @property
    def links(self) -> dict[str, str]:
        """Its files as links of a page."""
        return links(self.files)


def csv_text(rows: Iterable[Sequence[str]]) -> str:
    """Return rows as CSV."""
    file = io.StringIO()
    csv.writer(file, lineterminator="\n").writerows(rows)
    return file.getvalue()


def tabular(heads: Sequence[str], rows: Iterable[Sequence[str]], columns: str) -> str:
    r"""Return a `tabular` for `\usepackage{booktabs}`.

    Args:
        heads, rows: in LaTeX.
        columns: `l` or `r` for each.
    """
    lines = [f"\\begin{{tabular}}{{{columns}}}", r"\toprule", f"{' & '.join(heads)} \\\\"]
    body = [f"{' & '.join(row)} \\\\" for row in rows]
    return "\n".join([*lines, r"\midrule", *body, r"\bottomrule", r"\end{tabular}", ""])


def escaped(words: str) -> str:
    """Return text that LaTeX prints as it is."""
    return "".join(SPECIAL.get(letter, letter) for letter in words)


def links(files: Mapping[str, str]) -> dict[str, str]:
    """Return files as links that hold them: a page keeps its tables wherever it is moved to."""
    found = {}
    for name, text in files.items():
        held = base64.b64encode(text.encode(errors="backslashreplace")).decode("ascii")
        found[name] = f"data:{KINDS[Path(name).suffix]};charset=utf-8;base64,{held}"
    return found


def write_files(directory: Path, files: Mapping[str, str]) -> None:
    """Write files beside their page; a path may hold bytes that are no text."""
    for name, text in files.items():
        write(directory / name, text.encode(errors="backslashreplace"))
