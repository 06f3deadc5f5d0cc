"""A server process that has imported what workers need, so that they are forked in no time.

A worker that starts from nothing takes as long to import torch as this process does, and it starts
only when this one has checked all jobs. The server imports at the same time as this process, on
another core.
"""

from __future__ import annotations

import atexit
import os
import signal
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from multiprocessing import get_context
from typing import Any

from descent.signals import PARENT, deaf, lives

PRELOADED = ("descent.sweep.preload", "descent.sweep.tasks")
_begun = False


def begin(environment: Mapping[str, str]) -> None:
    """Start the server, once; it goes when this process goes.

    Args:
        environment: variables for the workers.
    """
    global _begun
    if sys.platform != "linux" or _begun:  # elsewhere threads of system libraries forbid to fork
        return
    from multiprocessing import forkserver

    forkserver.set_forkserver_preload([*PRELOADED])
    # Python 3.11 does not tell the server where to import from
    where = os.pathsep.join(path for path in sys.path if path)
    try:
        variables = {**environment, "PYTHONPATH": where, PARENT: str(os.getpid())}
        with _variables(variables), deaf():
            forkserver.ensure_running()
    except OSError:  # no sockets to be had: workers start from nothing
        return
    _begun = True
    atexit.register(_end, os.getpid())


def _server() -> int | None:
    """Return the server's process id."""
    from multiprocessing import forkserver

    pid: int | None = forkserver._forkserver._forkserver_pid  # type: ignore[attr-defined]
    return pid


def died() -> bool:
    """Whether the server was begun and is no more; multiprocessing would begin one in silence."""
    server = _server() if _begun else None
    return server is not None and not lives(server)


def _end(owner: int) -> None:
    """End the server with its owner, at once: it may be in the midst of importing torch."""
    server = _server()
    if os.getpid() == owner and server:
        with suppress(ProcessLookupError):
            os.kill(server, signal.SIGKILL)


def give_up() -> None:
    """Fork from the server no more: it died."""
    global _begun
    _begun = False


def context() -> Any:
    """Return the multiprocessing context that forks from the server; None if there is no server."""
    return get_context("forkserver") if _begun else None


@contextmanager
def _variables(values: Mapping[str, str]) -> Iterator[None]:
    before = {name: os.environ.get(name) for name in values}
    os.environ.update(values)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value
