"""Processes of a multirun and of a dashboard killed at random, each kind by itself.

Every kill is a real SIGKILL to a real process at a time that a seed chooses. What is left is read,
the command that goes on is typed, and the multirun is held against an undisturbed one, bit for bit.
Nothing that was begun may outlive its launcher by more than a moment.
"""

from __future__ import annotations

import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

from crash.harness import TASK, Scenario, Tally, sweep_of
from hostile.warm import ROOT, Outcome

SWEEP = (
    f"-m {TASK} stop.epochs=40 seed=range(0,36) optimizer.lr=0.1,0.01 report=false "
    "hydra.launcher.workers=2 hydra.launcher.stack=18"
).split()
GRACE = 3.0  # seconds that children may outlive their launcher
PATIENCE = 180.0  # seconds after which a command hangs, on a machine that others use
SPREAD = 5.0  # seconds over which the kills of a kind are spread


def children(pid: int) -> list[int]:
    """Return a process's descendants."""
    text = Path(f"/proc/{pid}/task/{pid}/children")
    try:
        own = [int(word) for word in text.read_text().split()]
    except OSError:
        return []
    return own + [pid for child in own for pid in children(child)]


def alive(pids: list[int]) -> list[int]:
    """Return which of some processes have not ended."""
    left = []
    for pid in pids:
        with suppress(OSError):
            state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
            left += [pid] if state != "Z" else []
    return left


def servers(parent: int) -> list[int]:
    """Return the processes that workers are forked from."""
    return [pid for pid in children(parent) if "forkserver" in _typed(pid) and children(pid)]


def workers(parent: int) -> list[int]:
    """Return the workers of a multirun."""
    return [pid for server in servers(parent) for pid in children(server)]


def _typed(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes().decode(errors="replace")
    except OSError:
        return ""


KINDS: dict[str, Callable[[int], list[int]]] = {
    "launcher": lambda pid: [pid],
    "worker": workers,
    "server of workers": servers,
    "dashboard": lambda pid: [pid],
    "dashboard's server": lambda pid: children(pid)[:1],
}
DASHBOARDS = ("dashboard", "dashboard's server")


class Undisturbed:
    """The multirun that all others are held against; made when the first asks for it."""

    def __enter__(self) -> Undisturbed:
        self.home = Path(tempfile.mkdtemp(prefix="crash-kills-"))
        self._wanted: dict[str, Any] | None = None
        return self

    def __exit__(self, *raised: object) -> None:
        shutil.rmtree(self.home, ignore_errors=True)

    @property
    def wanted(self) -> dict[str, Any]:
        """What is in it."""
        if self._wanted is None:
            done = ended(begun("train", [*SWEEP, "hydra.sweep.dir=sweep"], self.home))
            assert done.code == 0, done.stderr
            self._wanted = sweep_of(self.home / "sweep")
        return self._wanted


def begun(script: str, words: list[str], at: Path) -> subprocess.Popen[str]:
    """Type a command in a directory; what is temporary lies there, too."""
    (at / "temporary").mkdir(exist_ok=True)
    environment = {**os.environ, "TMPDIR": str(at / "temporary"), "COLUMNS": "100"}
    return subprocess.Popen(
        [sys.executable, str(ROOT / "src" / f"{script}.py"), *words], cwd=at, env=environment,
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True,
    )  # fmt: skip


def ended(process: subprocess.Popen[str]) -> Outcome:
    """Wait for a command's end; one that hangs is killed."""
    began, hung = time.monotonic(), False
    try:
        out, err = process.communicate(timeout=PATIENCE)
    except subprocess.TimeoutExpired:
        hung = True
        os.killpg(process.pid, signal.SIGKILL)
        out, err = process.communicate()
    return Outcome(process.returncode, out, err, [], [], hung, False, time.monotonic() - began)


class Kills:
    """One kind of process, killed again and again.

    Args:
        kind: one of `KINDS`.
        undisturbed: to compare with.
    """

    def __init__(self, kind: str, undisturbed: Undisturbed) -> None:
        self.kind, self.tally, self._undisturbed = kind, Tally(), undisturbed

    def kill(self, seed: int) -> None:
        """Kill one, see what becomes of the others, go on, compare."""
        chance = random.Random(f"{self.kind} {seed}")
        case = f"the {self.kind} killed, seed {seed}"
        self.tally["tried"] += 1
        with tempfile.TemporaryDirectory(prefix="crash-kills-") as directory:
            at = Path(directory)
            if self.kind in DASHBOARDS:
                self._dashboard(case, at, chance)
            else:
                self._sweep(case, at, chance)

    def _sweep(self, case: str, at: Path, chance: random.Random) -> None:
        wanted = self._undisturbed.wanted
        process = begun("train", [*SWEEP, "hydra.sweep.dir=sweep"], at)
        done = self._killed(case, process, chance)
        if self.kind != "launcher" and done.code not in (0, 1):
            self.tally.fault("lost", f"{case}: exit code {done.code}: {done.stderr[-300:]}")
        self.tally.read_all(case, at)
        again = ended(begun("train", [*SWEEP, "sweep_dir=sweep"], at))
        if again.hung:
            self.tally.fault("hangs", f"{case}, going on")
        result = Scenario("", (), "", "", lambda at: sweep_of(at / "sweep"), "sweep")
        self.tally.compare(case, at, result, wanted, again)

    def _killed(self, case: str, process: subprocess.Popen[str], chance: random.Random) -> Outcome:
        """Kill one of a command's processes; return how the command ended."""
        find = KINDS[self.kind]
        until = time.monotonic() + PATIENCE
        while not find(process.pid) and process.poll() is None and time.monotonic() < until:
            time.sleep(0.01)
        time.sleep(chance.uniform(0, SPREAD * (2 if self.kind == "launcher" else 1)))
        family = children(process.pid)
        found = find(process.pid)
        if found:
            with suppress(ProcessLookupError):  # it had ended before
                os.kill(chance.choice(found), signal.SIGKILL)
        if process.pid in found:
            self._left(case, family)
        done = ended(process)
        if done.hung:
            self.tally.fault("hangs", case)
        self._left(case, family)
        if "Traceback" in done.stdout + done.stderr:
            self.tally.fault("tracebacks", f"{case}: {done.stderr[-900:]}")
        return done

    def _left(self, case: str, family: list[int]) -> None:
        until = time.monotonic() + GRACE
        while alive(family) and time.monotonic() < until:
            time.sleep(0.02)
        for pid in alive(family):
            self.tally.fault("left", f"{case}: the process {_typed(pid)[:160]!r}")
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)

    def _dashboard(self, case: str, at: Path, chance: random.Random) -> None:
        assert self._undisturbed.wanted
        shutil.copytree(self._undisturbed.home / "sweep", at / "sweep")
        before = _files(at / "sweep")
        done = self._killed(case, begun("dashboard", ["run=sweep", "port=0"], at), chance)
        if done.code == 2 and not done.stderr.startswith("error: "):
            self.tally.fault("no sentence", f"{case}: {done.stderr[-300:]}")
        next_one = begun("dashboard", ["run=sweep", "port=0"], at)
        for line in next_one.stdout or ():
            if "Ctrl-C ends it." in line:
                break
        family = children(next_one.pid)
        next_one.send_signal(signal.SIGINT)
        if ended(next_one).hung:
            self.tally.fault("hangs", f"{case}, opened again")
        self._left(case, family)
        if left := list((at / "temporary").glob("descent-dashboard-*")):
            self.tally.fault("left", f"{case}: {left[0].name}")
        if _files(at / "sweep") != before:
            self.tally.fault("lost", f"{case}: the runs it shows were changed")


def _files(at: Path) -> dict[str, int]:
    return {str(path.relative_to(at)): path.stat().st_mtime_ns for path in at.rglob("*")}
