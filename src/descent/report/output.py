"""Where a report lies: written beside its place, then moved there as a whole."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from descent.errors import UserError
from descent.report.page import GENERATOR

PAGE = "index.html"
PICTURES = (".png", ".pdf")


@contextmanager
def report_directory(path: Path) -> Iterator[Path]:
    """Give a directory to write in; it takes the place of `path` when all has gone well.

    Raises:
        UserError: `path` holds files that are no report's, or cannot be made.
    """
    check_output(path)
    part, old = (path.with_name(f"{path.name}.{word}") for word in ("part", "old"))
    try:
        for leftover in (part, old):  # of a report that was killed
            if leftover.is_dir() and _is_ours(leftover):
                shutil.rmtree(leftover)
        part.mkdir(parents=True)
    except OSError as error:
        raise UserError(
            f"{path} cannot be made: {error.strerror}; give another output=..."
        ) from None
    try:
        yield part
        if path.exists():
            path.rename(old)
        part.rename(path)
        shutil.rmtree(old, ignore_errors=True)
    except OSError as error:
        raise UserError(
            f"{path} cannot be written: {error.strerror}; give another output=..."
        ) from None
    finally:
        shutil.rmtree(part, ignore_errors=True)


def check_output(path: Path) -> None:
    """Refuse to replace anything but an earlier report.

    Raises:
        UserError: `path` is a file, or a directory with other files in it.
    """
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
    for file in path.iterdir():
        if not file.is_file() or not (file.suffix in PICTURES or file.name == PAGE):
            return False
        if file.name == PAGE and GENERATOR not in file.read_text("utf-8", errors="replace")[:1000]:
            return False
    return True
