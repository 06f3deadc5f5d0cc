"""The dimension legend, and the jaxtyping names that carry it.

Letters that end tensor names, and the words for them in annotations:

    N rows     F features     C classes or targets     B batch     K window (steps)
    R stacked runs     P parameters

`x_KBF` is a window of K batches of B rows with F features.
"""

from __future__ import annotations

from jaxtyping import Bool, Float, Int, Shaped, UInt

__all__ = ["Bool", "Float", "Int", "Shaped", "UInt"]
