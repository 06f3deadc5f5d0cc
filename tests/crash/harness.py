"""Commands ended or failed at every operation on files, then gone on with.

Each scenario is a command in a directory. It runs once undisturbed, and once for each of its
operations on files and each way to be disturbed there; what is left is read with the readers that
users have, then the command that goes on is typed, and the result is held against the undisturbed
one, bit for bit.
"""

from __future__ import annotations

import dataclasses
import hashlib
import random
import re
import shutil
import tempfile
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import torch
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from crash.shim import replay
from descent.errors import UserError
from descent.records.multirun import read_jobs
from descent.records.pathfile import read_path
from descent.records.run import Run
from descent.records.tables import read_table
from hostile.warm import Case, Outcome, Warm

SHIM = str(Path(__file__).with_name("shim.py"))
FAILURES = ("ENOSPC", "EIO", "EROFS")
LOSSES = ("all", "data")
RESULTS = ("status", "reason", "step", "epoch", "samples", "metrics", "best")
TASK = "data=iris model=linear"


@dataclass(frozen=True)
class Scenario:
    """A command, how to go on with it, and what it must leave.

    Args:
        name: for the table.
        before: commands that run undisturbed first.
        command: the one that is disturbed.
        goes_on: the command to type after it, if what it left is begun.
        result: from the directory to what must be the same.
        begun: what is there as soon as `goes_on` is the command to type; else it is `command`.
        files: that lie there before all else.
    """

    name: str
    before: tuple[str, ...]
    command: str
    goes_on: str
    result: Callable[[Path], Any]
    begun: str
    files: Mapping[str, str] = field(default_factory=dict)


def run_of(path: Path) -> dict[str, Any]:
    """Return all of a run that does not depend on the clock or on who asks."""
    run = Run(path)
    result = run.result()
    found: dict[str, Any] = {key: result[key] for key in RESULTS}
    for name in ("steps", "epochs"):
        found[name] = pl.read_csv(path / f"{name}.csv").drop("seconds").write_csv()
    for name in ("last", "best"):
        if run.checkpoint_path(name).is_file():
            state = run.checkpoint(name)
            state.get("descent", {}).pop("seconds", None)
            state.pop("loops", None)
            state.pop("callbacks", None)  # which hold positions in files of seconds
            found[name] = _digest(state)
    found["path"] = (
        _digest(dataclasses.asdict(trajectory)) if (trajectory := read_path(path)) else None
    )
    (events,) = path.glob("events.*")
    read = EventAccumulator(str(events), size_guidance={"scalars": 0}).Reload()
    tags = [tag for tag in read.Tags()["scalars"] if not tag.endswith("/seconds")]
    found["events"] = {tag: [(e.step, e.value) for e in read.Scalars(tag)] for tag in tags}
    return found


def _digest(value: Any) -> Any:
    if isinstance(value, torch.Tensor):
        return hashlib.sha256(value.cpu().numpy().tobytes()).hexdigest()
    if isinstance(value, np.ndarray):
        return hashlib.sha256(value.tobytes()).hexdigest()
    if isinstance(value, dict):
        return {str(k): _digest(v) for k, v in value.items()}
    if isinstance(value, (list, tuple)):
        return [_digest(v) for v in value]
    return value


def _digest_of_files(directory: Path) -> str:
    digest = hashlib.sha256()
    for path in sorted(directory.rglob("*")):
        content = path.read_bytes() if path.is_file() else b""
        digest.update(f"{path.relative_to(directory)} {len(content)} ".encode() + content)
    return digest.hexdigest()


def sweep_of(path: Path) -> dict[str, Any]:
    """Return all of a multirun that does not depend on the clock."""
    jobs = read_jobs(path)
    table = pl.read_csv(path / "results.csv")
    return {
        "jobs": jobs,
        "table": table.drop("seconds", "directory").write_csv(),
        **{job["directory"]: run_of(path / job["directory"]) for job in jobs},
    }


def report_of(path: Path) -> dict[str, str]:
    """Return the pictures and the page of a report."""
    return files_of(*(p for p in path.iterdir() if p.suffix != ".pdf"))


def files_of(*paths: Path) -> dict[str, str]:
    """Return what is in files."""
    return {p.name: hashlib.sha256(p.read_bytes()).hexdigest() for p in paths}


SINGLE = f"train {TASK} stop.epochs=3 callbacks.checkpoint.every_seconds=0 picture=false"
PREDICT = "eval run=run data.path=new.csv predict=out.csv"
NEW_ROWS = {
    "new.csv": "sepal length (cm),sepal width (cm),petal length (cm),petal width (cm)\n5,3,1,0\n"
}
EXPORT = "export run=run format=state_dict output=model.pt"
SCENARIOS = (
    Scenario(
        "single run", (), f"{SINGLE} hydra.run.dir=run", "train resume=run",
        lambda at: run_of(at / "run"), "run/config.yaml",
    ),
    Scenario(
        "resume", (f"{SINGLE} hydra.run.dir=run",), "train resume=run stop.epochs=5",
        "train resume=run stop.epochs=5", lambda at: run_of(at / "run"), "run",
    ),
    Scenario(
        "sweep", (), f"train -m {TASK} optimizer.lr=0.1,0.01 stop.epochs=2 report=false "
        "hydra.sweep.dir=sweep",
        f"train -m {TASK} optimizer.lr=0.1,0.01 stop.epochs=2 report=false sweep_dir=sweep",
        lambda at: sweep_of(at / "sweep"), "sweep",
    ),
    Scenario(
        "report", (f"{SINGLE} hydra.run.dir=run",), "report run=run output=report",
        "report run=run output=report", lambda at: report_of(at / "report"), "run",
    ),
    Scenario(
        "predictions", (f"{SINGLE} hydra.run.dir=run",), PREDICT, f"{PREDICT} overwrite=true",
        lambda at: files_of(at / "out.csv"), "run", NEW_ROWS,
    ),
    Scenario(
        "export", (f"{SINGLE} hydra.run.dir=run",), EXPORT, f"{EXPORT} overwrite=true",
        lambda at: files_of(at / "model.pt", at / "model.pt.json"), "run",
    ),
)  # fmt: skip


class Tally(Counter[str]):
    """What was tried and found of a scenario."""

    def __init__(self) -> None:
        super().__init__()
        self.told: list[str] = []

    def fault(self, kind: str, words: str) -> None:
        """Count a fault."""
        self[kind] += 1
        self.told.append(f"{kind}: {words}")

    def read_all(self, case: str, at: Path) -> None:
        """Read every file of every run that is there, as users' readers do."""
        for config in at.rglob("config.yaml"):
            run = Run(config.parent)
            readers: dict[str, Callable[[], Any]] = {
                "config.yaml": run.config, "data.json": run.data, "result.json": run.result,
                "path.npz": lambda run=run: read_path(run.path),  # type: ignore[misc]
                "checkpoints/last.ckpt": lambda run=run: run.checkpoint("last"),  # type: ignore[misc]
                "checkpoints/best.ckpt": lambda run=run: run.checkpoint("best"),  # type: ignore[misc]
            }  # fmt: skip
            if (run.path / "result.json").exists() and "running" not in (
                (run.path / "result.json").read_text()
            ):
                readers |= {
                    f"{n}.csv": lambda n=n, run=run: read_table(run.path / f"{n}.csv")  # type: ignore[misc]
                    for n in ("steps", "epochs")
                }
            for name, read in readers.items():
                path = run.path / name
                if path.exists() and path.stat().st_size:  # an empty one holds nothing yet
                    try:
                        read()
                    except (UserError, ValueError, OSError) as error:
                        self.fault("unreadable", f"{case}: {name}: {error}")

    def compare(self, case: str, at: Path, scenario: Scenario, wanted: Any, done: Outcome) -> None:
        """Hold what going on came to against the undisturbed result, bit for bit."""
        if "Traceback" in done.stderr + done.stdout:
            self.fault("tracebacks", f"{case}, going on: {done.stderr[-700:]}")
        finished = "is finished" in done.stderr
        try:
            found = scenario.result(at)
        except Exception as error:
            self.fault("lost", f"{case}: {error!r}; {done.stderr[-300:]}")
            return
        if found != wanted:
            longer = _rows(found) > _rows(wanted)
            what = _difference(found, wanted)
            self.fault("repeated" if longer else "lost", f"{case}: {what}; {done.stderr[-300:]}")
        elif done.code not in (0, 2 if finished else 0):
            self.fault("lost", f"{case}: exit code {done.code}: {done.stderr[-300:]}")
        left = [p for p in at.rglob("*") if p.name.endswith(".part") or p.name == ".lock"]
        if left:
            self.fault("left", f"{case}: {left[0].relative_to(at)}")


class Crash:
    """One scenario, disturbed.

    Args:
        warm: the process whose forks run the commands.
        scenario: which.
    """

    def __init__(self, warm: Warm, scenario: Scenario) -> None:
        self.warm, self.scenario, self.tally = warm, scenario, Tally()
        self._known: set[str] = set()  # what a power cut left that was gone on from
        self._home = Path(tempfile.mkdtemp(prefix="crash-"))
        self._start = self._home / "start"
        self._start.mkdir()
        for name, content in scenario.files.items():
            (self._start / name).write_text(content)
        for command in scenario.before:
            assert self._type(command, self._start).code == 0
        straight = self._copy("straight")
        self.log = self._home / "log"
        done = self._type(scenario.command, straight, f"log:{self.log}")
        assert done.code == 0, done.stderr
        self.wanted = scenario.result(straight)
        for command in {scenario.command, scenario.goes_on}:
            warm.prepare(command)
        self.operations = self._count()

    def _count(self) -> int:
        import pickle

        count = 0
        with self.log.open("rb") as file:
            while True:
                try:
                    pickle.load(file)
                except EOFError:
                    return count
                count += 1

    def close(self) -> None:
        """Remove what was made."""
        shutil.rmtree(self._home, ignore_errors=True)

    def cases(self) -> list[tuple[str, int]]:
        """Return every way to disturb the command, with the operation at which it is."""
        each = range(1, self.operations + 1)
        return [(how, n) for n in each for how in ("die", *FAILURES, *LOSSES)]

    def try_out(self, how: str, n: int) -> None:
        """Disturb the command, read what it leaves, go on, compare."""
        case = f"{self.scenario.name}, {how} at operation {n} of {self.operations}"
        at = self._copy("case")
        self.tally["tried"] += 1
        if how in LOSSES:
            replay(self.log, n, at, how)
            left_behind = _digest_of_files(at)
            if left_behind in self._known:  # to go on from the same files is to do the same
                return
            self._known.add(left_behind)
        else:
            done = self._type(self.scenario.command, at, f"{how}:{n}")
            self._check_end(case, how, done, at)
        self.tally.read_all(case, at)
        begun = (at / self.scenario.begun).exists()
        command = self.scenario.goes_on if begun else self.scenario.command
        done = self._type(command, at)
        self.tally.compare(case, at, self.scenario, self.wanted, done)

    def _check_end(self, case: str, how: str, done: Outcome, at: Path) -> None:
        text = done.stdout + done.stderr
        if "Traceback" in text or "Error:" in text:
            self.tally.fault("tracebacks", f"{case}: {text[-900:]}")
        if done.hung or done.left:
            self.tally.fault("hangs", case)
        if how == "die":
            return
        if done.code not in (0, 2) or (
            done.code == 2 and not re.search("^error: ", done.stderr, re.M)
        ):
            self.tally.fault(
                "no sentence", f"{case}: exit code {done.code}, {done.stderr[-300:]!r}"
            )
        parts = list(at.rglob("*.part"))
        if parts:
            self.tally.fault("left", f"{case}: {parts[0].relative_to(at)}")
        for result in at.rglob("result.json"):
            if '"running"' in result.read_text() and done.code:
                self.tally.fault("still running", f"{case}: {result.relative_to(at)}")

    def _copy(self, name: str) -> Path:
        at = self._home / name
        shutil.rmtree(at, ignore_errors=True)
        shutil.copytree(self._start, at)
        return at

    def _type(self, command: str, at: Path, crash: str | None = None) -> Outcome:
        environment = {} if crash is None else {"WARM_SHIM": SHIM, "CRASH": crash}
        return self.warm.run(Case(command, command, environment=environment, cpu=30), at)


def _rows(found: Any) -> int:
    return str(found).count("\n")


def _difference(found: Any, wanted: Any, name: str = "") -> str:
    if isinstance(found, dict) and isinstance(wanted, dict):
        keys = [k for k in {**found, **wanted} if found.get(k) != wanted.get(k)]
        return _difference(found.get(keys[0]), wanted.get(keys[0]), f"{name}/{keys[0]}")
    return f"{name} is {str(found)[-160:]!r} instead of {str(wanted)[-160:]!r}"


def chosen(cases: list[tuple[str, int]], most: int | None, seed: int = 0) -> list[tuple[str, int]]:
    """Return a seeded sample of cases, or all."""
    return cases if most is None or most >= len(cases) else random.Random(seed).sample(cases, most)
