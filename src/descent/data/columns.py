"""What the texts of a column mean: numbers however they are written, dates, categories, codes."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from descent.data.arrays import Kind
from descent.data.reading import Table

if TYPE_CHECKING:
    import polars as pl

# More texts than this in one column, some of them rare, are no categories of their own.
MOST_CATEGORIES = 100
# Texts among numbers: so few are mistakes, or words for no value; with more it is a text column.
MOST_STRAYS = 3
# Rarer texts among numbers are mistakes; what comes so often, with a meaning, is none.
RARE, OFTEN = 0.02, 3
# A mix of so few whole numbers and texts (1, 2, 3, 4+) is a category.
FEW_MIXED = 10
# Words for no value, where all else are numbers.
WORDS_AMONG_NUMBERS = (
    "none", "missing", "unknown", "unk", "not available", "n.a.", "n.d.", "nd", ".", "..", "...",
    "*", "---", "#value!", "#div/0!", "#ref!",
)  # fmt: skip

SIGN = r"[+\-\u2212]?"
EXPONENT = r"(?:[eE][+-]?\d+)?"
PLAIN = rf"^{SIGN}(?:\d+\.?\d*|\.\d+){EXPONENT}$"
WITH_COMMAS = rf"^{SIGN}[1-9]\d{{0,2}}(?:,\d{{2,3}})*,\d{{3}}(?:\.\d*)?$"  # 1,050.5; 1,00,000
COMMA = rf"^{SIGN}(?:\d+,?\d*|,\d+){EXPONENT}$"
WITH_DOTS = rf"^{SIGN}[1-9]\d{{0,2}}(?:\.\d{{3}})+(?:,\d*)?$"  # 1.050,5
CODE = r"^0\d+$"
MONEY = r"[$€£¥₹₽₩]|\b(?:USD|EUR|GBP|CHF|JPY|CAD|AUD)\b"
UNIT = r"^[+-]?[\d.,]*\d\s*([A-Za-zµ°²³/]{1,6})$"
FEW_UNITS = 3  # of fewer different values a unit is not taken off: 1a, 2a
BLANK_MARKS = r"(\d)[ \u00a0\u202f\u2009'’](\d{3})"

DAY_FORMATS = (
    "%Y-%m-%d", "%Y/%m/%d", "%Y.%m.%d", "%d.%m.%Y", "%d.%m.%y", "%d/%m/%Y", "%m/%d/%Y", "%d/%m/%y",
    "%m/%d/%y", "%d-%m-%Y", "%m-%d-%Y", "%d %b %Y", "%d-%b-%Y", "%d-%b-%y", "%b %d, %Y",
    "%b %d %Y", "%d %b, %Y", "%b-%d-%Y", "%Y-%m", "%b %Y", "%b-%Y", "%b-%y",
)  # fmt: skip
TIMES = ("", " %H:%M:%S%.f", " %H:%M", "T%H:%M:%S%.f", "T%H:%M", " %I:%M %p", " %I:%M:%S %p")


@dataclass
class Meaning:
    """What a column holds.

    Args:
        name: its name.
        kind: number, boolean, category, code or date.
        values: Float64 of numbers and booleans, Datetime of dates, String of the rest.
        reasons: oddities of how it was written, each a phrase.
        problem: why it cannot be used, with what settles it; None if it can.
        whole: whether its numbers are whole ones, written as such.
        day_first: how its dates were read, where that was a question.
        doubt: what was decided that a target, which nothing may be made of, is refused for.
    """

    name: str
    kind: Kind
    values: pl.Series
    reasons: list[str] = field(default_factory=list)
    problem: str | None = None
    whole: bool = False
    day_first: bool | None = None
    doubt: str | None = None


@dataclass
class Style:
    """How a file writes numbers, from all its columns.

    Args:
        decimal: `.`, `,`, or None where nothing tells.
        mixed: whether some columns are surely of one kind, and others of the other.
    """

    decimal: str | None
    mixed: bool = False


def number_style(table: Table, names: Sequence[str]) -> Style:
    """Return how a file writes numbers: as given, or as its unmistakable columns tell."""
    if table.dialect.decimal in (".", ","):
        return Style(table.dialect.decimal)
    seen = set()
    for name in names:
        series = table.frame[name]
        if is_text(series):
            seen |= _evidence(series)
    if len(seen) == 1:
        return Style(seen.pop())
    return Style(None, mixed=len(seen) == 2)


def _evidence(series: pl.Series) -> set[str]:
    """Return the decimal mark that a column of numbers surely has."""
    import polars as pl

    values = series.drop_nulls().unique()
    if values.cast(pl.Float64, strict=False).null_count() == 0:
        pointed = values.filter(values.str.contains(".", literal=True)).head(1000)
        return {"."} if not _matches(pointed, COMMA, WITH_DOTS).all() else set()
    values = _bare(values)[0]
    dot, comma = _matches(values, PLAIN, WITH_COMMAS), _matches(values, COMMA, WITH_DOTS)
    if dot.all() and not comma.all():
        return {"."}
    if comma.all() and not dot.all():
        return {","}
    return set()


def is_text(series: pl.Series) -> bool:
    import polars as pl

    return series.dtype == pl.String


def _matches(values: pl.Series, *patterns: str) -> pl.Series:
    found = values.str.contains(patterns[0])
    for pattern in patterns[1:]:
        found = found | values.str.contains(pattern)
    return found


def _bare(values: pl.Series) -> tuple[pl.Series, list[str]]:
    """Take percent signs, currencies and blanks off numbers; return them, and what was taken."""
    reasons = []
    if values.str.contains(r"^\(.*\d.*\)$").any():  # as accountants write what is owed
        values = values.str.replace(r"^\((.*\d.*)\)$", "-$1")
        reasons.append("numbers in brackets read as negative")
    if values.str.contains(r"\d\s*%$").any():
        values = values.str.replace(r"(\d)\s*%$", "$1")
        reasons.append("percent read as numbers (12% is 12)")
    if values.str.contains(MONEY).any():
        values = values.str.replace(rf"\s*(?:{MONEY})\s*", "")
        reasons.append("amounts of money read as numbers")
        values = _unfolded(values)
    unit = _common_unit(values)
    if unit is not None:
        values = values.str.replace(rf"\s*{re.escape(unit)}$", "")
        reasons.append(f"numbers in {unit}")
    if values.str.contains(BLANK_MARKS).any():
        for _ in range(4):  # matches overlap: 1 000 000
            values = values.str.replace_all(BLANK_MARKS, "$1$2")
        reasons.append("thousands marks left out")
    return values, reasons


def _unfolded(values: pl.Series) -> pl.Series:
    """Write amounts such as 1.2M and 900K out."""
    import polars as pl

    folded = values.str.contains(r"^[+-]?\d*\.?\d+\s*[kKmMbB]$")
    if not folded.any():
        return values
    bare = values.str.replace(r"\s*[kKmMbB]$", "").cast(pl.Float64, strict=False)
    last = values.str.slice(-1).str.to_lowercase()
    size = last.replace_strict({"k": 1e3, "m": 1e6, "b": 1e9}, default=1.0, return_dtype=pl.Float64)
    written = (bare * size).round(2).cast(pl.String)
    return pl.select(pl.when(folded).then(written).otherwise(values)).to_series()


def _common_unit(values: pl.Series) -> str | None:
    """Return the unit that all numbers of a column are written with, such as `kg`."""
    import polars as pl

    filled = values.drop_nulls()
    if filled.head(20).str.contains(UNIT).any():
        parts = filled.str.extract(UNIT, 1)
        if parts.null_count() == 0 and parts.n_unique() == 1 and filled.n_unique() >= FEW_UNITS:
            return str(parts.cast(pl.String)[0])
    return None


def meaning(table: Table, name: str, style: Style, as_text: bool = False) -> Meaning:
    """Tell what a column of a file holds."""
    import polars as pl

    series = table.frame[name]
    if is_text(series):
        if as_text:
            return Meaning(name, Kind.CATEGORY, series)
        return _text_meaning(table, series, style)
    typed = series.dtype
    if as_text:
        return Meaning(name, Kind.CATEGORY, as_written(series))
    if typed == pl.Boolean:
        return Meaning(name, Kind.BOOLEAN, series.cast(pl.Float64))
    if typed.is_numeric():
        numbers = series.cast(pl.Float64).fill_nan(None)
        found = Meaning(name, Kind.NUMBER, numbers, whole=typed.is_integer())
        _check_range(found, series, table)
        return found
    if typed == pl.Null:
        return Meaning(name, Kind.NUMBER, series.cast(pl.Float64))
    if typed == pl.Date or isinstance(typed, pl.Datetime):
        days = series.cast(pl.Datetime("us")) if typed == pl.Date else _naive(series)
        return Meaning(name, Kind.DATE, days)
    if typed == pl.Duration:
        days = series.cast(pl.Duration("us")).cast(pl.Int64).cast(pl.Float64) / 86400e6
        return Meaning(name, Kind.NUMBER, days, ["durations read as days"])
    if typed == pl.Time:
        hours = series.cast(pl.Int64).cast(pl.Float64) / 3600e9
        return Meaning(name, Kind.NUMBER, hours, ["times of day read as hours"])
    problem = f"column '{name}' holds {typed}, neither numbers nor texts: {_out(name)}"
    return Meaning(name, Kind.CATEGORY, series, problem=problem)


def _naive(series: pl.Series) -> pl.Series:
    import polars as pl

    return series.dt.replace_time_zone(None).cast(pl.Datetime("us"))


def as_written(series: pl.Series) -> pl.Series:
    """Return a column as texts; whole numbers without a fraction, as they are written by hand."""
    import polars as pl

    if series.dtype.is_float():
        whole = series.cast(pl.Int64, strict=False)
        fits = (whole.cast(pl.Float64) == series.cast(pl.Float64)).fill_null(False)
        if (fits | series.is_null() | series.is_nan()).all():
            return whole.cast(pl.String)
        return series.fill_nan(None).cast(pl.String)
    return series.cast(pl.String, strict=False)


def _out(name: str) -> str:
    return f"data.exclude=[{quoted(name)}]"


def quoted(name: str) -> str:
    """Return a name as it must be typed inside a list of Hydra's."""
    plain = re.fullmatch(r"[A-Za-z_][\w.\-]*", name) is not None
    return name if plain else f'"{name}"'


def _text_meaning(table: Table, series: pl.Series, style: Style) -> Meaning:
    import polars as pl

    name = series.name
    filled = series.drop_nulls()
    if filled.is_empty():
        return Meaning(name, Kind.NUMBER, series.cast(pl.Float64, strict=False))
    quick = _plain_numbers(series, style)
    if quick is not None:
        return quick
    if filled.str.contains(CODE).any() and filled.str.contains(PLAIN).mean() > 0.5:  # type: ignore[operator]
        return Meaning(name, Kind.CODE, series, ["codes with leading zeros kept as texts"])
    small = set(filled.str.to_lowercase().unique())
    if small <= {"true", "false"}:
        return Meaning(name, Kind.BOOLEAN, (series.str.to_lowercase() == "true").cast(pl.Float64))
    found = read_numbers(table, series, style) or _hours(series) or _dates(table, series)
    return found or Meaning(name, Kind.CATEGORY, series)


# ---- numbers


def _plain_numbers(series: pl.Series, style: Style) -> Meaning | None:
    """Read numbers as programs write them, in one go; None where anything is odd."""
    import polars as pl

    if style.decimal == ",":
        return None
    numbers = series.cast(pl.Float64, strict=False)
    if numbers.null_count() > series.null_count() or not numbers.is_finite().all():
        return None
    if series.str.contains(CODE).any():
        return None
    whole = not series.str.contains(r"[.eE]").any()
    return Meaning(series.name, Kind.NUMBER, numbers, whole=whole)


def read_numbers(table: Table, series: pl.Series, style: Style) -> Meaning | None:
    """Read a column as numbers; None if it is none."""

    name = series.name
    values, reasons = _bare(series)
    decimal, problem = _decimal(table, name, values.drop_nulls(), style)
    if decimal is None:
        return Meaning(name, Kind.NUMBER, series, problem=problem) if problem else None
    numbers = to_numbers(values, decimal)
    strays = series.filter(numbers.is_null() & series.is_not_null())
    if not strays.is_empty():
        words = [w for w in strays.unique().to_list() if w.lower() in WORDS_AMONG_NUMBERS]
        if words and strays.is_in(words).all():
            reasons.append(f"{' and '.join(repr(w) for w in sorted(words))} read as missing")
        else:
            return _with_strays(table, series, numbers, strays)
    plain = values.drop_nulls()
    if decimal == "," and plain.str.contains(",", literal=True).any():
        reasons.append("decimal commas")
    if plain.str.contains(r"\d,\d" if decimal == "." else r"\d\.\d").any():
        reasons.append("thousands marks left out")
    whole = bool(plain.str.contains(rf"^{SIGN}[\d,.]+$").all()) and bool(
        (numbers.drop_nulls() % 1 == 0).all()
    )
    if decimal == "." and plain.str.contains(r"\.").any():
        whole = False
    found = Meaning(name, Kind.NUMBER, numbers, reasons, whole=whole)
    if any("percent" in reason for reason in reasons):
        bare = series.drop_nulls()
        if (
            not bare.str.contains("%").all()
            and not bare.filter(~bare.str.contains("%")).str.contains(r"^0*\.?0*$").all()
        ):
            found.problem = (
                f"column '{name}' has percent signs in some rows and none in others: "
                f"write them all alike, or {_out(name)}"
            )
    _check_range(found, series, table)
    return found


def to_numbers(values: pl.Series, decimal: str) -> pl.Series:
    """Return texts as numbers, null where they are none."""
    import polars as pl

    values = values.str.replace("\u2212", "-")
    if decimal == ",":
        fits = _matches(values, COMMA, WITH_DOTS)
        plain = values.str.replace_all(".", "", literal=True).str.replace(",", ".", literal=True)
    else:
        fits = _matches(values, PLAIN, WITH_COMMAS)
        plain = values.str.replace_all(",", "", literal=True)
    frame = pl.DataFrame({"plain": plain, "fits": fits})
    return frame.select(
        pl.when("fits").then(pl.col("plain").cast(pl.Float64, strict=False)).alias(values.name)
    ).to_series()


def _decimal(
    table: Table, name: str, values: pl.Series, style: Style
) -> tuple[str | None, str | None]:
    """Return a column's decimal mark, or why it cannot be told; neither if it holds no numbers."""
    dialect = table.dialect
    dot, comma = _matches(values, PLAIN, WITH_COMMAS), _matches(values, COMMA, WITH_DOTS)
    dots, commas = int(dot.sum()), int(comma.sum())
    if max(dots, commas) * 2 < len(values):
        return None, None
    if dialect.decimal in (".", ","):
        return dialect.decimal, None
    if dialect.thousands in (",", "."):
        return "." if dialect.thousands == "," else ",", None
    if dialect.thousands == "none" and values.str.contains(",").any():
        return ",", None
    if dots != commas:
        return ("." if dots > commas else ","), None
    either = values.filter(dot & comma)
    marks = {m for m in ",." if either.str.contains(m, literal=True).any()}
    if not marks:
        return ".", None
    if style.decimal is not None:
        return style.decimal, None
    money = bool(table.frame[name].str.contains(MONEY).any())
    if marks == {"."} and not money:  # as most of the world's programs write numbers
        return ".", None
    quotes = table.dialect.separator in ("auto", ",") and not any(
        "parted by" in note for note in table.notes
    )
    if quotes and not style.mixed and marks == {","}:  # quoted for its comma: an English table
        return ".", None
    shown = either.filter(either.str.contains("[,.]"))[0]
    return None, (
        f"column '{name}' holds numbers such as {shown}, and nothing tells a decimal mark from a "
        "thousands mark: data.decimal=comma or data.decimal=dot"
    )


def _with_strays(
    table: Table, series: pl.Series, numbers: pl.Series, strays: pl.Series
) -> Meaning | None:
    """Judge a column of numbers with a few texts: a mistake, a category, or no numbers at all."""
    name = series.name
    distinct = strays.unique().sort().to_list()
    texts = series.drop_nulls().unique()
    whole = numbers.drop_nulls()
    if (
        len(texts) <= FEW_MIXED
        and bool((whole % 1 == 0).all())
        and "inf" not in str(distinct).lower()
    ):
        return Meaning(name, Kind.CATEGORY, series, ["numbers and texts mixed, so categories"])
    share = len(strays) / max(len(series) - series.null_count(), 1)
    if len(distinct) > MOST_STRAYS and share > RARE:
        return None  # codes of letters and digits
    row = int((numbers.is_null() & series.is_not_null()).arg_max() or 0)
    more = f" ({len(strays)} such rows)" if len(strays) > 1 else ""
    words = ",".join(quoted(w) for w in distinct[:MOST_STRAYS])
    problem = (
        f"column '{name}' holds numbers but for row {table.number(row)}, '{series[row]}'{more}: "
        f"data.missing_words=[{words}] if that means no value, data.texts=[{quoted(name)}] for "
        f"categories, or {_out(name)}"
    )
    if share > RARE and _are_words(strays):
        words = " and ".join(repr(word) for word in distinct)
        return Meaning(
            name, Kind.NUMBER, numbers, [f"{words} read as missing"], doubt=problem,
            whole=bool((whole % 1 == 0).all()),
        )  # fmt: skip
    return Meaning(name, Kind.NUMBER, numbers, problem=problem)


def _are_words(strays: pl.Series) -> bool:
    """Whether texts among numbers are words that come again and again, and no mistyped numbers."""
    often = strays.value_counts()["count"].min() >= OFTEN  # type: ignore[operator]
    words = strays.str.contains(r"\d") | strays.str.contains(r"(?i)^[+-]?inf")
    return bool(often) and not words.any()


def _check_range(found: Meaning, series: pl.Series, table: Table) -> None:
    infinite = found.values.is_infinite().fill_null(False)
    if found.problem is None and infinite.any():
        row, count = int(infinite.arg_max() or 0), int(infinite.sum())
        more = f" ({count} such rows)" if count > 1 else ""
        found.problem = (
            f"column '{found.name}' holds {series[row]} in row {table.number(row)}{more}, which no "
            f"model can learn from: mend such rows, or {_out(found.name)}"
        )


# ---- dates and times


def _hours(series: pl.Series) -> Meaning | None:
    """Read times of day as hours; None if they are none."""
    import polars as pl

    if not series.drop_nulls().str.contains(r"^\d{1,2}:\d\d(:\d\d)?$").all():
        return None
    parts = series.str.split(":")
    hours = pl.Series(series.name, [0.0] * len(series))
    for place, unit in ((0, 1), (1, 60), (2, 3600)):
        piece = parts.list.get(place, null_on_oob=True).cast(pl.Float64)
        hours = hours + (piece.fill_null(0) if place == 2 else piece) / unit
    return Meaning(series.name, Kind.NUMBER, hours, ["times read as hours"])


def _dates(table: Table, series: pl.Series) -> Meaning | None:
    """Read a column as dates; None if it is none."""

    filled = series.drop_nulls().unique()
    if not filled.str.contains(r"\d").all() or filled.str.len_chars().max() > 40:  # type: ignore[operator]
        return None
    cut = r"(Z|[+-]\d\d:?\d\d)$"
    clock = filled.str.contains(r"\d[T ]\d\d?:\d\d")
    zoned = bool(clock.all()) and bool(filled.str.contains(cut).all())
    if zoned:
        filled = filled.str.replace(cut, "")
    sample = filled.head(50)
    fits = [f + t for f in DAY_FORMATS for t in TIMES if _parsed(sample, f + t).null_count() == 0]
    read = {f: d for f in fits if (d := _parsed(filled, f)).null_count() == 0}
    if not read:
        return None
    days = list(read.values())
    first = {f: f.find("%d") < f.find("%m") for f in read if "%m" in f and "%d" in f}
    chosen, day_first = next(iter(read)), None
    if any(not d.equals(days[0]) for d in days) and len(set(first.values())) == 2:
        day_first = table.dialect.day_first
        if day_first is None:
            problem = (
                f"column '{series.name}' holds dates such as {filled[0]}, and nothing tells the "
                "day from the month: data.day_first=true or data.day_first=false"
            )
            return Meaning(series.name, Kind.DATE, series, problem=problem)
        chosen = next(f for f, value in first.items() if value == day_first)
    texts = series.str.replace(cut, "") if zoned else series
    written = re.sub(r"%\.?[a-zA-Z]", lambda m: WORDS[m[0]], chosen)
    reasons = [] if chosen.startswith("%Y-%m-%d") else [f"dates read as {written}"]
    return Meaning(series.name, Kind.DATE, _parsed(texts, chosen), reasons, day_first=day_first)


WORDS = {
    "%Y": "year", "%y": "year", "%m": "month", "%d": "day", "%b": "month", "%H": "hour",
    "%I": "hour", "%M": "minute", "%S": "second", "%.f": "", "%p": "am/pm",
}  # fmt: skip


def _parsed(texts: pl.Series, form: str) -> pl.Series:
    days = texts.str.to_datetime(form, time_unit="us", strict=False)
    if "%Y" not in form:
        return days
    import polars as pl

    # 5.1.20 is no date of the year 20
    return pl.select(pl.when(days.dt.year() >= 1000).then(days)).to_series().alias(texts.name)
