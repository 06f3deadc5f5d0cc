"""`jobs.json`: every job of a multirun, its directory, and what became of it."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path

from descent.comparison import JOBS, REPEATS, listed_jobs, write_jobs
from descent.recording.bounded import DamageError
from descent.runs import damaged
from descent.sweep.planning import Planned
from descent.sweep.tasks import Outcome


def note_jobs(sweep: Path, jobs: Sequence[Planned], outcomes: Iterable[Outcome]) -> None:
    """Add jobs to the list, or renew their entries.

    Raises:
        UserError: the list that is there is damaged, and would be lost.
    """
    try:
        known = {}
        for entry, damage in listed_jobs(sweep):
            if damage is not None:
                raise damage
            known[entry["number"]] = entry
    except FileNotFoundError:
        known = {}
    except DamageError as error:
        raise damaged(sweep / JOBS, error) from None
    ended = {outcome.number: outcome for outcome in outcomes}
    for job in jobs:
        outcome = ended.get(job.number)
        known[job.number] = {
            "number": job.number,
            "overrides": [o for o in job.overrides if o != REPEATS],
            "directory": str(job.directory.relative_to(sweep)),
            "status": None if outcome is None else str(outcome.status),
            "reason": "" if outcome is None else outcome.sentence,
        }
    write_jobs(sweep, [known[number] for number in sorted(known)])
