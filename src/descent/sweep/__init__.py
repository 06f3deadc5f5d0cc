"""Many trainings as one job: which of them run together, and where; `descent.sweep(...)` does it.

The function and this package have one name, so the package can be called.
"""

import sys
from types import ModuleType
from typing import Any


class _Callable(ModuleType):
    """A package that does when called what its name says."""

    def __call__(self, *overrides: str, **options: Any) -> Any:
        """See `descent.api.start.sweep`."""
        from descent.api.start import sweep

        return sweep(*overrides, **options)


sys.modules[__name__].__class__ = _Callable
