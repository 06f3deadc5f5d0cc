"""A file of rows becomes a frame: what it is packed in, how it is encoded, what parts its cells.

Text files become frames of texts; what the texts mean is decided column by column in `columns`.
Whatever is decided about a file, and is not what everybody expects, is noted in a sentence.
"""

from __future__ import annotations

import codecs
import csv
import io
import re
import zlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from descent.config.overruled import SELF_DESCRIBED
from descent.data.layout import SEPARATORS, Dialect, Layout, csv_rows, find_layout, listed
from descent.errors import UserError, counted, first_line
from descent.files.bounded import DamageError, read_bytes

if TYPE_CHECKING:
    import polars as pl

TEXTS = (".csv", ".tsv", ".tab", ".txt", ".dat", ".data")
PACKED = (".gz", ".zst")
USUAL = Dialect()
MOST_READ = 2**36  # bytes of a file; what claims more is a hole, not rows
MOST_UNPACKED = 2**33  # bytes; what unpacks to more is a mistake, or an attack


@dataclass
class Table:
    """A file that was read.

    Args:
        frame: cells as texts, stripped, with nulls for missing ones; or typed, as typed files are.
        path: where it came from, for sentences.
        dialect: how it was to be read.
        notes: what was decided.
        clashing: names that several columns with different values have.
        unnamed: columns that got their name here.
        kept: which rows of the file the frame has, from 0; None for all.
    """

    frame: pl.DataFrame
    path: str
    dialect: Dialect
    notes: list[str] = field(default_factory=list)
    clashing: set[str] = field(default_factory=set)
    unnamed: set[str] = field(default_factory=set)
    kept: pl.Series | None = None

    def number(self, row: int) -> int:
        """Return the number, from 1, that a row of the frame has in the file."""
        return (row if self.kept is None else int(self.kept[row])) + 1


def read_table(path: str | Path, dialect: Dialect = USUAL) -> Table:
    """Read a file of rows by what it holds and by its suffix.

    Raises:
        UserError: the file is missing, of no known kind, empty, or cannot be read.
    """
    import polars as pl

    path = Path(path)
    suffix = _suffix(path)
    data = _bytes(path)
    try:
        if suffix in SELF_DESCRIBED:
            frame = _typed(data, suffix, path)
            table = Table(frame, str(path), dialect)
            return _as_texts(table)
        return _read_text(data, path, suffix, dialect)
    except pl.exceptions.NoDataError:
        raise UserError(f"{path} is empty; it needs a header and rows.") from None
    except (pl.exceptions.PolarsError, OSError, ValueError, csv.Error) as error:
        raise UserError(f"{path} cannot be read as {suffix[1:]}: {_first_line(error)}.") from None
    except BaseException as error:  # a panic of Polars is no Exception
        if type(error).__name__ != "PanicException":
            raise
        raise UserError(f"{path} is damaged and cannot be read as {suffix[1:]}.") from None


def as_table(frame: pl.DataFrame, name: str, dialect: Dialect = USUAL) -> Table:
    """Return a frame in memory as a typed file of these columns is read.

    Args:
        frame: typed columns, or texts.
        name: what sentences call it.
        dialect: which words stand for no value.
    """
    return _as_texts(Table(frame, name, dialect))


def _first_line(error: BaseException) -> str:
    return "".join(c for c in first_line(error) if c.isprintable())[:160].rstrip(".")


# ---- what the file is


def _suffix(path: Path) -> str:
    suffixes = [s.lower() for s in path.suffixes[-2:]]
    if suffixes and suffixes[-1] in PACKED:
        suffixes.pop()
    suffix = suffixes[-1] if suffixes else ""
    if suffix not in TEXTS + SELF_DESCRIBED:
        if suffix in (".xlsx", ".xls", ".ods"):
            raise UserError(f"{path} is a spreadsheet; save it as CSV, and give that.")
        raise UserError(
            f"{path} has none of the known suffixes {', '.join(TEXTS + SELF_DESCRIBED)}, nor one "
            f"of them packed as {' or '.join(PACKED)}."
        )
    return suffix


def _bytes(path: Path) -> bytes:
    """Return what a file holds, unpacked."""
    try:
        data = read_bytes(path, MOST_READ)
    except FileNotFoundError:
        raise UserError(f"There is no file {path}; check data.path.") from None
    except DamageError as error:
        raise UserError(f"{path} cannot be read: {error}; check data.path.") from None
    if data[:2] == b"\x1f\x8b":
        data = _gunzip(data, path)
    elif data[:4] == b"\x28\xb5\x2f\xfd":
        data = _unpack_zstd(data, path)
    elif data[:4] == b"PK\x03\x04":
        raise UserError(f"{path} is a zip archive or a spreadsheet; unpack it, or save it as CSV.")
    if not data.strip():
        raise UserError(f"{path} is empty; it needs a header and rows.")
    return data


def _gunzip(data: bytes, path: Path) -> bytes:
    parts: list[bytes] = []
    size = 0
    try:
        while data:  # a file may hold several members
            unpacker = zlib.decompressobj(wbits=31)
            parts.append(unpacker.decompress(data, MOST_UNPACKED - size + 1))
            size += len(parts[-1])
            if size > MOST_UNPACKED:
                raise UserError(f"{path} unpacks to more than 8 GiB; unpack it yourself.")
            if not unpacker.eof:
                raise UserError(f"{path} is cut short; its gzip data have no end.")
            data = unpacker.unused_data.lstrip(b"\0")
    except zlib.error as error:
        raise UserError(f"{path} is damaged: {_first_line(error)}.") from None
    return b"".join(parts)


def _unpack_zstd(data: bytes, path: Path) -> bytes:
    """Let Polars unpack: one column of lines, which no separator or quote cuts."""
    import polars as pl

    try:
        lines = pl.read_csv(
            data, separator="\x01", has_header=False, quote_char=None, infer_schema=False,
            truncate_ragged_lines=True,
        )  # fmt: skip
    except pl.exceptions.PolarsError as error:
        raise UserError(
            f"{path} cannot be unpacked: {_first_line(error)}; texts packed as .zst must be UTF-8."
        ) from None
    return "\n".join(lines.to_series().fill_null("").to_list()).encode()


def _typed(data: bytes, suffix: str, path: Path) -> pl.DataFrame:
    import polars as pl

    readers: dict[str, Callable[[io.BytesIO], pl.DataFrame]] = {
        ".parquet": pl.read_parquet,
        ".jsonl": lambda f: pl.read_ndjson(f, infer_schema_length=None),
        ".json": lambda f: pl.read_json(f, infer_schema_length=None),
    }
    readers[".ndjson"] = readers[".jsonl"]
    kind = suffix
    if suffix == ".json" and data.lstrip()[:1] == b"{":
        kind = ".jsonl"
    file = io.BytesIO(data)
    frame = readers.get(kind, lambda f: pl.read_ipc(f))(file)
    if not frame.width:
        raise UserError(f"{path} has no columns.")
    return frame


def _as_texts(table: Table) -> Table:
    """Strip the texts of a typed file, and take its words for no value as such."""
    import polars as pl

    texts = [n for n, t in table.frame.schema.items() if isinstance(t, (pl.Categorical, pl.Enum))]
    frame = table.frame.with_columns(pl.col(texts).cast(pl.String)) if texts else table.frame
    table.frame = _cleaned(frame, table.dialect)
    return table


def _cleaned(frame: pl.DataFrame, dialect: Dialect) -> pl.DataFrame:
    import polars as pl
    import polars.selectors as cs

    cell = cs.string().str.strip_chars()
    words = dialect.missing
    frame = frame.with_columns(cell)
    return frame.with_columns(
        pl.when(cs.string().str.to_lowercase().is_in(words)).then(None).otherwise(cs.string())
        .name.keep()
    )  # fmt: skip


# ---- texts


def _read_text(data: bytes, path: Path, suffix: str, dialect: Dialect) -> Table:
    notes: list[str] = []
    text = _decoded(data, path, dialect, notes)
    layout = find_layout(text, path, suffix, dialect, notes)
    rows = _by_polars(layout, dialect)
    if rows is None:
        rows = _by_hand(layout, path, notes)
    return _named(rows, layout, path, dialect, notes)


def _decoded(data: bytes, path: Path, dialect: Dialect, notes: list[str]) -> str:
    """Return the text that bytes encode, with one kind of line end."""
    encoding = dialect.encoding
    if encoding == "auto":
        encoding = _encoding(data)
        if encoding not in ("utf-8", "utf-8-sig"):
            name = "Latin-1 (Windows-1252)" if encoding == "cp1252" else encoding.upper()
            notes.append(f"read as {name}; data.encoding=... overrules")
    try:
        codecs.lookup(encoding)
    except LookupError:
        raise UserError(
            f"data.encoding={encoding} is no known encoding; try utf-8, utf-16 or latin-1."
        ) from None
    try:
        text = data.decode(encoding)
    except UnicodeError as error:
        if encoding != "cp1252" or dialect.encoding != "auto":
            raise UserError(
                f"{path} is not encoded as {encoding}: {_first_line(error)}; "
                "give another data.encoding."
            ) from None
        text = data.decode("latin-1")
    if "\0" in text:
        raise UserError(f"{path} is no text: it holds zero bytes; check data.path.")
    text = text.removeprefix("\ufeff").replace("\x1a", "")  # the end of a file to DOS
    return text.replace("\r\n", "\n").replace("\r", "\n") if "\r" in text else text


def _encoding(data: bytes) -> str:
    marks = (
        (codecs.BOM_UTF8, "utf-8-sig"), (codecs.BOM_UTF32_LE, "utf-32"),
        (codecs.BOM_UTF32_BE, "utf-32"), (codecs.BOM_UTF16_LE, "utf-16"),
        (codecs.BOM_UTF16_BE, "utf-16"),
    )  # fmt: skip
    for mark, encoding in marks:
        if data.startswith(mark):
            return encoding
    # letters of most languages have a zero as their high byte
    high, low = data[0:4096:2].count(0), data[1:4096:2].count(0)
    half = min(len(data), 4096) // 2
    if half and max(high, low) > 0.4 * half and min(high, low) < 0.05 * half:
        return "utf-16-le" if low > high else "utf-16-be"
    try:
        data.decode("utf-8")
    except UnicodeDecodeError:
        return "cp1252"
    return "utf-8"


def _by_polars(layout: Layout, dialect: Dialect) -> pl.DataFrame | None:
    """Read a text whose rows are all of one width; None where something is odd about them."""
    import polars as pl

    text, separator = layout.text, layout.separator
    if separator == " " or not separator.isascii():
        return None
    if any(f'{before} "' in text for before in (separator, "\n")):
        return None  # a quote behind a blank opens a cell too
    try:
        frame = pl.read_csv(
            text.encode(), separator=separator, has_header=False, infer_schema=False,
            comment_prefix=layout.comment,
        )  # fmt: skip
    except (pl.exceptions.PolarsError, pl.exceptions.PanicException):
        return None
    short = frame.select(pl.last().is_null().sum()).item()
    if short and '"' not in text and layout.comment is None:
        rows = frame.height - frame.select(pl.all_horizontal(pl.all().is_null()).sum()).item()
        if text.count(separator) != rows * (frame.width - 1):
            return None  # rows that are too short count as damaged, cell by cell
    elif short:
        return None
    return frame


def _by_hand(layout: Layout, path: Path, notes: list[str]) -> pl.DataFrame:
    """Read a text row by row; say which row does not fit."""
    import polars as pl

    if '"' in layout.text:
        _check_quotes(layout, path)
    everything = layout.cells(layout.text)
    reader = [row for row in everything if any(cell.strip() for cell in row)]
    empty = sum(len(row) > 1 for row in everything) - sum(len(row) > 1 for row in reader)
    if empty:
        notes.append(f"{counted(empty, 'row')} without any value left out")
    if not reader:
        raise UserError(f"{path} is empty; it needs a header and rows.")
    for row in reader:
        while row and not row[-1].strip() and len(row) > layout.width:
            row.pop()
    header, width = reader[0], max(layout.width, len(reader[0]))
    if len(reader) > 1 and all(len(row) == len(header) + 1 for row in reader[1:]):
        if any(row[-1].strip() for row in reader[1:]):
            header.insert(0, "")  # as R writes row names
        else:
            reader = [header, *(row[:-1] for row in reader[1:])]
        width = len(header)
    long = [i for i, row in enumerate(reader) if len(row) > width]
    if long:
        word = SEPARATORS.get(layout.separator, f"'{layout.separator}'")
        raise UserError(
            f"{path} has {len(reader[long[0]])} cells in row {long[0]}, where its header has "
            f"{width} ({counted(len(long), 'such row')}; cells are parted by {word}): mend the "
            "row, quote cells that hold the separator, or give data.separator=..."
        )
    short = [i for i, row in enumerate(reader) if len(row) < width]
    if short and reader:
        notes.append(
            f"{counted(len(short), 'row')} shorter than the header, the first row {short[0]}: "
            "cells that lack are missing"
        )
    columns = {
        f"column_{i}": [row[i] if i < len(row) else None for row in reader] for i in range(width)
    }
    return pl.DataFrame(columns, schema=dict.fromkeys(columns, pl.String))


def _check_quotes(layout: Layout, path: Path) -> None:
    """Refuse a quote that is never closed: it would swallow all rows behind it."""
    rows = csv_rows(layout.text.split("\n"), layout.separator, strict=True)
    count = 0
    try:
        for _ in rows:
            count += 1
    except csv.Error as error:
        if "end of data" in str(error):
            raise UserError(
                f'{path} has a quote " in row {count} that is never closed; close it, or remove it.'
            ) from None


def _named(
    rows: pl.DataFrame, layout: Layout, path: Path, dialect: Dialect, notes: list[str]
) -> Table:
    """Take the names from the first row, and settle blank lines, trailing cells and twins."""
    import polars as pl

    rows = _cleaned(rows, dialect) if not dialect.header else rows
    blank = pl.all_horizontal(pl.all().is_null() | (pl.all().str.strip_chars() == ""))
    raw = rows.with_columns(blank=blank) if rows.width else rows
    rows = raw.filter(~pl.col("blank")).drop("blank")
    inside = _blank_lines(layout.text)
    empty = raw.height - rows.height - inside
    if empty > 0:
        notes.append(f"{counted(empty, 'row')} without any value left out")
    if inside:
        notes.append(f"{counted(inside, 'blank line')} left out")
    rows = _unquoted(rows, notes)
    if dialect.header:
        if not rows.height:
            raise UserError(f"{path} is empty; it needs a header and rows.")
        names = [(name or "").strip().strip('"').strip() for name in rows.row(0)]
        rows = _cleaned(rows[1:], dialect)
        if rows.height and _is_data(names, rows):
            notes.append(
                f"the first row ({', '.join(names[:4])}{', ...' if len(names) > 4 else ''}) is "
                "taken for the names; data.header=false reads it as data"
            )
    else:
        names = [f"column_{i + 1}" for i in range(rows.width)]
    return _unique(Table(rows, str(path), dialect, notes), names)


def _unquoted(rows: pl.DataFrame, notes: list[str]) -> pl.DataFrame:
    """Take single quotes off all cells where they stand around each cell of the first row."""
    import polars as pl

    if not rows.height or not all(re.fullmatch(r"\s*'.*'\s*", cell or "") for cell in rows.row(0)):
        return rows
    notes.append("single quotes around cells left out")
    return rows.with_columns(pl.all().str.replace(r"^\s*'(.*)'\s*$", "$1"))


def _blank_lines(text: str) -> int:
    """Return how many blank lines there are; the one at the end is none."""
    return len(re.findall(r"^[ \t]*\n", text, re.MULTILINE)) + bool(re.search(r"\n[ \t]+$", text))


def _is_data(names: Sequence[str], rows: pl.DataFrame) -> bool:
    """Whether what should be names are numbers, which no spreadsheet counts its columns by."""
    numbers = [re.fullmatch(r"[+-]?(\d+[.,]?\d*|[.,]\d+)(e[+-]?\d+)?", n, re.I) for n in names]
    counted = [str(i) for i in range(len(names))], [str(i + 1) for i in range(len(names))]
    return all(numbers) and names not in counted


def _unique(table: Table, names: Sequence[str]) -> Table:
    """Name the columns; of columns of one name, equal ones are one, others clash."""
    frame = table.frame
    kept: dict[str, pl.Series] = {}
    copies: list[str] = []
    empty = 0
    for i, name in enumerate(names):
        series = frame[:, i]
        if not name:
            if series.null_count() == len(series):
                empty += 1
                continue
            name = f"column_{i + 1}"
            table.unnamed.add(name)
        if name in kept and kept[name].equals(series, null_equal=True):
            copies.append(name)
            continue
        given, count = name, 2
        while name in kept:
            table.clashing.add(given)
            name, count = f"{given} ({count})", count + 1
        kept[name] = series.alias(name)
    if empty:
        table.notes.append(f"{counted(empty, 'empty column')} without a name left out")
    if copies:
        table.notes.append(f"equal columns of one name read once: {listed(copies)}")
    table.frame = frame.clear() if not kept else frame.select(kept.values())
    if not kept:
        raise UserError(f"{table.path} has no columns with a name or a value.")
    return table


def decided(reasons: Mapping[str, Sequence[str]]) -> list[str]:
    """Return one line for each oddity, with the columns that have it."""
    return [f"{reason}: {listed(names, 6)}" for reason, names in reasons.items()]
