"""The directory that TensorBoard reads: one entry a chosen run, and no other run."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from descent.dashboard.choosing import Chosen, Shown
from descent.dashboard.finding import event_file
from descent.dashboard.hparams import experiment, with_numbers, write_hparams
from descent.errors import UserError
from descent.summary import score


@contextmanager
def log_directory(chosen: Chosen) -> Iterator[Path]:
    """Give a directory that stands for the chosen runs; it is removed at the end.

    It lies among temporary files: the sweep may be somebody else's, two dashboards may show it at
    once, and links inside it would show its runs twice to a TensorBoard over all of it.

    Raises:
        UserError: a run's event file cannot be reached, or there is no room.
    """
    try:
        made = tempfile.TemporaryDirectory(prefix="descent-dashboard-", ignore_cleanup_errors=True)
    except OSError as error:
        raise _no_room("a temporary directory", error) from None
    with made as name:
        root = Path(name) / (chosen.of.directory.resolve().name or "runs")  # shown in the page
        root.mkdir()
        table = with_numbers([_options(run, chosen) for run in chosen.runs])
        metric = f"final/best/{chosen.of.metric}"
        final = [f"final/{name}" for name in chosen.of.metrics]
        columns = experiment(table, [metric, *final] if chosen.of.ranked else final)
        try:
            for rank, (run, options) in enumerate(zip(chosen.runs, table, strict=True)):
                place = root / run.name
                place.mkdir()
                value = score(run.row, chosen.of.metric) if chosen.of.ranked else None
                best = None if value is None else (metric, value)
                write_hparams(place, rank, columns, options, str(run.row["status"]), best)
                file = event_file(run.directory)
                if file is not None:  # it was there a moment ago
                    link(file.resolve(), place / file.name)
        except OSError as error:
            raise _no_room(name, error) from None
        yield root


def _no_room(place: str, error: OSError) -> UserError:
    return UserError(
        f"The dashboard's files cannot be laid out in {place}: {error.strerror}; set TMPDIR to a "
        "directory with more room."
    )


def link(source: Path, target: Path) -> None:
    """Make `target` the same file as `source`; where no link can be made, a copy as it is now."""
    for make in (os.symlink, os.link):
        with suppress(OSError, NotImplementedError):  # file systems and systems without links
            make(source, target)
            return
    shutil.copyfile(source, target)


def _options(run: Shown, chosen: Chosen) -> dict[str, str]:
    """Return a run's row in the HParams tab."""
    typed = {key: str(run.row[key]) for key in chosen.of.options if run.row[key] != ""}
    return {"status": str(run.row["status"]), **typed}
