"""Whose code failed: the node of the config that an exception came from.

A user's model or callback, and the libraries' classes that a config names, fail in their own ways.
Their traceback helps whoever wrote them; whoever typed the command is told the node and the cause.
"""

from __future__ import annotations

import logging
import sys
import traceback
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import TracebackType
from typing import Any

from descent.errors import first_line

OURS = str(Path(__file__).parent)


def blamed(error: BaseException, config: Mapping[str, Any]) -> str | None:
    """Return what failed and why, in one sentence; None where the fault is ours.

    The innermost frame decides that is in Descent's own code or in the file of a target; frames of
    libraries in between belong to whoever called them.

    Args:
        error: with its traceback.
        config: plain containers.
    """
    files = dict(_files(config))
    for file in _frames(error.__traceback__):
        if file in files:
            key, target = files[file]
            return f"{key} ({target}) failed: {type(error).__name__}: {first_line(error)}"
        if file.startswith(OURS):
            return None
    return None


def _frames(trace: TracebackType | None) -> Iterator[str]:
    """Yield the files of a traceback, innermost first."""
    files = [frame.f_code.co_filename for frame, _ in traceback.walk_tb(trace)]
    yield from reversed(files)


def _files(config: Mapping[str, Any]) -> Iterator[tuple[str, tuple[str, str]]]:
    """Yield the source file of each target that is not Descent's, with its node and its name."""
    nodes = {key: config.get(key) for key in ("model", "optimizer", "scheduler")}
    nodes["data.source"] = (config.get("data") or {}).get("source")
    for group in ("callbacks", "logger"):
        nodes |= {f"{group}.{name}": node for name, node in (config.get(group) or {}).items()}
    for key, node in nodes.items():
        target = node.get("_target_") if isinstance(node, Mapping) else None
        if not isinstance(target, str) or target.startswith("descent."):
            continue
        module, _, name = target.rpartition(".")
        made = getattr(sys.modules.get(module), name, None)
        source = sys.modules.get(getattr(made, "__module__", module))
        if file := getattr(source, "__file__", None):
            yield file, (key, target)


def keep_traceback(error: BaseException, show: bool) -> None:
    """Write a traceback into the run's log, and to the terminal if asked."""
    record = logging.LogRecord(
        "descent", logging.ERROR, __file__, 0, "%s", (first_line(error),),
        (type(error), error, error.__traceback__),
    )  # fmt: skip
    for handler in logging.getLogger().handlers:
        if isinstance(handler, logging.FileHandler):
            handler.handle(record)
    if show:
        traceback.print_exception(error)
