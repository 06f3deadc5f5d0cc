"""What importing Lightning, or making an optimizer, loads of torch and no fit of Descent's uses.

`torch._dynamo`, the front of torch's compiler, brings sympy along and takes a second or two. It is
loaded for three things: a class to compare with, a decorator that matters within compiled code, and
a flag of the compiler's. While nothing is compiled, stand-ins do for all. Whoever compiles loads it
as ever.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from types import ModuleType
from typing import Any

COMPILER = "torch._dynamo"
FLAGS = "torch._inductor"  # whose config.deterministic is set; it loads the former


class _Compiled(type):
    def __instancecheck__(cls, instance: object) -> bool:
        """Compare with the compiler's own class, once anything can be of it."""
        real = getattr(sys.modules.get(COMPILER), "OptimizedModule", None)
        return real not in (None, cls) and isinstance(instance, real)


class OptimizedModule(metaclass=_Compiled):
    """Stands for `torch._dynamo.OptimizedModule` in checks of instances."""


@contextmanager
def without_compiler() -> Iterator[None]:
    """Keep `torch._dynamo` from being loaded by what is imported or made within.

    Nothing is left behind: what is called later loads it where it must. A flag that is set within
    is that of the stand-in, so nothing but its default may be.
    """
    if COMPILER in sys.modules or FLAGS in sys.modules:
        yield
        return
    marked: list[Any] = []

    def disable(function: Any, recursive: bool = True, **_: Any) -> Any:
        marked.append(function)
        return function

    stand_in: Any = ModuleType(COMPILER)
    stand_in.OptimizedModule, stand_in.disable = OptimizedModule, disable
    flags: Any = ModuleType(FLAGS)
    flags.config = ModuleType(f"{FLAGS}.config")
    there = {COMPILER: stand_in, FLAGS: flags, f"{FLAGS}.config": flags.config}
    sys.modules.update(there)
    try:
        yield
    finally:
        for name, module in there.items():
            if sys.modules.get(name) is module:
                del sys.modules[name]
        for function in marked:  # torch keeps the decorated function beside the function
            with suppress(AttributeError):
                del function.__dynamo_disable


def import_lightning(load: Callable[[], object] | None = None) -> bool:
    """Import Lightning, without the compiler if that can be; return whether it could.

    Args:
        load: imports it.
    """
    load = load or _load
    try:
        with without_compiler():
            load()
    except Exception:  # a release that uses more of the compiler
        load()
        return False
    return True


def _load() -> None:
    import lightning.pytorch  # noqa: F401
