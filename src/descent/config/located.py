"""What a `_target_` names. Code of others is imported by another process first.

A module may end the process that imports it, and take a multirun along before any job of it has
begun. Nobody can tell before, so a fork of this process tries.
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
import warnings
from collections.abc import Callable
from contextlib import suppress
from typing import Any, NoReturn

from descent.config import trusted
from descent.errors import UserError, did_you_mean, first_line

OURS = ("descent", "torch", "lightning", "torchmetrics", "builtins")  # which end no process
PATIENCE = 60.0  # seconds; a module that takes longer is imported here, whatever comes of it
DONE = b"."


def locate(target: str, where: str) -> Callable[..., Any]:
    """Return the callable a `_target_` names.

    Raises:
        UserError: no such module or name, or a module that ends the process that imports it.
    """
    from hydra.utils import get_object

    try:
        _silence_hydra()
        if ending := _ending(target):
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


@functools.cache
def _ending(target: str) -> str | None:
    """Return how importing a target ends the process that does it; None if it does not.

    A worker may die: that costs its job alone. Elsewhere than on Linux threads of the system's
    libraries forbid to fork.
    """
    known = target.split(".")[0] in OURS or target.rpartition(".")[0] in sys.modules
    if known or sys.platform != "linux" or multiprocessing.parent_process() is not None:
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
        if not select.select([reads], [], [], PATIENCE)[0]:
            return None
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
