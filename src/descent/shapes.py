"""The dimension legend, and the jaxtyping names that carry it.

Letters that end tensor names, and the words for them in annotations:

    N rows     F features     C classes or targets     B batch     K window (steps)
    R stacked runs     P parameters

`x_KBF` is a window of K batches of B rows with F features.

Whoever checks shapes has imported jaxtyping, as the tests have. For everybody else its names are
notes to the reader, and its import, which brings asyncio along, a fifth of what `--help` takes.
"""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING or "jaxtyping" in sys.modules:
    from jaxtyping import Bool, Float, Int, Shaped, UInt
else:

    class Bool:
        """Stands for jaxtyping's types: an array's own type, with the shape left out."""

        def __class_getitem__(cls, of: tuple[Any, str]) -> Any:
            """Return the array's type."""
            return of[0]

    Float = Int = Shaped = UInt = Bool

__all__ = ["Bool", "Float", "Int", "Shaped", "UInt"]
