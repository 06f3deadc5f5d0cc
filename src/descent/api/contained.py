"""The engine inside somebody's Python: what it sets for itself is put back when a call returns.

A command owns its process, so the engine chooses threads, seeds, logs and Hydra's singletons as it
likes. Here they are noted before a call and restored after it, however it ends; calls of several
threads take turns. Mistakes are raised as DescentError.
"""

from __future__ import annotations

import contextlib
import copy
import io
import logging
import os
import random
import sys
import threading
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Any

from hydra.core.global_hydra import GlobalHydra
from hydra.core.hydra_config import HydraConfig
from hydra.core.utils import JobRuntime
from omegaconf.basecontainer import BaseContainer

from descent.callbacks.live import silent
from descent.cli import in_python, one_sentence
from descent.config.hydra_release import base_keeper
from descent.errors import DescentError, UserError
from descent.records.run import LOG, LogFile
from descent.signals import Interrupted, received

_TURN = threading.RLock()
_LINE = logging.Formatter("%(message)s")
_DATED = logging.Formatter("%(asctime)s %(levelname)s %(name)s: %(message)s")


@contextmanager
def contained(words: Sequence[str] = (), quiet: bool = False) -> Iterator[None]:
    """Let the engine run, and leave everything else as it was.

    Args:
        words: what would be typed behind `python src/train.py`, for the engine's sentences.
        quiet: print nothing.

    Raises:
        DescentError: for what a command answers with one sentence.
        KeyboardInterrupt: the run was interrupted; its directory can be continued.
    """
    with _TURN, ExitStack() as kept:
        kept.enter_context(_restored())
        sys.argv = ["src/train.py", *words]
        token = in_python.set(True)
        kept.callback(in_python.reset, token)
        if quiet:
            kept.enter_context(contextlib.redirect_stdout(io.StringIO()))
            kept.enter_context(silent())
        try:
            with one_sentence():
                yield
        except DescentError:
            raise
        except UserError as error:
            raise DescentError(str(error)) from (error.__cause__ or error)
        except Interrupted as error:
            raise KeyboardInterrupt(str(error)) from None
        except SystemExit as error:
            signalled = received()
            if signalled is not None:
                raise KeyboardInterrupt(str(signalled)) from None
            raise DescentError(f"The run ended the process with {error.code!r}.") from error


@contextmanager
def logged(directory: Path | None) -> Iterator[None]:
    """Print the engine's lines as a command does, and keep them in a run's own log.

    Args:
        directory: of the run; None for a multirun, whose lines are not logged ones.
    """
    root = logging.getLogger()
    handlers: list[logging.Handler] = []
    if directory is not None:
        console, file = logging.StreamHandler(sys.stdout), LogFile(directory / LOG, delay=True)
        console.setFormatter(_LINE)
        file.setFormatter(_DATED)
        handlers = [console, file]
    before, level = root.handlers[:], root.level
    root.handlers[:] = handlers
    root.setLevel(logging.INFO)
    try:
        yield
    finally:
        root.handlers[:] = before
        root.setLevel(level)
        for handler in handlers:
            handler.close()


@contextmanager
def _restored() -> Iterator[None]:
    """Note what the engine and its libraries set for a whole process, and put it back."""
    undo: list[Callable[[], Any]] = [*_of_python(), *_of_hydra(), *_of_logging(), *_of_torch()]
    with warnings.catch_warnings():
        try:
            yield
        finally:
            for put_back in undo:
                put_back()


def _of_python() -> list[Callable[[], Any]]:
    argv, where, state = sys.argv, Path.cwd(), random.getstate()
    environment = dict(os.environ)

    def put_environment_back() -> None:
        for name in set(os.environ) - set(environment):
            del os.environ[name]
        os.environ.update(environment)

    def put_back() -> None:
        sys.argv = argv
        random.setstate(state)
        with suppress(OSError):  # it was removed meanwhile
            os.chdir(where)

    return [put_environment_back, put_back]


def _of_hydra() -> list[Callable[[], Any]]:
    hydra, cfg = GlobalHydra.instance().hydra, HydraConfig.instance().cfg
    put_base_back, job = base_keeper(), copy.deepcopy(JobRuntime.instance().conf)
    resolvers = dict(BaseContainer._resolvers)
    GlobalHydra.instance().clear()

    def put_back() -> None:
        GlobalHydra.instance().hydra = hydra
        HydraConfig.instance().cfg = cfg
        put_base_back()
        JobRuntime.instance().conf = job
        BaseContainer._resolvers = resolvers

    return [put_back]


def _of_logging() -> list[Callable[[], Any]]:
    known = [logging.getLogger(), *logging.Logger.manager.loggerDict.values()]
    loggers = [logger for logger in known if isinstance(logger, logging.Logger)]
    states = [(one, one.level, one.handlers[:], one.propagate, one.disabled) for one in loggers]

    def put_back() -> None:
        for logger, level, handlers, propagate, disabled in states:
            logger.setLevel(level)
            logger.handlers[:] = handlers
            logger.propagate, logger.disabled = propagate, disabled

    return [put_back]


def _of_torch() -> list[Callable[[], Any]]:
    import numpy as np
    import torch

    threads, state, drawn = torch.get_num_threads(), torch.get_rng_state(), np.random.get_state()
    cuda = torch.cuda.get_rng_state_all() if torch.cuda.is_initialized() else None
    dtype, precision = torch.get_default_dtype(), torch.get_float32_matmul_precision()
    strict = torch.are_deterministic_algorithms_enabled()
    warns = torch.is_deterministic_algorithms_warn_only_enabled()
    cudnn = torch.backends.cudnn
    quick = (cudnn.benchmark, cudnn.deterministic)

    def put_back() -> None:
        torch.set_num_threads(threads)
        torch.set_rng_state(state)
        np.random.set_state(drawn)
        if cuda is not None:
            torch.cuda.set_rng_state_all(cuda)
        torch.set_default_dtype(dtype)
        torch.set_float32_matmul_precision(precision)
        torch.use_deterministic_algorithms(strict, warn_only=warns)
        cudnn.benchmark, cudnn.deterministic = quick

    return [put_back]
