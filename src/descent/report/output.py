"""Where a report lies: written beside its place, then moved there as a whole."""

from __future__ import annotations

import glob
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from descent.errors import UserError, WriteError
from descent.recording.atomic import (
    PART,
    Known,
    clear,
    foreign,
    make_directory,
    move,
    part_name,
    together,
)
from descent.recording.claims import remove_empty
from descent.report.page import GENERATOR

PAGE = "index.html"
REPORT: Known = {PAGE: None, "*.png": None, "*.pdf": None}


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
