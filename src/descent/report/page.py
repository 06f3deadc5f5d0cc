"""One HTML page with everything in it, written beside its place and moved there as a whole."""

from __future__ import annotations

import base64
import glob
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from descent.errors import UserError, WriteError, counted
from descent.files.atomic import (
    PART,
    Known,
    clear,
    foreign,
    make_directory,
    move,
    part_name,
    together,
    write,
)
from descent.files.claims import remove_empty
from descent.report.dark import dark_png
from descent.report.printed import Printed
from descent.report.record import Record
from descent.report.style import Picture, shown

if TYPE_CHECKING:
    from jinja2 import Template


GENERATOR = "descent report"  # by which a page of ours is known
TEMPLATE = Path(__file__).with_name("page.html")

# Metrics that get a column, where any run has them, with their headings; the rest follows them.
METRICS = {
    "train/loss": "running loss",
    "train/full_loss": "full loss",
    "val/loss": "val loss",
}


@dataclass(frozen=True)
class Heading:
    """A column of the table of results."""

    heading: str
    numbers: bool


def write_page(
    path: Path, records: Sequence[Record], pictures: Sequence[Picture], notes: Sequence[str]
) -> None:
    """Write the page.

    Args:
        path: of the file; the pictures' PNG files lie beside it.
        records: one row of the table each.
        pictures: in order.
        notes: what the reader must know first, such as how a run failed.
    """
    columns, values = results(records)
    rows = [[_cell(value) for value in row] for row in values]
    table = Printed(
        "results", [c.heading for c in columns], rows,
        frozenset(i for i, c in enumerate(columns) if c.numbers),
        exact=[["" if value is None else str(value) for value in row] for row in values],
    )  # fmt: skip
    write(
        path,
        template(TEMPLATE).render(
            generator=GENERATOR, title=title_of(records), notes=notes, columns=columns, rows=rows,
            files=table.links,
            pictures=[embedded(picture, path.parent) for picture in pictures],
            commands=[record.command for record in records], provenance=_provenance(records),
        ),
    )  # fmt: skip


def template(path: Path) -> Template:
    """Return a page's template; it may include what lies beside it, or beside this file."""
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    environment = Environment(
        loader=FileSystemLoader([path.parent, TEMPLATE.parent]), autoescape=True,
        undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True,
    )  # fmt: skip
    return environment.get_template(path.name)


def title_of(records: Sequence[Record]) -> str:
    """Return the run's name and directory, or how many runs of what."""
    names = list(dict.fromkeys(str(record.result.get("name", "run")) for record in records))
    if len(records) == 1:
        return f"{names[0]}: {records[0].run.path.resolve().name}"
    return f"{', '.join(names[:4])}: {counted(len(records), 'run')}"


def results(records: Sequence[Record]) -> tuple[list[Heading], list[list[Any]]]:
    """Return the columns and the values of the table; columns that no run fills are left out.

    What counts comes first: it must be seen without scrolling.
    """
    metrics = {
        name
        for record in records
        for name in _metrics(record)
        if not name.startswith("diagnostics/")
    }
    order = [name for name in METRICS if name in metrics] + sorted(metrics - METRICS.keys())
    cells = [
        {
            "run": record.label,
            "status": str(record.status),
            "steps": record.result.get("step"),
            **{
                METRICS.get(name, name.replace("_", " ")): _metrics(record).get(name)
                for name in order
            },
            "best epoch": (record.result.get("best") or {}).get("epoch"),
            "epochs": record.result.get("epoch"),
            "samples": record.result.get("samples"),
            "seconds": record.result.get("seconds"),
            "reason": str(record.result.get("reason", "")),
        }
        for record in records
    ]
    texts = ("run", "status", "reason")
    headings = [
        Heading(name, name not in texts)
        for name in cells[0]
        if any(row[name] is not None for row in cells)
    ]
    return headings, [[row[h.heading] for h in headings] for row in cells]


def _metrics(record: Record) -> Mapping[str, Any]:
    return record.result.get("metrics") or {}


def _cell(value: Any) -> str:
    return "" if value is None else shown(value) if isinstance(value, (int, float)) else str(value)


def embedded(picture: Picture, directory: Path) -> dict[str, str]:
    """Return title, caption and base64 PNGs, light and dark, of a picture with its file."""
    png = (directory / f"{picture.name}.png").read_bytes()
    return {
        "title": picture.title,
        "caption": picture.caption,
        "png": base64.b64encode(png).decode("ascii"),
        "dark": base64.b64encode(dark_png(picture.figure)).decode("ascii"),
    }


def _provenance(records: Sequence[Record]) -> list[str]:
    """Return what the runs were trained with, each thing once."""
    told = []
    for key, label in (("torch", "torch"), ("lightning", "Lightning")):
        versions = {str((r.result.get("versions") or {}).get(key, "")) for r in records} - {""}
        if versions:
            told.append(f"{label} {', '.join(sorted(versions))}")
    commits = {str(r.result.get("commit") or "") for r in records} - {""}
    if commits:
        told.append(f"commit {', '.join(sorted(c[:12] for c in commits))}")
    devices = {str(r.result.get("device") or "") for r in records} - {""}
    if devices:
        told.append(f"trained on {', '.join(sorted(devices))}")
    return told


PAGE = "index.html"
TABLES: Known = {
    f"{name}.{kind}": None
    for name in ("settings", "winners", "options", "budgets") for kind in ("csv", "tex")
}  # fmt: skip
REPORT: Known = {PAGE: None, "*.png": None, "*.pdf": None, **TABLES}


@contextmanager
def report_directory(path: Path) -> Iterator[Path]:
    """Give a directory to write in; it takes the place of `path` when all has gone well.

    Raises:
        UserError: `path` holds files that are no report's, or cannot be made.
    """
    check_output(path)
    part, old, made = part_name(path), part_name(path), []
    try:
        for leftover in path.parent.glob(f".{glob.escape(path.name)}{PART[2:]}"):
            _clear_away(leftover)  # of a report that was killed
        made = make_directory(part)
        with together(names_last=False):  # the directory has no name yet
            yield part
        if path.exists():
            move(path, old)
        move(part, path)
        made = []
    except WriteError as error:
        raise UserError(f"{str(error).rstrip('.')}; or give another output=...") from None
    finally:
        _clear_away(part)
        if old.exists() and not path.exists():  # the new one could not take its place
            move(old, path)
        _clear_away(old)
        remove_empty(made)


def _clear_away(path: Path) -> None:
    """Remove what was made for a report; with other files in it, it stays."""
    if path.is_dir() and not path.is_symlink():
        with suppress(WriteError):
            clear(path, REPORT)


def check_output(path: Path) -> None:
    """Refuse to replace anything but an earlier report.

    Raises:
        UserError: `path` is a file, or a directory with other files in it.
    """
    if path.is_symlink():
        raise UserError(f"{path} is a link, and links are not followed; give another output=...")
    if path.exists() and not path.is_dir():
        raise UserError(f"{path} is a file, so no report can lie there; give another output=...")
    if not path.is_dir() or not any(path.iterdir()):
        return
    if not (path / PAGE).is_file() or not _is_ours(path):
        raise UserError(
            f"{path} holds files that are not a report's and would be lost; give another "
            "output=..., or an empty directory."
        )


def _is_ours(path: Path) -> bool:
    """Whether nothing but pictures and a page of ours lies here."""
    if foreign(path, REPORT):
        return False
    with (path / PAGE).open("rb") as page:
        return GENERATOR.encode() in page.read(1000)
