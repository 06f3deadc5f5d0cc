"""`--json`: what a command says as one JSON document on stdout, for scripts and agents.

All other output goes to stderr then, whoever writes it. `document.schema.json` beside this file
describes the document; where none is asked for, `note` and `add` do nothing.
"""

from __future__ import annotations

import json
import math
import os
import shlex
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from descent.config.spelling import script_path
from descent.errors import UserError, first_line

FLAG = "--json"
VERSION = 1
# what is no command's work, and writes to stdout itself
OTHERS = ("--cfg", "-c", "--help", "-h", "--hydra-help", "--info", "-i", "--version",
          "--shell-completion", "-sc")  # fmt: skip
OUTCOMES = {0: "ok", 1: "failed", 2: "refused"}  # by exit code; signals end with 128 and theirs

_document: dict[str, Any] | None = None


def note(key: str, value: Any) -> None:
    """Say one thing of the document; a later word takes the place of an earlier one."""
    if _document is not None:
        _document[key] = value


def add(key: str, value: Any) -> None:
    """Append to one of the document's lists."""
    if _document is not None:
        _document[key].append(value)


def follow(command: str, aim: str, **price: Any) -> None:
    """Add a command that can be typed next, as a shell has it and word by word.

    Args:
        command: as it is printed; its words in the document need no PATH and no directory.
        aim: what it is for.
        **price: `runs`, `steps`, `seconds`.
    """
    program, script, *words = shlex.split(command)
    if program == "python":
        argv = [sys.executable, str(script_path(Path(script).stem)), *words]
    else:
        argv = [sys.executable, "-m", program, script, *words]
    add("next", {"command": command, "argv": argv, "aim": aim, **price})


def add_run(directory: Path, result: Mapping[str, Any]) -> None:
    """Add what `result.json` says of a run."""
    kept = ("name", "status", "reason", "ending", "overrides", "step", "epoch", "samples",
            "seconds", "metrics", "best")  # fmt: skip
    add("runs", {"directory": str(directory)} | {key: result.get(key) for key in kept})


def add_multirun(
    sweep: Path, table: Path, jobs: Sequence[tuple[Mapping[str, Any], Mapping[str, Any]]]
) -> None:
    """Add a multirun and its runs.

    Args:
        sweep: its directory.
        table: its results.csv.
        jobs: each job, as listed, with its result.
    """
    note("multirun", {"directory": str(sweep), "table": str(table)})
    for job, result in jobs:
        add_run(sweep / job["directory"], result)


@contextmanager
def one_document(argv: list[str]) -> Iterator[None]:
    """Write the document of a command that is typed with `--json`; take the word out of `argv`.

    Raises:
        SystemExit: as the command ends.
    """
    if FLAG not in argv:
        yield
        return
    global _document
    typed = [word for word in argv if word != FLAG]
    argv[:] = typed
    sys.stdout.flush()
    kept = os.dup(1)
    os.dup2(2, 1)  # from here on all that is printed, by workers and by C, goes to stderr
    _document = {
        "version": VERSION, "command": Path(sys.argv[0]).stem, "typed": typed, "outcome": "ok",
        "exit_code": 0, "error": None, "runs": [], "multirun": None, "study": None,
        "comparison": None, "evaluation": None, "export": None, "report": None, "next": [],
    }  # fmt: skip
    code = 1
    try:
        yield
        code = 0
    except SystemExit as end:
        code = end.code if isinstance(end.code, int) else int(end.code is not None)
        raise
    except BaseException as error:
        note("error", f"{type(error).__name__}: {first_line(error)}.")
        raise
    finally:
        sys.stdout.flush()
        outcome = OUTCOMES.get(code, "interrupted")
        text = json.dumps(speakable(_document | {"outcome": outcome, "exit_code": code}), indent=2)
        os.dup2(kept, 1)
        os.close(kept)
        print(text, flush=True)
        _document = None


def check_flags(command: str, typed: list[str]) -> None:
    """Refuse `--json` where nothing is done that it could tell of.

    Raises:
        UserError: beside a flag that prints something else.
    """
    if _document is None:
        return
    beside = next((word for word in typed if word.split("=")[0] in OTHERS), None)
    if beside is not None:
        raise UserError(
            f"{FLAG} tells what a command did, and {beside} only shows something; leave one out."
        )
    if command == "dashboard":
        raise UserError(f"{FLAG} does not go with the dashboard, which has no end; leave it out.")


def speakable(value: Any) -> Any:
    """Return a value for JSON: numbers that are not finite become the texts nan, inf, -inf."""
    if isinstance(value, Mapping):
        return {str(k): speakable(v) for k, v in value.items()}
    if isinstance(value, (list, tuple)):
        return [speakable(v) for v in value]
    if isinstance(value, Path):
        return str(value)
    if isinstance(value, float) and not math.isfinite(value):
        return str(value)
    return value
