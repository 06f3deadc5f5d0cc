"""Where the runs to show lie: the latest sweep, or what the user named."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from descent.comparison import JOBS
from descent.errors import UserError
from descent.runs import CONFIG, SWEEP
from descent.spelling import command

EVENTS = "events.out.tfevents.*"
ADVICE = f"train some first: {command('train')} -m optimizer.lr=1e-3,1e-2,1e-1 'seed=range(3)'"


def find(given: str | None, outputs: Path) -> Path:
    """Return the directory whose runs are meant: a multirun's, a run's, or one that holds runs.

    Args:
        given: what the user named; None for the latest multirun, else the latest single runs.
        outputs: where results go.

    Raises:
        UserError: there is no such directory, or nothing has been trained yet.
    """
    if given is not None:
        path = Path(given)
        if not path.is_dir():
            what = "is a file" if path.exists() else "does not exist"
            raise UserError(
                f"{path} {what}; give the directory of a multirun or a run: run={outputs}/..."
            )
        return path
    sweeps = [p for p in _inside(outputs / "multiruns") if is_sweep(p) and _has_events(p)]
    if sweeps:
        return max(sweeps, key=_written)
    if any(event_file(p) for p in _inside(outputs / "runs")):
        return outputs / "runs"
    raise UserError(f"{outputs} holds no multirun and no run to show; {ADVICE}")


def is_run(path: Path) -> bool:
    """Whether this is the directory of one run."""
    return (path / CONFIG).is_file()


def is_sweep(path: Path) -> bool:
    """Whether this is the directory of a multirun, begun or ended."""
    listed = (path / JOBS).is_file() or (path / SWEEP).is_file()
    return listed or any(p.name.isdigit() and is_run(p) for p in _inside(path))


def event_file(run: Path) -> Path | None:
    """Return a run's event file; None if it has none."""
    return min((file for file in run.glob(EVENTS) if file.is_file()), default=None)


def runs_below(path: Path) -> Iterator[Path]:
    """Yield every run in a directory, however deep; a run's own directory is not looked into."""
    if is_run(path):
        yield path
        return
    for inner in sorted(_inside(path)):
        yield from runs_below(inner)


def _has_events(sweep: Path) -> bool:
    return any(event_file(run) for run in runs_below(sweep))


def _written(sweep: Path) -> float:
    """Return when a multirun was last written to."""
    named = [sweep / name for name in (JOBS, SWEEP)]
    return max((p.stat().st_mtime for p in named if p.is_file()), default=sweep.stat().st_mtime)


def _inside(path: Path) -> Iterator[Path]:
    """Yield the directories in a directory; links are not followed."""
    if path.is_dir():
        yield from (p for p in path.iterdir() if p.is_dir() and not p.is_symlink())
