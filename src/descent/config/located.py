"""What a `_target_` names. In a multirun, code of others is imported by another process first.

A module may end the process that imports it, or never come to its end, and take all jobs of a
multirun along before any has begun. Nobody can tell before, so a fork of this process tries.
"""

from __future__ import annotations

import faulthandler
import functools
import io
import logging
import multiprocessing
import os
import select
import signal
import sys
import threading
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from contextvars import ContextVar
from typing import Any, NoReturn

from descent.config import trusted
from descent.errors import UserError, did_you_mean, first_line

OURS = ("descent", "torch", "lightning", "torchmetrics", "builtins")  # which end no process
PATIENCE = 20.0  # seconds without a word
DONE = b"."

_trying: ContextVar[bool] = ContextVar("trying", default=False)
_limit: ContextVar[float | None] = ContextVar("limit", default=None)


@contextmanager
def trying(seconds: float | None) -> Iterator[None]:
    """Let another process try what is to be imported: many jobs depend on this one.

    Args:
        seconds: that a module may take, as `hydra.launcher.job_seconds`; None for any time.
    """
    tokens = _trying.set(True), _limit.set(seconds)
    try:
        yield
    finally:
        _trying.reset(tokens[0])
        _limit.reset(tokens[1])


def locate(target: str, where: str) -> Callable[..., Any]:
    """Return the callable a `_target_` names.

    Raises:
        UserError: no such module or name; in a multirun also a module that ends the process that
            imports it, or takes longer than a job may.
    """
    from hydra.utils import get_object

    try:
        _silence_hydra()
        with _told_if_it_takes_long(target, where):
            if _trying.get() and (ending := _ending(target, _limit.get())):
                raise UserError(f"{where}={target} cannot be used: importing it {ending}.")
            found = get_object(trusted.moved(target))
    except UserError:
        raise
    except (Exception, SystemExit) as error:
        raise UserError(f"{where}={target} cannot be found{_why(target, error)}") from error
    if not callable(found):
        raise UserError(f"{where}={target} is not something that can be called.")
    return found


def _silence_hydra() -> None:
    """Let Hydra only raise what it would otherwise print as well."""
    logging.getLogger("hydra.utils").setLevel(logging.CRITICAL)


def _why(target: str, error: BaseException) -> str:
    """Return what is wrong with a target: a name near to it, or Python's own words."""
    module, _, name = target.rpartition(".")
    if module in sys.modules:
        known = [n for n in vars(sys.modules[module]) if not n.startswith("_")]
        return did_you_mean(name, known) or f": {module} has no '{name}'."
    if isinstance(error, SystemExit):
        return f": its module calls sys.exit({'' if error.code is None else error.code})."
    return f": {first_line(error.__cause__ or error)}."


def _is_known(target: str) -> bool:
    """Whether a target's module is ours, or imported already."""
    return target.split(".")[0] in OURS or target.rpartition(".")[0] in sys.modules


@contextmanager
def _told_if_it_takes_long(target: str, where: str) -> Iterator[None]:
    """Say what is waited for, as soon as that takes long."""
    if _is_known(target):
        yield
        return
    words = f"note: importing {where}={target} takes more than {PATIENCE:g} s; Ctrl-C ends it"
    timer = threading.Timer(PATIENCE, lambda: print(words, file=sys.stderr, flush=True))
    timer.daemon = True
    timer.start()
    try:
        yield
    finally:
        timer.cancel()


@functools.cache
def _ending(target: str, seconds: float | None) -> str | None:
    """Return how importing a target ends the process that does it; None if it does not.

    A worker may die: that costs its job alone. Elsewhere than on Linux threads of the system's
    libraries forbid to fork.
    """
    apart = sys.platform == "linux" and multiprocessing.parent_process() is None
    if _is_known(target) or not apart:
        return None
    import torch  # noqa: F401 - which the module most likely needs: once, for both processes

    reads, writes = os.pipe()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # this child imports, and ends
        child = os.fork()
    if child == 0:
        _import(target, writes)
    os.close(writes)
    try:
        if not select.select([reads], [], [], seconds)[0]:
            return f"takes longer than hydra.launcher.job_seconds={seconds:g}"
        lived = os.read(reads, 1) == DONE
    finally:
        os.close(reads)
        with suppress(ProcessLookupError):
            os.kill(child, signal.SIGKILL)
        _, status = os.waitpid(child, 0)
    if lived:
        return None
    code = os.waitstatus_to_exitcode(status)
    how = f"with exit code {code}" if code >= 0 else f"by {signal.Signals(-code).name}"
    return f"ends the process, {how}"


def _import(target: str, writes: int) -> NoReturn:
    """Import a target in a process that ends with it, and says nothing."""
    import resource

    from hydra.utils import get_object

    try:
        silent = os.open(os.devnull, os.O_RDWR)
        for stream in range(3):
            os.dup2(silent, stream)
        sys.stdin = sys.stdout = sys.stderr = io.StringIO()  # which need not write to those
        faulthandler.disable()
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
        with suppress(BaseException):  # which the process that imports it next has to tell
            get_object(target)
        os.write(writes, DONE)
    finally:
        os._exit(0)
