"""Tasks in worker processes: results as they come, deaths that harm only themselves."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from descent.errors import UserError
from descent.sweep.workers import DEATH, Died, Workers, connect, run_tasks

TWO = Workers(count=2)
POISON = 3
Task = tuple[int, ...]  # numbers, of which POISON kills the worker


def halves(task: Task) -> list[Task]:
    middle = len(task) // 2
    return [task[:middle], task[middle:]] if middle else [task]


def whole(task: Any) -> list[Any]:
    return [task]


def squares_of(die: Callable[[], None]) -> Callable[[Task], list[int]]:
    """Return work that ends its process at POISON; a closure pickles by value, to any machine."""

    def squares(task: Task) -> list[int]:
        if POISON in task:
            die()
        return [number * number for number in task]

    return squares


def leave() -> None:
    os._exit(9)


def be_killed() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def is_running(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    stat = Path(f"/proc/{pid}/stat")  # a zombie has ended: nobody here reaps orphans
    return not stat.exists() or stat.read_text().rsplit(")", 1)[1].split()[0] != "Z"


# ---- results


def test_every_task_yields_its_result_once() -> None:
    results = run_tasks([(n,) for n in range(10, 30)], squares_of(leave), whole, TWO)
    assert sorted(results) == [[n * n] for n in range(10, 30)]


def test_no_tasks_yield_nothing_and_start_no_worker() -> None:
    assert list(run_tasks([], squares_of(leave), whole, TWO)) == []


def test_a_result_is_yielded_while_other_tasks_run(tmp_path: Path) -> None:
    def wait_for_the_other(task: str) -> str:
        deadline = time.monotonic() + 20
        while task == "slow" and not (tmp_path / "seen").exists():
            assert time.monotonic() < deadline
            time.sleep(0.01)
        return task

    results = run_tasks(["slow", "quick"], wait_for_the_other, whole, TWO)
    assert next(results) == "quick"
    (tmp_path / "seen").touch()
    assert list(results) == ["slow"]


def test_two_workers_run_at_once_in_processes_with_one_thread_each(tmp_path: Path) -> None:
    def meet(task: int) -> tuple[int, list[int]]:
        (tmp_path / str(task)).touch()
        deadline = time.monotonic() + 20
        while len(list(tmp_path.iterdir())) < 2:
            assert time.monotonic() < deadline, "the other task is not running"
            time.sleep(0.01)
        import numpy  # noqa: F401 - brings a thread pool
        from threadpoolctl import threadpool_info

        return os.getpid(), [pool["num_threads"] for pool in threadpool_info()]

    found = list(run_tasks([1, 2], meet, whole, TWO))
    assert len({pid for pid, _ in found} | {os.getpid()}) == 3
    assert all(set(threads) == {1} for _, threads in found)


def test_workers_held_open_serve_again_and_then_end() -> None:
    def whoami(_: int) -> int:
        return os.getpid()

    with connect(TWO):
        first = set(run_tasks(range(8), whoami, whole, TWO))
        again = set(run_tasks(range(8), whoami, whole, TWO))
        assert len(first | again) <= 2
    assert not any(map(is_running, first | again))


# ---- deaths


@pytest.mark.parametrize("die", [leave, be_killed])
def test_a_death_harms_only_its_own_task(die: Callable[[], None]) -> None:
    results = list(run_tasks([(n,) for n in range(6)], squares_of(die), whole, TWO))
    assert [r for r in results if isinstance(r, Died)] == [Died((POISON,), DEATH)]
    assert sorted(r for r in results if isinstance(r, list)) == [[0], [1], [4], [16], [25]]


def test_a_task_that_died_is_split_until_only_the_poisoned_part_is_left() -> None:
    tasks = [(0, 1, 2, POISON), (4, 5)]
    results = list(run_tasks(tasks, squares_of(leave), halves, TWO))
    assert [r for r in results if isinstance(r, Died)] == [Died((POISON,))]
    assert sorted(r for r in results if isinstance(r, list)) == [[0, 1], [4], [16, 25]]


def test_a_death_neither_stops_nor_repeats_what_runs_beside_it(tmp_path: Path) -> None:
    def die_beside(task: str) -> str:
        with (tmp_path / task).open("a") as file:
            file.write("begun\n")
        if task == "dies":
            os._exit(1)
        deadline = time.monotonic() + 20
        while not (tmp_path / "dies").exists() and time.monotonic() < deadline:
            time.sleep(0.01)
        time.sleep(0.3)  # the death is known by now
        return task

    results = list(run_tasks(["lives", "dies"], die_beside, whole, TWO))
    assert results == ["lives", Died("dies")]
    assert (tmp_path / "lives").read_text() == "begun\n"


def test_what_died_in_company_has_another_try_alone(tmp_path: Path) -> None:
    def short_of_memory(task: int) -> int:
        with (tmp_path / "log").open("a") as file:
            file.write(f"{task}\n")
        if task == 0 and not (tmp_path / "died").exists():
            (tmp_path / "died").touch()
            os._exit(1)
        time.sleep(0.1)
        return task

    assert list(run_tasks(range(4), short_of_memory, whole, TWO))[-1] == 0
    assert sorted((tmp_path / "log").read_text().split()) == ["0", "0", "1", "2", "3"]
    assert (tmp_path / "log").read_text().split()[-1] == "0"


def test_a_single_worker_is_another_process_too() -> None:
    results = list(run_tasks([(2,), (POISON,), (4,)], squares_of(leave), whole, Workers(count=1)))
    assert results == [[4], Died((POISON,)), [16]]


# ---- early ends


def test_what_work_raises_comes_through_and_ends_the_workers(tmp_path: Path) -> None:
    def fail(task: int) -> None:
        (tmp_path / str(os.getpid())).touch()
        if task == 1:
            raise KeyError("no such column")
        time.sleep(60)

    with pytest.raises(KeyError, match="no such column"):
        list(run_tasks([0, 1], fail, whole, TWO))
    assert not any(is_running(int(path.name)) for path in tmp_path.iterdir())


def test_an_iterator_that_is_closed_ends_its_workers(tmp_path: Path) -> None:
    def sleep(task: int) -> int:
        (tmp_path / str(os.getpid())).touch()
        time.sleep(0 if task == 0 else 60)
        return task

    results = run_tasks([0, 1], sleep, whole, TWO)
    assert next(results) == 0
    results.close()
    assert not any(is_running(int(path.name)) for path in tmp_path.iterdir())


INTERRUPTED = """
import os, time
from descent.sweep.workers import Workers, run_tasks

def sleep(task):
    os.write(1, f"{os.getpid()}\\n".encode())  # in one piece: two processes write
    time.sleep(60)

list(run_tasks([1, 2], sleep, lambda task: [task], Workers(count=2)))
"""


def test_ctrl_c_ends_the_workers_at_once() -> None:
    with subprocess.Popen(
        [sys.executable, "-c", INTERRUPTED], start_new_session=True,
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    ) as process:  # fmt: skip
        pids = [int(process.stdout.readline()) for _ in range(2)]
        begun = time.monotonic()
        os.killpg(process.pid, signal.SIGINT)  # as a terminal does: to the workers too
        _, errors = process.communicate(timeout=20)
    assert time.monotonic() - begun < 5
    assert "KeyboardInterrupt" in errors
    assert not any(map(is_running, pids))


# ---- what is wrong is said before anything runs


@pytest.mark.parametrize(
    ("workers", "sentence"),
    [
        (Workers("lokki"), "There is no engine 'lokki' for workers; did you mean 'loky'?"),
        (Workers(count=0), "The count of workers is 0; give 1 or more, or null."),
        (Workers(address="tcp://here:8786"), "have no address (tcp://here:8786); choose dask"),
    ],
)
def test_workers_that_cannot_be_are_refused(workers: Workers, sentence: str) -> None:
    with pytest.raises(UserError) as error, connect(workers):
        pass
    assert sentence in str(error.value)


@pytest.mark.parametrize(("engine", "package"), [("dask", "distributed"), ("ray", "ray")])
def test_a_library_that_is_missing_is_named_with_its_extra(
    engine: str, package: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(UserError) as error, connect(Workers(engine)):
        pass
    assert str(error.value) == (
        f"Workers of engine '{engine}' need the package '{package}', which is not installed; "
        f"run pip install -e '.[{engine}]' -c constraints.txt"
    )


def closed_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as server:
        return int(server.getsockname()[1])


@pytest.mark.parametrize("engine", ["dask", "ray"])
def test_a_cluster_that_does_not_answer_is_named_at_once(engine: str) -> None:
    pytest.importorskip({"dask": "distributed"}.get(engine, engine))
    address = f"{'tcp://' if engine == 'dask' else ''}127.0.0.1:{closed_port()}"
    begun = time.monotonic()
    with (
        pytest.raises(UserError, match=f" at {address} does not answer: .*; start it or check"),
        connect(Workers(engine, address=address), seconds=1),
    ):
        pass
    assert time.monotonic() - begun < 5


# ---- clusters


@pytest.fixture
def dask_cluster() -> Iterator[Workers]:
    distributed = pytest.importorskip("distributed")
    options = {"n_workers": 2, "threads_per_worker": 1, "dashboard_address": None}
    with distributed.LocalCluster(**options) as cluster:
        yield Workers("dask", address=cluster.scheduler_address)


@pytest.fixture
def ray_cluster(monkeypatch: pytest.MonkeyPatch) -> Iterator[Workers]:
    pytest.importorskip("ray")
    # a cluster of this test alone, on the loopback device, needs no token
    monkeypatch.setenv("RAY_AUTH_MODE", "disabled")
    port = closed_port()
    command = [
        *(sys.executable, "-m", "ray.scripts.scripts", "start", "--head", "--block"),
        *("--node-ip-address=127.0.0.1", f"--port={port}", "--num-cpus=2"),
        *("--include-dashboard=false", f"--ray-client-server-port={closed_port()}"),
    ]
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as head:
        try:
            deadline = time.monotonic() + 60
            while True:
                with contextlib.suppress(OSError):
                    socket.create_connection(("127.0.0.1", port), timeout=1).close()
                    break
                assert head.poll() is None, "ray start ended"
                assert time.monotonic() < deadline
                time.sleep(0.2)
            yield Workers("ray", address=f"127.0.0.1:{port}")
        finally:
            head.terminate()


@pytest.mark.slow
@pytest.mark.parametrize("engine", ["dask", "ray"])
def test_a_cluster_does_what_processes_do(engine: str, request: pytest.FixtureRequest) -> None:
    workers = request.getfixturevalue(f"{engine}_cluster")

    def where(task: int) -> tuple[int, str | None]:
        if task == 99:
            raise KeyError("no such column")
        time.sleep(0.2)
        return os.getpid(), os.environ.get("OMP_NUM_THREADS")

    with connect(workers):
        found = list(run_tasks(range(8), where, whole, workers))
        assert len(found) == 8
        assert len({pid for pid, _ in found}) == 2
        assert {threads for _, threads in found} == {"1"}

        tasks = [(0, 1, 2, POISON), (4, 5), (6,)]
        results = list(run_tasks(tasks, squares_of(be_killed), halves, workers))
        assert [r for r in results if isinstance(r, Died)] == [Died((POISON,))]
        assert sorted(r for r in results if isinstance(r, list)) == [[0, 1], [4], [16, 25], [36]]

        with pytest.raises(KeyError, match="no such column"):
            list(run_tasks([1, 99], where, whole, workers))


@pytest.mark.slow
def test_a_dask_worker_with_two_threads_is_refused() -> None:
    distributed = pytest.importorskip("distributed")
    options = {"n_workers": 1, "threads_per_worker": 2, "dashboard_address": None}
    with distributed.LocalCluster(**options) as cluster:
        workers = Workers("dask", address=cluster.scheduler_address)
        with pytest.raises(UserError, match="run several tasks in one process"), connect(workers):
            pass


@pytest.mark.slow
def test_a_dask_cluster_of_this_machine_is_started_for_the_tasks() -> None:
    pytest.importorskip("distributed")
    workers = Workers("dask", count=2)
    results = list(run_tasks([(1,), (POISON,), (5,)], squares_of(leave), whole, workers))
    assert sorted(map(str, results)) == sorted(map(str, [[1], [25], Died((POISON,))]))
