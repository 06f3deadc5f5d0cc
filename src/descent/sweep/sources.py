"""The data of a multirun's jobs: prepared once in each process, others' code in one of its own.

A source that somebody else wrote may end the process it runs in, or never return. So the launcher
lets another process prepare such data, and takes over what comes of it: a job whose data cannot be
had is lost alone.
"""

from __future__ import annotations

import pickle
from collections.abc import Iterable, Mapping
from concurrent.futures import Future
from dataclasses import replace
from typing import Any

from descent.config.check import flatten
from descent.data.prepare import Prepared, prepare
from descent.errors import ForeignError, UserError, first_line
from descent.records.endings import Ending, Reason

# whose code does not end the process it runs in
OURS = ("descent", "torch", "lightning", "torchmetrics")
START = 15.0  # seconds that a process may need to begin
DIED = "the process in which its data were prepared died"

_known: dict[bytes, Prepared | UserError] = {}


def of_others(config: Mapping[str, Any], key: str = "") -> bool:
    """Whether a config builds what neither Descent nor what it is built on has made."""
    return any(
        name.endswith("_target_") and str(value).split(".")[0] not in OURS
        for name, value in flatten({key: config} if key else config)
        if not name.startswith(("trainer.", "hydra."))
    )


def prepared(data: Mapping[str, Any]) -> Prepared:
    """Return the data of a config, prepared once in each process.

    What is prepared is shared: it must not be changed or let go.

    Raises:
        UserError: the data are unusable.
    """
    key = pickle.dumps(data)
    if key not in _known:
        _known[key] = _shared(prepare(data))
    made = _known[key]
    if isinstance(made, UserError):
        raise made
    return made


def _shared(made: Prepared) -> Prepared:
    made.arrays = replace(made.arrays, disposable=False)
    return made


def prepare_apart(nodes: Iterable[Mapping[str, Any]], seconds: float | None) -> dict[str, str]:
    """Prepare what others' sources give, each in another process.

    Args:
        nodes: `data` configs of jobs, in any number.
        seconds: that a source may take; None for any time.

    Returns:
        By `repr` of the node, why its data cannot be had.
    """
    others = {name: node for name, node in _distinct(nodes).items() if of_others(node, "data")}
    if not others:
        return {}
    from descent.sweep.executors import Loky

    lost: dict[str, str] = {}
    engine = Loky(1)
    try:
        for name, node in others.items():
            future: Future[Prepared | UserError | NoData] = engine.submit(_tried, node)
            try:
                made = future.result(None if seconds is None else seconds + START)
            except engine.deaths:
                made = NoData(DIED)
            except TimeoutError:
                engine.stop([future])
                made = NoData(Ending(Reason.TIME, {"seconds": seconds}).sentence)
            except Exception:  # they cannot come over: the source has ended, and will here
                continue
            if isinstance(made, NoData):
                lost[name] = made.sentence
            else:
                _known[pickle.dumps(node)] = made
    finally:
        engine.close()
    return lost


def _distinct(nodes: Iterable[Mapping[str, Any]]) -> dict[str, Mapping[str, Any]]:
    found: dict[str, Mapping[str, Any]] = {}
    for node in nodes:
        found.setdefault(repr(node), node)
    return found


class NoData:
    """Why a source gave nothing.

    Args:
        sentence: the reason.
    """

    def __init__(self, sentence: str) -> None:
        self.sentence = sentence


def _tried(node: Mapping[str, Any]) -> Prepared | UserError | NoData:
    """Prepare data in this process, which may end with it."""
    try:
        return _shared(prepare(node))
    except ForeignError as error:
        return NoData(str(error))
    except UserError as error:  # which is for the launcher to tell, of its job
        return error
    except BaseException as error:
        words = {"error": f"{type(error).__name__}: {first_line(error)}"}
        return NoData(Ending(Reason.EXIT, words).sentence)
