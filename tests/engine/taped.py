"""What stands for CUDA graphs where there is no GPU: a tape of what torch was asked to do.

As a graph it repeats the same operations on the same memory with the same plain numbers. Whatever
a step computes in Python from step to step is therefore missing from it, as it is from a graph.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from descent.engine.graphs import Outcome


class Tape(TorchDispatchMode):
    """Notes every operation with its tensors; `replay` asks for all of them again."""

    def __init__(self) -> None:
        super().__init__()
        self._noted: list[tuple[Any, Any, Any, Any]] = []

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if func is torch.ops.aten._local_scalar_dense.default:
            raise RuntimeError("operation not permitted when stream is capturing")
        made = func(*args, **(kwargs or {}))
        self._noted.append((func, args, kwargs or {}, made))
        return made

    def replay(self) -> None:
        """Do it all again; what was made anew is put where it was made the first time."""
        with torch.no_grad():
            for func, args, kwargs, made in self._noted:
                again = func(*args, **kwargs)
                for old, new in zip(tree_leaves(made), tree_leaves(again), strict=True):
                    if isinstance(old, Tensor) and old.data_ptr() != new.data_ptr():
                        old.copy_(new)


def taped(body: Callable[[], Outcome]) -> tuple[Callable[[], object], Outcome]:
    """Capture a step; unlike CUDA, the tape also does what it notes."""
    with Tape() as tape:
        outcome = body()
    return tape.replay, outcome
