"""What every worker needs: importing this once serves all that are forked afterwards."""

from __future__ import annotations

import atexit
import gc
import multiprocessing
import os
import signal

from descent.signals import PARENT, end_with_parent

if multiprocessing.parent_process() is None:  # the server itself, before what takes its time
    end_with_parent(watch=False)
    if PARENT in os.environ:  # Ctrl-C is for the launcher to answer; workers take this over
        signal.signal(signal.SIGINT, signal.SIG_IGN)

from descent.engine.imports import import_lightning


def _import_more() -> None:
    import_lightning()
    import polars  # noqa: F401
    from torch.utils.tensorboard import summary  # noqa: F401

    import descent.training  # noqa: F401


_import_more()
atexit.register(gc.freeze)  # as in `cli`: this process's end is waited for
