"""Workers end with the process that gave them their tasks, however it ended.

One that was killed cannot tell its workers. They would go on writing into directories that a
resumed multirun writes into as well.
"""

from __future__ import annotations

import multiprocessing
import os
import time
from functools import cache
from threading import Thread

SECONDS = 0.2  # between two looks


@cache
def end_with_parent() -> None:
    """Watch over the parent from now on, if this process is a worker; once in each process."""
    parent = multiprocessing.parent_process()
    if parent is not None and parent.pid is not None and os.name == "posix":
        Thread(target=_watch, args=(parent.pid,), daemon=True, name="end with parent").start()


def _watch(pid: int) -> None:
    while _lives(pid):
        time.sleep(SECONDS)
    os._exit(1)


def _lives(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:  # somebody else's: the number was given away again
        return False
    return True
