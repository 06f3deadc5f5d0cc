"""A CSV file that grows in blocks and can be cut back to where a checkpoint left it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any


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
        self._file = path.open("r+b" if position else "w+b")
        self._file.truncate(position)
        self._file.seek(position)
        if position == 0:
            self._file.write((",".join(self.columns) + "\n").encode())

    @property
    def position(self) -> int:
        """Bytes written."""
        return self._file.tell()

    def append(self, block: Mapping[str, Any]) -> None:
        """Append rows, given column by column; None, or a column that lacks, leaves empty cells."""
        import polars as pl

        rows = len(next(iter(block.values())))
        if rows:
            frame = pl.DataFrame({c: block.get(c, [None] * rows) for c in self.columns})
            frame.write_csv(self._file, include_header=False)

    def flush(self) -> None:
        """Hand everything to the operating system."""
        self._file.flush()

    def close(self) -> None:
        """Flush and close."""
        self._file.close()
