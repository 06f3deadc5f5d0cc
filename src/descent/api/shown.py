"""Runs as a notebook shows them: small tables in HTML."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from html import escape
from typing import TYPE_CHECKING, Any

from descent.report.style import shown

if TYPE_CHECKING:
    import polars as pl

SPLITS = ("train", "val", "test")
MOST_ROWS = 30


def run_html(status: str, reason: str, metrics: Mapping[str, float], notes: Sequence[str]) -> str:
    """Return a run: how it ended, its metrics by split, and notes."""
    split = {s: {n.partition("/")[2]: v for n, v in metrics.items() if n.startswith(f"{s}/")}
             for s in SPLITS}  # fmt: skip
    columns = [name for name, values in split.items() if values]
    names = dict.fromkeys(name for values in split.values() for name in values)
    rows = [[n.replace("_", " "), *(_cell(split[c].get(n)) for c in columns)] for n in names]
    head = f"<b>{escape(status)}</b>: {escape(reason)}"
    return block(head, table(["", *columns], rows), notes)


def frame_html(head: str, frame: pl.DataFrame, notes: Sequence[str]) -> str:
    """Return a frame, a row each: the first ones, where there are many."""
    rows = [[_cell(value) for value in row] for row in frame.head(MOST_ROWS).rows()]
    left = frame.height - MOST_ROWS
    more = [f"and {left:,} more"] if left > 0 else []
    return block(escape(head), table(frame.columns, rows), [*more, *notes])


def table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Return an HTML table of texts."""
    top = "".join(f"<th>{escape(name)}</th>" for name in head)
    body = "".join(
        "<tr>" + "".join(f"<td>{escape(cell)}</td>" for cell in row) + "</tr>" for row in rows
    )
    return f"<table><thead><tr>{top}</tr></thead><tbody>{body}</tbody></table>"


def block(head: str, inner: str, notes: Sequence[str]) -> str:
    """Return HTML between a heading, in HTML, and notes, in words."""
    told = "".join(f"<div><small>{escape(note)}</small></div>" for note in notes)
    return f"<div>{head}</div>{inner}{told}"


def _cell(value: Any) -> str:
    return "" if value is None else str(value) if isinstance(value, bool) else shown(value)
