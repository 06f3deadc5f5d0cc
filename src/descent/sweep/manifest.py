"""`jobs.json`: every job of a multirun, its directory, and what became of it."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from descent.sweep.planning import Planned
from descent.sweep.tasks import Outcome

FILE = "jobs.json"


def write_manifest(sweep: Path, jobs: Sequence[Planned], outcomes: Iterable[Outcome]) -> None:
    """Add jobs to the list, or renew their entries: beside its name and then moved there."""
    known = {job["number"]: job for job in read_manifest(sweep)}
    ended = {outcome.number: outcome for outcome in outcomes}
    for job in jobs:
        outcome = ended.get(job.number)
        known[job.number] = {
            "number": job.number,
            "overrides": [o for o in job.overrides if o != "hydra.mode=RUN"],
            "directory": str(job.directory.relative_to(sweep)),
            "status": None if outcome is None else str(outcome.status),
            "reason": "" if outcome is None else outcome.sentence,
        }
    part = sweep / f"{FILE}.part"
    entries = [known[number] for number in sorted(known)]
    part.write_text(json.dumps(entries, indent=1) + "\n", encoding="utf-8")
    part.replace(sweep / FILE)


def read_manifest(sweep: Path) -> list[dict[str, Any]]:
    """Return the jobs, by number; none where no stacked multirun was begun."""
    try:
        entries = json.loads((sweep / FILE).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return []
    return [entry for entry in entries if isinstance(entry, dict) and "number" in entry]
