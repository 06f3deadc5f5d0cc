"""Commands typed by the hundred: each in a process forked from one that has imported everything.

    warm = Warm()
    warm.problems(Case("a typo", "train optimizer=momentm", says="momentm does not exist"))

A case is a command, the files that lie there before it, and what must happen: it works, or it says
one sentence. Whatever is expected, a traceback, a hang, a library's warning, a file that nobody
expects, a file of somebody's that changed, and a process left behind are problems.

A start from nothing imports torch and Lightning for seconds; a fork of a process that has done so
takes milliseconds. Everything after the imports is as a user has it: `sys.argv`, the script run as
`__main__`, its own working directory and process group, and Python's own way to end, but that the
memory, most of which is the server's, is not given back piece by piece: that takes as long again.
"""

from __future__ import annotations

import atexit
import contextlib
import fnmatch
import hashlib
import json
import os
import random
import re
import resource
import runpy
import select
import shlex
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, NoReturn

ROOT = Path(__file__).resolve().parents[2]
# A command that needs more than this hangs: seconds of the processor, and of the clock, which on a
# machine that others use says little.
MOST_CPU, MOST_WALL = 10, 60
GRACE = 3.0  # seconds that processes of a command may outlive it
LONGEST_SENTENCE = 700

PRELOADED = (
    "hydra", "torch", "lightning.pytorch", "torchmetrics", "scipy.stats", "sklearn.datasets",
    "sklearn.model_selection", "matplotlib.figure", "polars", "jinja2", "rich.console",
    "rich.table", "filelock", "hydra._internal.utils",
)  # fmt: skip


@dataclass(frozen=True)
class Case:
    """A command and what must come of it.

    Args:
        name: what is tried, for the failure.
        command: as a user types it behind `python src/`: `train data=iris`; or its words.
        says: a pattern of the one sentence it must say; None if it must work.
        either: it may work as well as say that sentence.
        files: what lies in its directory before, by relative path.
        arrange: makes what text and bytes cannot: links, directories, damage to a run.
        shows: patterns that must be found in what a command that works prints.
        makes: patterns of the paths it may make or change, relative to its directory.
        code: its exit code; None for 0 if it works, 2 if it says a sentence.
        environment: variables beside the usual ones; `PYTHONPATH=.` finds the user's own code.
        memory_gib: of address space at most.
        cpu, wall: seconds of the processor and of the clock it may take.
    """

    name: str
    command: str | Sequence[str]
    says: str | None = None
    either: bool = False
    files: Mapping[str, str | bytes] = field(default_factory=dict)
    arrange: Callable[[Path], None] | None = None
    shows: Sequence[str] = ()
    makes: Sequence[str] = ()
    code: int | None = None
    environment: Mapping[str, str] = field(default_factory=dict)
    memory_gib: float | None = None
    cpu: int = MOST_CPU
    wall: int = MOST_WALL

    @property
    def words(self) -> list[str]:
        """The script and its arguments."""
        return shlex.split(self.command) if isinstance(self.command, str) else list(self.command)


@dataclass(frozen=True)
class Outcome:
    """What a command did.

    Args:
        code: its exit code; minus the signal that ended it.
        stdout: what it printed.
        stderr: what it complained.
        made: paths that are new, relative to its directory; directories end in `/`.
        changed: paths that are other than before, or gone.
        hung: whether it had to be killed.
        left: whether processes of it outlived it.
        seconds: of the clock.
    """

    code: int
    stdout: str
    stderr: str
    made: list[str]
    changed: list[str]
    hung: bool
    left: bool
    seconds: float


class Warm:
    """A process that has imported everything, and what it is asked to run.

    Args:
        environment: variables for every command.
    """

    def __init__(self, environment: Mapping[str, str] | None = None) -> None:
        self.environment = dict(os.environ)
        variables = {
            **self.environment, "COLUMNS": "100", "OMP_NUM_THREADS": "1",
            "PYTHONPATH": str(ROOT / "src"), "POLARS_MAX_THREADS": "1", **(environment or {}),
        }  # fmt: skip
        self._server = subprocess.Popen(
            [sys.executable, __file__], stdin=subprocess.PIPE, stdout=subprocess.PIPE,
            env=variables, text=True, cwd=ROOT,
        )  # fmt: skip

    def close(self) -> None:
        """End the server."""
        assert self._server.stdin is not None
        self._server.stdin.close()
        self._server.wait()

    def prepare(self, command: str) -> None:
        """Compose a command's config once, for every run of it: it will be typed many times."""
        assert self._server.stdin is not None
        self._server.stdin.write(json.dumps({"prepare": shlex.split(command)}) + "\n")
        self._server.stdin.flush()

    def run(self, case: Case, directory: Path | None = None) -> Outcome:
        """Run a case, in a new directory unless one is given, which is then kept."""
        if directory is None:
            with tempfile.TemporaryDirectory(prefix="hostile-") as fresh:
                return self.run(case, Path(fresh).resolve())
        directory.mkdir(parents=True, exist_ok=True)
        for name, content in case.files.items():
            path = directory / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(content.encode() if isinstance(content, str) else content)
        if case.arrange is not None:
            case.arrange(directory)
        before = _contents(directory)
        script, *arguments = case.words
        with tempfile.TemporaryDirectory(prefix="hostile-output-") as output:
            request = {
                "argv": [str(ROOT / "src" / f"{script}.py"), *arguments],
                "directory": str(directory), "output": output, "cpu": case.cpu, "wall": case.wall,
                "environment": dict(case.environment), "memory_gib": case.memory_gib,
            }  # fmt: skip
            assert self._server.stdin is not None
            assert self._server.stdout is not None
            self._server.stdin.write(json.dumps(request) + "\n")
            self._server.stdin.flush()
            answer = json.loads(self._server.stdout.readline())
            texts = [
                (Path(output) / name).read_text(errors="replace") for name in ("stdout", "stderr")
            ]
        after = _contents(directory)
        made = sorted(after.keys() - before.keys())
        changed = sorted(name for name in before if after.get(name) != before[name])
        return Outcome(stdout=texts[0], stderr=texts[1], made=made, changed=changed, **answer)

    def problems(self, case: Case, directory: Path | None = None) -> list[str]:
        """Run a case and return what is wrong with what it did, each with the case's name."""
        outcome = self.run(case, directory)
        wrong = problems(case, outcome)
        said = (outcome.stderr or outcome.stdout)[-1500:].strip()
        typed = " ".join(case.words)
        return [f"{case.name}: {problem}\n  $ {typed}\n  {said}" for problem in wrong]


def problems(case: Case, outcome: Outcome) -> list[str]:
    """Return what is wrong with an outcome."""
    if outcome.hung:
        return ["it hangs"]
    if case.either and outcome.code == 0:
        case = replace(case, says=None)
    wanted = case.code if case.code is not None else 0 if case.says is None else 2
    printed = outcome.stdout + outcome.stderr
    wrong = []
    if "Traceback (most recent call last)" in printed:
        wrong.append("a traceback")
    if re.search(r"\w*Warning: ", printed):
        wrong.append("a library's warning")
    if outcome.code != wanted:
        wrong.append(f"exit code {outcome.code} instead of {wanted}")
    if outcome.left:
        wrong.append("a process left behind")
    if case.says is not None:
        wrong += _sentence_problems(case.says, outcome.stderr)
    elif outcome.code == wanted:
        wrong += [f"it does not show '{p}'" for p in case.shows if not re.search(p, printed)]
    # a command that works leaves its runs; one that was refused leaves nothing
    allowed = [*case.makes, *(["outputs/*"] if case.says is None else [])]
    for what, paths in (("made", outcome.made), ("changed or removed", outcome.changed)):
        odd = [p for p in paths if not any(fnmatch.fnmatch(p, pattern) for pattern in allowed)]
        if odd:
            wrong.append(f"{what} {', '.join(odd[:5])}")
    return wrong


def _sentence_problems(pattern: str, stderr: str) -> list[str]:
    lines = stderr.splitlines()
    if len(lines) != 1 or not lines[0].startswith("error: "):
        return ["not one line 'error: ...'"]
    sentence = lines[0].removeprefix("error: ")
    wrong = []
    if len(sentence) > LONGEST_SENTENCE:
        wrong.append(f"a sentence of {len(sentence)} letters")
    if not re.search(r"[.?…\])'\w]$", sentence) or not re.search(r"\w", sentence):
        wrong.append("not a sentence")
    if re.search(r"<(class|function|module) |object at 0x", sentence):
        wrong.append("Python's words for its objects")
    if not re.search(pattern, sentence):
        wrong.append(f"the sentence does not match '{pattern}'")
    return wrong


def _contents(directory: Path) -> dict[str, str]:
    """Return a digest of everything below a directory; links are not followed."""
    found = {}
    for place, folders, files in os.walk(directory):
        for name in [*folders, *files]:
            path = Path(place) / name
            relative = str(path.relative_to(directory))
            if path.is_symlink():
                found[relative] = f"link to {path.readlink()}"
            elif path.is_dir():
                found[f"{relative}/"] = "directory"
            elif path.is_file():
                with path.open("rb") as file:  # some claim to be a terabyte
                    start, size = file.read(2**24), os.fstat(file.fileno()).st_size
                found[relative] = f"{size} {hashlib.blake2b(start).hexdigest()}"
            else:
                found[relative] = "special"
    return found


# ---- the server

Composed = dict[tuple[Any, ...], Any]


def serve(composed: Composed) -> dict[str, Any]:
    """Fork for every request; returns one in the child, and never in the server."""
    for line in sys.stdin:
        request = json.loads(line)
        if "prepare" in request:
            prepare(composed, request["prepare"])
            continue
        begun = time.monotonic()
        child = os.fork()
        if child == 0:
            return request
        watch = os.pidfd_open(child)
        hung = not select.select([watch], [], [], request["wall"])[0]
        os.close(watch)
        if hung:
            _kill(child)
        _, status = os.waitpid(child, 0)
        code = os.waitstatus_to_exitcode(status)
        hung = hung or code == -signal.SIGXCPU
        left = not _gone(child)
        answer = {
            "code": code, "hung": hung, "left": left and not hung,
            "seconds": time.monotonic() - begun,
        }  # fmt: skip
        print(json.dumps(answer), flush=True)
    raise SystemExit


def _gone(group: int) -> bool:
    """Whether all processes of a group end within the grace; those that do not are killed."""
    until = time.monotonic() + GRACE
    while time.monotonic() < until:
        try:
            os.killpg(group, 0)
        except ProcessLookupError:
            return True
        time.sleep(0.02)
    _kill(group)
    return False


def _kill(group: int) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.killpg(group, signal.SIGKILL)


def become(request: Mapping[str, Any]) -> str:
    """Turn this forked process into the command; returns the script to run."""
    os.setsid()
    output = Path(request["output"])
    streams = (
        (os.devnull, os.O_RDONLY, 0),
        (output / "stdout", os.O_WRONLY | os.O_CREAT, 1),
        (output / "stderr", os.O_WRONLY | os.O_CREAT, 2),
    )
    for path, flags, number in streams:
        opened = os.open(path, flags, 0o600)
        os.dup2(opened, number)
        os.close(opened)
    os.chdir(request["directory"])
    os.environ.update(request["environment"])
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    resource.setrlimit(resource.RLIMIT_CPU, (request["cpu"], request["cpu"] + 1))
    if request["memory_gib"] is not None:
        most = int(request["memory_gib"] * 2**30)
        resource.setrlimit(resource.RLIMIT_AS, (most, most))
    sys.argv = request["argv"]
    sys.path[0] = str(Path(sys.argv[0]).parent)
    # as Python itself would have done, had it begun here
    sys.path[1:1] = [path for path in os.environ["PYTHONPATH"].split(os.pathsep) if path]
    shim = request["environment"].get("WARM_SHIM")  # a script whose `install` changes this process
    if shim:
        runpy.run_path(shim)["install"]()
    return sys.argv[0]


def run_to_its_end(script: str) -> NoReturn:
    """Run a script as Python does, up to where it would give back its memory."""
    code = 0
    try:
        runpy.run_path(script, run_name="__main__")
    except SystemExit as end:
        code = end.code if isinstance(end.code, int) else int(end.code is not None)
        if isinstance(end.code, str):
            print(end.code, file=sys.stderr)
    except BaseException:
        sys.excepthook(*sys.exc_info())
        code = 1
    threading._shutdown()  # type: ignore[attr-defined]
    atexit._run_exitfuncs()
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(OSError, ValueError):
            stream.flush()
    os._exit(code & 0xFF)


def compose_ahead(composed: Composed) -> None:
    """Let every fork find Hydra's plugins, its parser's tables, and whatever was composed ahead.

    Args:
        composed: configs, by what Hydra's loader is asked for; see `prepare`.
    """
    from hydra._internal.config_loader_impl import ConfigLoaderImpl
    from hydra.core.plugins import Plugins

    loads = ConfigLoaderImpl.load_configuration

    def recalled(
        self: Any, config_name: str, overrides: list[str], run_mode: Any, from_shell: bool = True,
        validate_sweep_overrides: bool = True,
    ) -> Any:  # fmt: skip
        key = (config_name, tuple(overrides), run_mode, validate_sweep_overrides)
        if key not in composed:
            return loads(self, config_name, overrides, run_mode, from_shell, key[-1])
        found = composed.pop(key)  # of this process alone
        found.hydra.runtime.cwd = str(Path.cwd())
        return found

    Plugins.instance()
    prepare(composed, ["train", "optimizer.lr=0.1", "data=iris", "hydra.run.dir=x"])
    composed.clear()
    ConfigLoaderImpl.load_configuration = recalled  # type: ignore[method-assign]


def prepare(composed: Composed, words: Sequence[str]) -> None:
    """Compose a command's config, which is half of what a short command does."""
    from hydra import initialize_config_dir
    from hydra._internal.utils import get_args_parser
    from hydra.core.global_hydra import GlobalHydra
    from hydra.core.singleton import Singleton
    from hydra.core.utils import JobRuntime
    from hydra.types import RunMode

    from descent.config.typed import understood

    script, *typed = words
    sys.argv = [str(ROOT / "src" / f"{script}.py"), *typed]
    kept = Singleton.get_state()
    overrides = get_args_parser().parse_args(understood(typed, script)).overrides
    with initialize_config_dir(str(ROOT / "conf"), version_base="1.3"):
        JobRuntime.instance().set("name", script)
        loader = GlobalHydra.instance().hydra.config_loader  # type: ignore[union-attr]
        # Hydra asks for the mode first, and then for the config in that mode
        first = loader.load_configuration(
            script, overrides, RunMode.MULTIRUN, validate_sweep_overrides=False
        )
        composed[script, tuple(overrides), RunMode.MULTIRUN, False] = first
        mode = RunMode.MULTIRUN if "-m" in typed else RunMode.RUN
        overrides = [*overrides, f"hydra.mode={mode.name}"]
        composed[script, tuple(overrides), mode, True] = loader.load_configuration(
            script, overrides, mode
        )
    Singleton.set_state(kept)


if __name__ == "__main__":
    import gc
    import importlib

    for module in PRELOADED:
        importlib.import_module(module)
    for file in sorted((ROOT / "src" / "descent").rglob("*.py")):
        parts = file.relative_to(ROOT / "src").with_suffix("").parts
        importlib.import_module(".".join(parts).removesuffix(".__init__"))
    made: Composed = {}
    compose_ahead(made)
    gc.freeze()
    run_to_its_end(become(serve(made)))


PARTS = range(4)  # that a corpus is cut into, so that several processes can share it


def part_of(cases: Sequence[Case], part: int, most: int) -> list[Case]:
    """Return a part of a corpus: of all its cases where HOSTILE=all, else of some, ever the same.

    Args:
        cases: the corpus.
        part: one of `PARTS`.
        most: cases of all parts together.
    """
    if os.environ.get("HOSTILE") != "all" and len(cases) > most:
        cases = random.Random(1).sample(list(cases), most)
    return list(cases[part :: len(PARTS)])
