"""What importing Lightning, or making an optimizer, loads and no fit of Descent's uses.

`torch._dynamo`, the front of torch's compiler, brings sympy along and takes a second or two. It is
loaded for three things: a class to compare with, a decorator that matters within compiled code, and
a flag of the compiler's. While nothing is compiled, stand-ins do for all. Whoever compiles loads it
as ever.

torchmetrics brings all its metrics along, with scipy and pyplot, and Lightning compares with two
classes of it. The rest comes when it is asked for.
"""

from __future__ import annotations

import logging
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from importlib import import_module
from importlib.util import find_spec, module_from_spec
from threading import RLock
from types import ModuleType
from typing import Any

COMPILER = "torch._dynamo"
FLAGS = "torch._inductor"  # whose config.deterministic is set; it loads the former
METRICS = "torchmetrics"
PLOTS = "torchmetrics.utilities.plot"  # which loads pyplot for what few draw
COMPARED = {  # what Lightning asks of torchmetrics, by the module that has it
    "Metric": f"{METRICS}.metric",
    "MetricCollection": f"{METRICS}.collections",
    "__version__": f"{METRICS}.__about__",
}


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


class _Later(ModuleType):
    """A package whose `__init__` runs when more names are asked of it than `COMPARED`."""

    def __getattr__(self, name: str) -> Any:
        """Return what needs no more than its own module; for any other name become whole."""
        if name in COMPARED:
            import_module(f"{METRICS}.utilities")  # first, as in the package: they go in a circle
            return getattr(import_module(COMPARED[name]), name)
        if name.startswith("__") and name != "__all__":
            raise AttributeError(name)
        with _whole:
            if type(self) is _Later:
                spec: Any = self.__spec__
                self.__class__ = ModuleType  # type: ignore[assignment]
                spec.loader.exec_module(self)
        return getattr(self, name)


_whole = RLock()


def _plot(*given: Any, **options: Any) -> Any:
    """Draw a metric: the real module is loaded when somebody does."""
    return import_module(PLOTS).plot_single_or_multi_val(*given, **options)


@contextmanager
def without_metrics() -> Iterator[None]:
    """Keep what is imported within from loading more of torchmetrics than `COMPARED`.

    The package becomes whole as soon as another name is asked of it. Its modules can be imported.
    """
    spec = find_spec(METRICS) if METRICS not in sys.modules else None
    if spec is None:
        yield
        return
    package, plots = module_from_spec(spec), ModuleType(PLOTS)
    package.__class__ = _Later
    vars(package)["_logger"] = logging.getLogger(METRICS)  # its own, to which it adds a handler
    stand_in: Any = plots
    stand_in._AX_TYPE = stand_in._PLOT_OUT_TYPE = object  # of annotations
    stand_in.plot_single_or_multi_val = _plot
    sys.modules[METRICS], sys.modules[PLOTS] = package, plots
    try:
        yield
    except BaseException:
        for name in [n for n in sys.modules if n.split(".")[0] == METRICS]:
            del sys.modules[name]
        raise
    finally:
        if sys.modules.get(PLOTS) is plots:
            del sys.modules[PLOTS]


def import_lightning(load: Callable[[], object] | None = None) -> bool:
    """Import Lightning, without what is spared if that can be; return whether it could.

    Args:
        load: imports it.
    """
    load = load or _load
    try:
        with without_compiler(), without_metrics():
            load()
    except Exception:  # a release that uses more of them
        load()
        return False
    return True


def _load() -> None:
    import lightning.pytorch  # noqa: F401
