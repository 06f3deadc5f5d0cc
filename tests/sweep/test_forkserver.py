"""Workers forked from a server that has imported torch: real processes, each test its own."""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path

import pytest

SCRIPT = """
import os
import signal
import sys
from pathlib import Path


def look(task):
    if task == ("dies",):
        os.kill(os.getpid(), signal.SIGKILL)
    found = "torch" in sys.modules, os.environ["OMP_NUM_THREADS"], os.getppid(), os.getpid()
    return *found, signal.getsignal(signal.SIGINT) is signal.SIG_IGN


def alone(task):
    return [task]


if __name__ == "__main__":
    from descent.sweep import forkserver
    from descent.sweep.executors import ONE_THREAD
    from descent.sweep.workers import Died, Workers, run_tasks

    assert forkserver.context() is None
    before = dict(os.environ), signal.getsignal(signal.SIGINT)
    forkserver.begin(ONE_THREAD)
    assert (dict(os.environ), signal.getsignal(signal.SIGINT)) == before
    tasks = [("a",), ("b",), ("dies",), ("c",)]
    got = list(run_tasks(tasks, look, alone, Workers(count=2)))
    assert sum(isinstance(one, Died) for one in got) == 1, got
    told = [one for one in got if not isinstance(one, Died)]
    assert len(told) == 3, got
    assert all(imported and threads == "1" and deaf for imported, threads, _, _, deaf in told), told
    parents = {parent for _, _, parent, _, _ in told}
    assert len(parents) == 1 and os.getpid() not in parents, told  # all forked from one server
    print(*parents, *{pid for _, _, _, pid, _ in told})
"""


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere workers are not forked")
def test_workers_are_forked_with_torch_imported_and_their_deaths_survived(tmp_path: Path) -> None:
    script = tmp_path / "script.py"
    script.write_text(SCRIPT)
    done = subprocess.run(
        [sys.executable, str(script)], capture_output=True, text=True, timeout=120, cwd=tmp_path
    )
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    left, until = done.stdout.split(), time.monotonic() + 30
    while left and time.monotonic() < until:  # nobody stays behind
        left = [pid for pid in left if Path(f"/proc/{pid}").exists()]
        time.sleep(0.05)
    assert left == []


ORPHAN = """
import os
import sys
import time


def linger(task):
    print(os.getpid(), flush=True)
    time.sleep(120)


if __name__ == "__main__":
    from descent.sweep import forkserver
    from descent.sweep.workers import Workers, run_tasks

    if sys.argv[1] == "forked":
        forkserver.begin({})
    list(run_tasks([1], linger, lambda task: [task], Workers(count=1)))
"""


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="looks into /proc")
@pytest.mark.parametrize("how", ["forked", "started"])
def test_a_worker_ends_when_its_parent_is_killed(how: str, tmp_path: Path) -> None:
    script = tmp_path / "script.py"
    script.write_text(ORPHAN)
    command = [sys.executable, str(script), how]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=tmp_path) as process:
        assert process.stdout is not None
        worker = Path("/proc") / process.stdout.readline().strip()
        assert worker.exists()
        process.kill()
    until = time.monotonic() + 30
    while worker.exists() and time.monotonic() < until:
        time.sleep(0.05)
    assert not worker.exists()
