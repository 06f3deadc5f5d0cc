"""Odd places: names of runs, tables and predictions that shells, disks and Hydra read oddly."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from hostile.tables import rows, text
from hostile.warm import Case

SMALL = ["train", "data=iris", "model=linear", "stop.epochs=1", "picture=false"]
NAMES = [
    "a b", "it's", "é", "🙂", "x=1", "*", "?", "100%", "$x", "a;b", "a\tb", "-x", "{}", "#x", "(x)",
    "a&b", "a|b", "br[0]", "~x", ".hidden", "a,b", "x:y", "@", "!", "^", "con", "x\\y",
]  # fmt: skip


def _quoted(key: str, value: str) -> str:
    escaped = value.replace("\\", "\\\\").replace('"', '\\"') if "\\" in value else value
    return f'{key}="{escaped}"'


def places() -> Iterator[Case]:
    for name in NAMES:
        typed = [*SMALL, _quoted("hydra.run.dir", f"out/{name}")]
        yield Case(f"a run in {name!r}", typed, says=".", either=True, makes=["out/*", "*"])
    yield Case(
        "300 letters", [*SMALL, f"hydra.run.dir={'x' * 300}"], says="cannot be made|too long"
    )
    yield Case("5,000 letters", [*SMALL, f"hydra.run.dir={'x/' * 2500}"], says="made|long")
    yield Case("a reference", [*SMALL, r"hydra.run.dir=\${seed}"], says="reference|cannot be read")
    yield Case("a file in the way", [*SMALL, "hydra.run.dir=f/x"], says="f", files={"f": ""})
    yield Case("a file for a directory", [*SMALL, "hydra.run.dir=f"], says="f", files={"f": ""})
    yield Case("somebody's directory", [*SMALL, "hydra.run.dir=d"], says="exists already",
               files={"d/thesis.txt": "x"})  # fmt: skip
    yield Case("no place for outputs", [*SMALL, "paths.outputs="], says="not empty")
    yield Case("/proc", [*SMALL, "paths.outputs=/proc/x"], says="/proc/x")
    yield Case("/dev/null", [*SMALL, "paths.outputs=/dev/null"], says="/dev/null")
    yield Case("a loop of links", [*SMALL, "paths.outputs=l"], says="l",
               arrange=lambda d: (d / "l").symlink_to("l"))  # fmt: skip


def inputs() -> Iterator[Case]:
    table = ["data=table", "data.target=y", "data.batch_size=full"]
    for name, path in {
        "300 letters": "x" * 300 + ".csv", "5,000 letters": "x/" * 2500 + "t.csv",
        "proc": "/proc/x.csv",
        "a device": "/dev/zero", "the root": "/", "no suffix": "t", "a dot": ".",
        "dots": "../../..",
    }.items():  # fmt: skip
        yield Case(f"a table at {name}", [*SMALL, *table, f"data.path={path}"], says=".")
    yield Case("run of a file", "eval run=f", says="f", files={"f": ""})
    yield Case("run of 300 letters", f"eval run={'x' * 300}", says=".")
    yield Case("resume of 300 letters", f"train resume={'x' * 300}", says=".")
    yield Case("resume of a loop", "train resume=l", says="l",
               arrange=lambda d: (d / "l").symlink_to("l"))  # fmt: skip
    yield Case("report of 300 letters", f"report run={'x' * 300}", says=".")
    yield Case("report of an empty directory", "report run=d", says="d",
               arrange=lambda d: (d / "d").mkdir())  # fmt: skip
    yield Case("sweep of a file", "report sweep=f", says="f", files={"f": ""})
    yield Case("sweep_dir of a file", "train -m sweep_dir=f seed=0,1", says="f", files={"f": ""})
    yield Case("own conf that is a file", "train --config-dir f", says="f", files={"f": ""})


def predictions(run: Path) -> Iterator[Case]:
    """Yield places for predictions that cannot be written."""
    files = {"new.csv": text(rows())}
    for name, path in {
        "300 letters": "x" * 300 + ".csv", "proc": "/proc/x.csv", "no directory": "no/x.csv",
        "no suffix": "x", "a directory": ".", "excel": "x.xlsx",
    }.items():  # fmt: skip
        yield Case(
            f"predictions at {name}", f"eval run={run} data.path=new.csv predict={path}", says=".",
            files=files,
        )  # fmt: skip


def cases() -> list[Case]:
    """Return all that need no run."""
    return [*places(), *inputs()]
