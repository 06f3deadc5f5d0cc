"""The directory that TensorBoard reads: one entry a chosen run, and no other run."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from descent.analysis.summary import score
from descent.dashboard.choosing import Chosen, Shown
from descent.dashboard.hparams import experiment, with_numbers, write_hparams
from descent.dashboard.rows import event_file
from descent.errors import UserError, WriteError
from descent.files.atomic import link, make_directory, remove_own, together
from descent.files.claims import LOCK, hold, let_go

PREFIX = "descent-dashboard-"


@contextmanager
def log_directory(chosen: Chosen) -> Iterator[Path]:
    """Give a directory that stands for the chosen runs; it is removed at the end.

    It lies among temporary files: the sweep may be somebody else's, two dashboards may show it at
    once, and links inside it would show its runs twice to a TensorBoard over all of it.

    Raises:
        UserError: a run's event file cannot be reached, or there is no room.
    """
    _clear_dead()
    try:
        made = Path(tempfile.mkdtemp(prefix=PREFIX))
    except OSError as error:
        raise _no_room("a temporary directory", error) from None
    try:
        hold(made)
        root = made / (chosen.of.directory.resolve().name or "runs")  # shown in the page
        make_directory(root)
        table = with_numbers([_options(run, chosen) for run in chosen.runs])
        metric = f"final/best/{chosen.of.metric}"
        final = [f"final/{name}" for name in chosen.of.metrics]
        columns = experiment(table, [metric, *final] if chosen.of.ranked else final)
        with together(names_last=False):
            for rank, (run, options) in enumerate(zip(chosen.runs, table, strict=True)):
                place = root / run.name
                make_directory(place)
                value = score(run.row, chosen.of.metric) if chosen.of.ranked else None
                best = None if value is None else (metric, value)
                write_hparams(place, rank, columns, options, str(run.row["status"]), best)
                file = event_file(run.directory)
                if file is not None:  # it was there a moment ago
                    link(file.resolve(), place / file.name)
        yield root
    except WriteError as error:
        raise _no_room(str(made), OSError(error.code, os.strerror(error.code))) from None
    except OSError as error:
        raise _no_room(str(made), error) from None
    finally:
        remove_own(made)


def _clear_dead() -> None:
    """Remove what dashboards left that were killed: nobody holds it."""
    for path in Path(tempfile.gettempdir()).glob(f"{PREFIX}*"):
        with suppress(OSError, UserError):
            if not path.is_symlink() and (path / LOCK).is_file() and path.stat().st_uid == _uid():
                hold(path)
                remove_own(path)
                let_go(path)


def _uid() -> int:
    return os.getuid() if hasattr(os, "getuid") else 0


def _no_room(place: str, error: OSError) -> UserError:
    return UserError(
        f"The dashboard's files cannot be laid out in {place}: {error.strerror}; set TMPDIR to a "
        "directory with more room."
    )


def _options(run: Shown, chosen: Chosen) -> dict[str, str]:
    """Return a run's row in the HParams tab."""
    typed = {key: str(run.row[key]) for key in chosen.of.options if run.row[key] != ""}
    return {"status": str(run.row["status"]), **typed}
