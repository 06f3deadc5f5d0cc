"""A CSV file that grows in blocks and can be cut back to where a checkpoint left it."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np

from descent.recording.atomic import Growing


class CsvTable:
    """An open CSV file with fixed columns.

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
        append_all([self], [block])

    def write(self, rows: bytes | memoryview) -> None:
        """Append rows that are encoded already."""
        self._file.write(rows)

    def flush(self) -> None:
        """Hand everything to the operating system."""
        self._file.flush()

    def sync(self) -> None:
        """Put everything on the disk."""
        self._file.sync()

    def close(self) -> None:
        """Sync and close."""
        self._file.close()


def append_all(tables: Sequence[CsvTable], blocks: Sequence[Mapping[str, Any]]) -> None:
    """Append to several tables of the same columns: in one go, since each go has its price.

    Args:
        tables: to append to.
        blocks: rows for each, as `append` takes them.
    """
    import polars as pl

    counts = [len(next(iter(block.values()))) for block in blocks]
    if not sum(counts):
        return
    frames = [
        pl.DataFrame({c: block.get(c, [None] * rows) for c in table.columns})
        for table, block, rows in zip(tables, blocks, counts, strict=True)
        if rows
    ]
    joined = pl.concat(frames, how="vertical_relaxed") if len(frames) > 1 else frames[0]
    text = io.BytesIO()
    joined.write_csv(text, include_header=False)
    data = text.getbuffer()
    ends = np.flatnonzero(np.frombuffer(data, dtype=np.uint8) == ord("\n")) + 1
    at = [0, *(int(ends[n - 1]) if n else 0 for n in np.cumsum(counts))]
    for table, (start, stop) in zip(tables, pairwise(at), strict=True):
        table.write(data[start:stop])
