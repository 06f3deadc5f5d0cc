"""CSV files that grow in blocks and can be cut back to where a checkpoint left them."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np

from descent.recording.atomic import Growing


class CsvTable:
    """A CSV file with fixed columns.

    Floats are written in the fewest digits that read back as the same float32 or float64.

    Args:
        path: the file; made anew with a header if `position` is 0.
        columns: in order.
        position: bytes to keep of the file; what lies behind is cut off.
    """

    def __init__(self, path: Path, columns: Sequence[str], position: int = 0) -> None:
        import polars  # noqa: F401 - now, rather than on the clock at the first append

        self.columns = tuple(columns)
        self._file = Growing(path, position)
        if position == 0:
            self._file.write((",".join(self.columns) + "\n").encode())

    @property
    def position(self) -> int:
        """Bytes written."""
        return self._file.position

    def append(self, block: Mapping[str, Any]) -> None:
        """Append rows, given column by column; None, or a column that lacks, leaves empty cells."""
        append_all([self], block, [len(next(iter(block.values())))])

    def write(self, rows: bytes | memoryview) -> None:
        """Append rows that are encoded already."""
        self._file.write(rows)

    def flush(self) -> None:
        """Hand everything to the operating system."""
        self._file.flush()

    def sync(self) -> None:
        """Put everything on the disk."""
        self._file.sync()


def append_all(tables: Sequence[CsvTable], block: Mapping[str, Any], counts: Sequence[int]) -> None:
    """Append to several tables of the same columns: in one go, since each go has its price.

    Args:
        tables: to append to.
        block: the rows of the first table, then those of the second, and so on, by column.
        counts: of the rows of each.
    """
    import polars as pl

    rows = sum(counts)
    if not rows:
        return
    columns = tables[0].columns
    frame = pl.DataFrame({c: block[c] if c in block else [None] * rows for c in columns})
    text = io.BytesIO()
    frame.write_csv(text, include_header=False)
    data = text.getbuffer()
    ends = np.flatnonzero(np.frombuffer(data, dtype=np.uint8) == ord("\n")) + 1
    at = [0, *(int(ends[n - 1]) if n else 0 for n in np.cumsum(counts))]
    for table, (start, stop) in zip(tables, pairwise(at), strict=True):
        if stop > start:
            table.write(data[start:stop])
