"""Reads a run, or a multirun, from Python in every way that there is: `loading.py DIRECTORY`."""

from __future__ import annotations

import sys
from pathlib import Path

import descent
from descent.api.swept import SweepResult


def run(directory: Path) -> None:
    """Ask a run for all that it can tell."""
    trained = descent.load(directory)
    print(trained.status, trained.reason, trained.metrics, trained.best, trained.options)
    print(trained.losses(), trained.losses("step"), trained.columns, trained.classes)
    print(trained.module, trained.to_torch(), trained.predict("new.csv"), repr(trained))
    trained.plot()
    print(trained._repr_html_())


def multirun(directory: Path) -> None:
    """Ask a multirun for all that it can tell."""
    swept = SweepResult(directory)
    print(swept.runs, swept.answer, swept.compare(directory.with_name("other")).answer)
    run(swept.best().directory)


if __name__ == "__main__":
    given = Path(sys.argv[1])
    try:
        (multirun if given.name == "sweep" else run)(given)
        print(descent.runs(given.parent))
    except descent.DescentError as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(2)
