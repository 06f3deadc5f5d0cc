"""The report's pictures, one at a time, for a notebook to show."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from descent.api.contained import contained
from descent.errors import DescentError, did_you_mean

if TYPE_CHECKING:
    from descent.report.record import Record
    from descent.report.style import Picture


def curves(records: Sequence[Record], x: str) -> Picture:
    """Draw the losses of some runs.

    Args:
        records: of the runs.
        x: `step`, `epoch`, `samples` or `seconds`.

    Raises:
        DescentError: nothing was recorded, or the runs cannot share a picture.
    """
    from descent.report.curves import losses
    from descent.report.record import Axis, check_comparable, labelled
    from descent.report.style import look

    known = [str(axis) for axis in Axis]
    if x not in known:
        hint = did_you_mean(x, known) or f"; give one of {', '.join(known)}."
        raise DescentError(f"There is no axis '{x}'{hint}")
    with contained(quiet=True), look():
        check_comparable(records)
        picture = losses(labelled(records), Axis(x))
        if picture is None:
            raise DescentError(f"{records[0].run.path} has recorded no losses.")
        return picture


def of_sweep(sweep: Path, number: int) -> Picture:
    """Draw a picture of a multirun's report.

    Raises:
        DescentError: there is no such picture.
    """
    from descent.report.style import look
    from descent.report.sweep_report import drawn, open_sweep

    with contained(quiet=True), look():
        notes: list[str] = []
        _, pictures = drawn(open_sweep(sweep), notes)
        if not 0 <= number < len(pictures):
            there = ", ".join(f"{i} ({p.name})" for i, p in enumerate(pictures)) or "none"
            raise DescentError(f"{sweep} has no picture {number}: there are {there}.")
        return pictures[number]
