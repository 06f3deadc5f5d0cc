"""Files however they are written: many dialects, one frame, and every oddity told."""

from __future__ import annotations

import gzip
import itertools
from collections.abc import Callable
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from descent.data.arrays import Kind
from descent.data.columns import meaning, number_style
from descent.data.layout import Dialect
from descent.data.reading import read_table
from descent.data.table import table
from descent.errors import UserError
from hostile.changes import special

ROWS = 60
DRAWS = np.random.default_rng(0)
# dates beyond the 12th, so that days and months are told apart; texts with what other dialects use
COLUMNS: dict[str, list[object]] = {
    "size": [round(float(v), 2) for v in DRAWS.normal(1000, 400, ROWS)],
    "rooms": [int(v) for v in DRAWS.integers(1, 9, ROWS)],
    "town": [["Zürich", "Bad Ems", "Oslo"][i % 3] for i in range(ROWS)],
    "zip": [f"0{i % 7}{i % 10}12" for i in range(ROWS)],
    "sold": [f"2020-{1 + i % 12:02d}-{1 + i % 28:02d}" for i in range(ROWS)],
    "new": [["true", "false"][i % 2] for i in range(ROWS)],
    "price": [float(v) for v in DRAWS.integers(50_000, 900_000, ROWS)],
}


def grouped(value: float, decimal: str, mark: str, digits: int) -> str:
    text = f"{value:,.{digits}f}"
    return text.translate({ord(","): mark, ord("."): decimal})


def lines(
    separator: str = ",", decimal: str = ".", mark: str = "", date: str = "%Y-%m-%d",
    quote: bool = False, blanks: bool = False, money: str = "", missing: str | None = None,
) -> list[str]:  # fmt: skip
    """Write the corpus in a dialect."""
    made = [list(COLUMNS)]
    for i in range(ROWS):
        row = {name: values[i] for name, values in COLUMNS.items()}
        size = "" if i % 9 == 4 else grouped(float(row["size"]), decimal, mark, 2)  # type: ignore[arg-type]
        price = grouped(float(row["price"]), decimal, mark, 0)  # type: ignore[arg-type]
        day = pl.Series([row["sold"]]).str.to_date()[0].strftime(date)
        cells = [size, row["rooms"], row["town"], row["zip"], day, row["new"], money + price]
        made.append([missing if c == "" and missing else str(c) for c in cells])
    text = []
    for row in made:
        odd = [quote or separator in c for c in row]
        cells = [f'"{c}"' if q else c for c, q in zip(row, odd, strict=True)]
        text.append((f"{separator} " if blanks else separator).join(cells))
    return text


def plain(rows: list[str]) -> bytes:
    return ("\n".join(rows) + "\n").encode()


CORPUS: dict[str, tuple[str, bytes, dict[str, object]]] = {}


def add(name: str, content: bytes, suffix: str = ".csv", **options: object) -> None:
    CORPUS[name] = (suffix, content, options)


for sep, (dec, mark) in itertools.product(",;\t|", [(".", ""), (",", ""), (".", ","), (",", ".")]):
    add(f"parted by {sep!r}, decimal {dec}, thousands {mark}", plain(lines(sep, dec, mark)))
for sep in ",;\t|":
    add(f"quoted, parted by {sep!r}", plain(lines(sep, quote=True)))
    add(f"blanks behind {sep!r}", plain(lines(sep, blanks=sep != "\t")))
    add(f"trailing {sep!r}", plain([row + sep for row in lines(sep)]))
    add(
        f"trailing {sep!r} in rows only",
        plain([r + sep * (i > 0) for i, r in enumerate(lines(sep))]),
    )
    add(
        f"a header without row names, {sep!r}",
        plain([f"{i}{sep}" * (i > 0) + r for i, r in enumerate(lines(sep))]),
    )
for mark in (" ", "\u00a0", "'", "\u202f"):
    add(f"thousands {mark!r}", plain(lines(";", ",", mark)))
for form in ("%d.%m.%Y", "%d/%m/%Y", "%m/%d/%Y", "%Y/%m/%d", "%d-%m-%Y", "%d %b %Y", "%b %d, %Y",
             "%d-%b-%Y", "%d.%m.%y", "%Y-%m-%d 00:00:00", "%Y-%m-%dT00:00:00Z"):  # fmt: skip
    add(f"dates {form}", plain(lines(date=form)))
for word in ("NA", "n/a", "?", "-", "null", "NaN", "#N/A", "N/A", "NULL", "nan"):
    add(f"missing {word}", plain(lines(missing=word)))
for coin in ("$", "€", "£ "):
    add(
        f"money {coin}",
        plain(lines(";", ",", ".", money=coin) if coin == "€" else lines(money=coin)),
    )
for code in ("utf-8-sig", "utf-16", "utf-16-le", "utf-16-be", "latin-1", "cp1252", "utf-32"):
    add(f"encoded as {code}", "\n".join([*lines(), ""]).encode(code))
text = lines()
add("carriage returns", "\r".join(text).encode())
add("carriage returns and line feeds", "\r\n".join(text).encode())
add("no line end", "\n".join(text).encode())
add("blank lines", "\n\n".join(text).encode() + b"\n\n")
add("blank lines first", b"\n\n" + plain(text))
add(
    "comments",
    plain(["# made by hand", "#, more", *text[:9], "# in the midst", *text[9:], "# end"]),
)
add("a header behind a comment mark", plain(["#" + text[0], *text[1:]]))
add("a title", plain(["Houses of 2020", "", *text]))
add("a separator told above", plain(["sep=;", *lines(";")]))
add("the end of a file to DOS", plain(text) + b"\x1a")
add("tab-separated", plain(lines("\t")), ".tsv")
add("a text file", plain(lines(";")), ".txt")
add("gzip", gzip.compress(plain(text)), ".csv.gz")
# one raw block, as RFC 8878 has it
packed = plain(text)
head = bytes.fromhex("28b52ffda0") + len(packed).to_bytes(4, "little")
add("zstd", head + (len(packed) << 3 | 1).to_bytes(3, "little") + packed, ".csv.zst")
add("gzip by another name", gzip.compress(plain(text)))
add("gzip in two parts", gzip.compress(plain(text)[:500]) + gzip.compress(plain(text)[500:]))
add("no header", plain(text[1:]), header=False)
add("blanks for separators", plain([" ".join(f'"{c}"' if " " in c else c for c in r.split(","))
                                    for r in lines(missing="NA")]), ".txt")  # fmt: skip


def read(path: Path, **options: object) -> dict[str, tuple[Kind, list[object]]]:
    got = read_table(path, Dialect(**options))  # type: ignore[arg-type]
    style = number_style(got, got.frame.columns)
    found = [meaning(got, name, style) for name in got.frame.columns]
    assert [m.problem for m in found if m.problem] == []
    return {m.name: (m.kind, m.values.to_list()) for m in found}


def expected() -> list[tuple[Kind, list[object]]]:
    days = pl.Series(COLUMNS["sold"]).str.to_datetime(time_unit="us").to_list()
    gaps = [None if i % 9 == 4 else v for i, v in enumerate(COLUMNS["size"])]
    booleans = [1.0 if v == "true" else 0.0 for v in COLUMNS["new"]]
    return [
        (Kind.NUMBER, gaps), (Kind.NUMBER, [float(v) for v in COLUMNS["rooms"]]),  # type: ignore[arg-type]
        (Kind.CATEGORY, COLUMNS["town"]), (Kind.CODE, COLUMNS["zip"]), (Kind.DATE, days),
        (Kind.BOOLEAN, booleans), (Kind.NUMBER, COLUMNS["price"]),
    ]  # fmt: skip


def test_the_corpus_is_large() -> None:
    assert len(CORPUS) >= 60


@pytest.mark.parametrize("name", CORPUS)
def test_every_dialect_reads_to_the_same_frame(name: str, tmp_path: Path) -> None:
    suffix, content, options = CORPUS[name]
    (tmp_path / f"t{suffix}").write_bytes(content)
    got = read(tmp_path / f"t{suffix}", **options)
    columns = list(got)[-len(COLUMNS) :]  # but for R's row names
    assert options or columns == list(COLUMNS)
    assert [got[c] for c in columns] == expected()


# ---- what is decided, and what cannot be


def notes_of(content: str, tmp_path: Path, target: str = "y", **options: object) -> str:
    (tmp_path / "t.csv").write_text(content)
    arrays = table(str(tmp_path / "t.csv"), target, **options)  # type: ignore[arg-type]
    arrays = arrays.fit(arrays, np.arange(arrays.rows))
    return f"{', '.join(arrays.feature_names)}\n" + "\n".join(arrays.notes)


def rows(row: Callable[[int], str], count: int = 40) -> str:
    return "".join(row(i) + "\n" for i in range(count))


TOLD = {
    "row numbers": (
        ",a,y\n" + rows(lambda i: f"{i},{i % 7},{i}.5"),
        "^a\nleft out, row numbers: column_1",
    ),
    "pandas' row numbers": (
        "Unnamed: 0,a,y\n" + rows(lambda i: f"{i},{i % 7},{i}.5"),
        "^a\nleft out, row numbers: Unnamed: 0",
    ),
    "identifiers": (
        "customerID,user_id,paid,y\n" + rows(lambda i: f"K{i},{i // 2},{i % 7},{i}.5"),
        "^paid\nleft out, identifiers by their names: customerID, user_id",
    ),
    "names": (
        "who,a,y\n" + rows(lambda i: f"Mr. {i * 7},{i % 7},{i}.5"),
        "^a\nleft out, a different text in nearly every row: who",
    ),
    "a copy of the target by another name": (
        "a,copy,y\n" + rows(lambda i: f"{i % 7},{i}.5,{i}.5"),
        "^a\nleft out, equal to the target: copy",
    ),
    "the target in other words": (
        "a,code,y\n" + rows(lambda i: f"{i % 7},{i % 3},{'uvw'[i % 3]}"),
        "^a\nleft out, as good as the target itself: code",
    ),
    "a twin of the target": (
        "y,a,y\n" + rows(lambda i: f"{i}.5,{i % 7},{i}.5"),
        "^a\nequal columns of one name read once: y",
    ),
    "an empty column": (
        "a,b,y\n" + rows(lambda i: f"{i % 7},,{i}.5"), "^a\nleft out, without any value: b",
    ),
    "rows without a target": (
        "a,y\n" + rows(lambda i: f"{i % 7},{'NA' if i < 4 else i + 0.5}"),
        "^a\n4 of 40 rows without a target .y. left out",
    ),
    "few gaps": (
        "a,y\n" + rows(lambda i: f"{'' if i == 5 else i % 7},{i}.5", 200),
        "^a\ngaps in a .0.005 of the training rows. filled with the median 3$",
    ),
    "many gaps": (
        "a,y\n" + rows(lambda i: f"{'' if i % 5 == 2 else i % 7},{i}.5"),
        "^a, a missing\ngaps in a .0.2 of .* the median 3, and marked by a feature",
    ),
    "a text for a gap among numbers": (
        "a,y\n" + rows(lambda i: f"{'none' if i == 5 else i + 0.25},{i}.5"),
        "'none' read as missing: a",
    ),
    "rows without any value": (
        "a,y\n" + rows(lambda i: f"{i % 7},{i}.5") + ",\n", "^a\n1 row without any value left out",
    ),
    "units": (
        "a,y\n" + rows(lambda i: f"{i % 7}.5 kg,{i}.5"), "^a\nnumbers in kg: a$",
    ),
    "times": ("a,y\n" + rows(lambda i: f"{i % 24}:30,{i}.5"), "^a\ntimes read as hours: a$"),
    "millions": (
        "a,y\n" + rows(lambda i: f"${i}.5M,{i}.5"), "^a\namounts of money read as numbers: a$",
    ),
    "categories": (
        "a,b,y\n" + rows(lambda i: f"{'uvw'[i % 3]},{'pq'[i % 2]},{i}.5"),
        r"categories: a \(3\), b \(2\)$",
    ),
    "nothing to learn from": (
        ",y\n" + rows(lambda i: f"{i},{i * i}.5"),
        "left out, row numbers: column_1 .*\nno feature tells anything of y: only its mean",
    ),
    "features that are constant": (
        "a,b,y\n" + rows(lambda i: f"1,2,{i}.5"), "^a, b\nno feature tells anything of y: only its",
    ),
    "row numbers by another name": (
        "a,patient,y\n" + rows(lambda i: f"{i % 7},{i + 1},{i * i}.5"),
        "^a\nleft out, counting the rows: patient",
    ),
    "numbers that name the rows": (
        "a,docno,y\n" + rows(lambda i: f"{i % 7},{100 + 3 * i},{i * i}.5"),
        "^a\nleft out, identifiers by their names: docno",
    ),
    "time counts and is a feature": (
        "t,patient_id,y\n" + rows(lambda i: f"{i + 1},{i},{i * i}.5"),
        "^t\nleft out, identifiers by their names: patient_id",
    ),
    "a copy of the target in another unit": (
        "a,cents,y\n" + rows(lambda i: f"{i % 7},{1000 * i * i},{10 * i * i}.00"),
        "^a\nleft out, the target in another unit: cents",
    ),
    "one whole number as a target": (
        "a,y\n" + rows(lambda i: f"{i % 7},20"),
        "^a\ntarget y is 20 in every row: nothing to be learnt",
    ),
    "few rows of each class": (
        "a,y\n" + rows(lambda i: f"{i % 7},name{i % 30}"),
        "^a\ntarget y has 30 classes in 40 rows, too few to learn from",
    ),
    "a date as a target": (
        "a,y\n" + rows(lambda i: f"{i % 7},2020-03-{1 + i % 31:02}"),
        "^a\nthe dates of target y are learnt as days since 1970-01-01",
    ),
    "words for no value in the target": (
        "a,y\n" + rows(lambda i: f"{i % 7},{'unknown' if i == 5 else i + 0.5}"),
        "^a\n1 row without a target .y. left out\n'unknown' read as missing: y",
    ),
    "words too frequent for mistakes": (
        "a,y\n" + rows(lambda i: f"{'trace' if i % 10 == 5 else i / 4},{i}.5"),
        "^a, a missing\n'trace' read as missing: a",
    ),
    "single quotes": (
        "'a' 'b' 'y'\n" + rows(lambda i: f"{i % 7} {i % 3} {i}.5"), "^a, b\n.*\nsingle quotes",
    ),
    "row names of R's, parted by blanks": (
        '"a" "b" "y"\n' + rows(lambda i: f'"r{i}" {i % 7} {i % 3} {i}.5'), "^a, b\n.*blanks",
    ),
    "very many texts": (
        "a,y\n" + rows(lambda i: f"t{i % 150},{i}.5", 300),
        "^a share\nthe 150 texts of a become one feature",
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", TOLD)
def test_what_is_decided_about_a_table_is_told(case: str, tmp_path: Path) -> None:
    import re

    content, pattern = TOLD[case]
    assert re.search(pattern, notes_of(content, tmp_path)), notes_of(content, tmp_path)


UNDECIDED = {
    "several problems at once": (
        "a,b,y\n"
        + rows(lambda i: f"{'oops' if i == 6 else i + 0.5},{'bad' if i == 3 else i}.5,{i}.5"),
        r"column 'a' holds numbers but for row 7, 'oops': data.missing_words=\[oops\] .*; "
        r"column 'b' holds numbers but for row 4, 'bad.5'",
    ),
    "decimal comma or thousands mark": (
        "a;b;y\n" + rows(lambda i: f"1,{200 + i};{i % 3};{i}"),
        "column 'a' holds numbers such as 1,2.* data.decimal=comma or data.decimal=dot",
    ),
    "day or month": (
        "a,y\n" + rows(lambda i: f"0{1 + i % 9}/0{1 + i % 7}/2020,{i}.5"),
        "nothing tells the day from the month: data.day_first=true or data.day_first=false",
    ),
    "percent signs in some rows": (
        "a,y\n" + rows(lambda i: f"{i}.5{'%' * (i % 2)},{i}.5"),
        "column 'a' has percent signs in some rows and none in others",
    ),
    "twins that differ": ("a,a,y\n" + rows(lambda i: f"{i}.25,{i}.75,{i}.5"),
                          r"several columns are called 'a' and differ: .*data.exclude=\[a\]"),
    "a target of numbers with a text": (
        "a,y\n" + rows(lambda i: f"{i % 7},{'oops' if i == 6 else i + 0.5}"),
        r"column 'y' holds numbers but for row 7, 'oops': data.missing_words=\[oops\]",
    ),
    "a target of names": (
        "a,y\n" + rows(lambda i: f"{i % 7},name{i}"),
        "target 'y' holds 40 different texts in 40 rows, such as 'name0', so they are no classes",
    ),
    "a row with too many cells": (
        "a,y\n1,2\n1,2,3\n" + rows(lambda i: f"{i},{i}"),
        "has 3 cells in row 2, where its header has 2 .1 such row; cells are parted by commas.",
    ),
    "an open quote": ('a,y\n1,2\n"1,2\n3,4\n', "has a quote .* in row . that is never closed"),
    "zeros": ("a,y\n\0\0\0\0,\0\n", "holds zero bytes"),
}  # fmt: skip


@pytest.mark.parametrize("case", UNDECIDED)
def test_what_cannot_be_decided_is_asked_for_with_its_option(case: str, tmp_path: Path) -> None:
    content, sentence = UNDECIDED[case]
    with pytest.raises(UserError, match=sentence):
        notes_of(content, tmp_path)


def test_numbers_for_names_of_which_some_stand_twice_are_no_names(tmp_path: Path) -> None:
    content = "1,0,1,2\n" + rows(lambda i: f"{i % 3},{i % 7},{i}.5,{i * i}")
    with pytest.raises(UserError, match=r"is numbers, some of them twice: data.header=false reads"):
        notes_of(content, tmp_path, "2")
    told = notes_of(content, tmp_path, "column_4", reading={"header": False})
    assert told == "column_1, column_2, column_3\n"


@pytest.mark.parametrize(
    ("options", "value"),
    [({"decimal": "comma"}, 1.2), ({"decimal": "dot"}, 1200.0), ({"thousands": "comma"}, 1200.0)],
)
def test_an_option_settles_what_a_number_means(
    options: dict[str, str], value: float, tmp_path: Path
) -> None:
    content, _ = UNDECIDED["decimal comma or thousands mark"]
    (tmp_path / "t.csv").write_text(content)
    arrays = table(str(tmp_path / "t.csv"), "y", ["a"], reading=options)
    assert arrays.fit(arrays, np.arange(40)).features[0, 0] == value


@pytest.mark.parametrize(("day_first", "month"), [(True, 1), (False, 1)])
def test_an_option_settles_days_and_months(day_first: bool, month: int, tmp_path: Path) -> None:
    content, _ = UNDECIDED["day or month"]
    (tmp_path / "t.csv").write_text(content)
    arrays = table(str(tmp_path / "t.csv"), "y", reading={"day_first": day_first})
    arrays = arrays.fit(arrays, np.arange(40))
    # row 2 is 02/02, row 9 is 09/02
    at = arrays.feature_names.index("a month")
    assert arrays.features[8, at] == (2 if day_first else 9)
    assert arrays.columns[0].day_first is day_first


def test_options_leave_columns_out_and_take_texts_for_what_they_are(tmp_path: Path) -> None:
    content = "a,b,c,y\n" + rows(lambda i: f"{i % 3},{i}.5,{i * i}.25,{i}.5")
    assert (
        notes_of(content, tmp_path, exclude=["b"], texts=["a"])
        == "a=0, a=1, a=2, c\ncategories: a (3)"
    )


@pytest.mark.parametrize(
    ("cells", "values"),
    [
        (["$1.2M", "$900K", "$15"], [1.2e6, 9e5, 15.0]),
        (["12 kg", "13.5 kg", "9 kg"], [12.0, 13.5, 9.0]),
        (["10:30", "7:45:36", "23:00"], [10.5, 7.76, 23.0]),
        (["1 234,56 €", "-7,5 €", "0 €"], [1234.56, -7.5, 0.0]),
        (["USD 1,200.75", "USD 3", "USD 0.5"], [1200.75, 3.0, 0.5]),
        (["(1,200)", "35", "7.25"], [-1200.0, 35.0, 7.25]),
        (["12,34,567", "1,235", "7.5"], [1234567.0, 1235.0, 7.5]),
    ],
)
def test_numbers_are_read_however_they_are_written(
    cells: list[str], values: list[float], tmp_path: Path
) -> None:
    (tmp_path / "t.csv").write_text("a;b\n" + "".join(f"{c};1\n" for c in cells))
    kind, got = read(tmp_path / "t.csv")["a"]
    assert kind is Kind.NUMBER
    assert got == pytest.approx(values)


def test_names_of_files_are_no_patterns(tmp_path: Path) -> None:
    for name in ("a*.csv", "a1.csv", "x[1].csv"):
        (tmp_path / name).write_text(f"v,y\n{name},1\n")
    assert read_table(tmp_path / "a*.csv").frame["v"].to_list() == ["a*.csv"]
    assert read_table(tmp_path / "x[1].csv").frame["v"].to_list() == ["x[1].csv"]


@pytest.mark.parametrize(
    ("kind", "why"),
    [("fifo", "not a regular file"), ("device", "not a regular file"), ("huge", "larger than"),
     ("directory", "is a directory"), ("loop", "symbolic links")],
)  # fmt: skip
def test_only_a_regular_file_is_read_and_none_is_waited_for(
    kind: str, why: str, tmp_path: Path
) -> None:
    special("t.csv", kind)(tmp_path)
    with pytest.raises(UserError, match=rf"t\.csv cannot be read: .*{why}.*; check data\.path"):
        read_table(tmp_path / "t.csv")


def test_several_targets_are_numbers_beside_each_other(tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_text("a,y,z\n" + rows(lambda i: f"{i % 7},{i}.5,{-i}"))
    arrays = table(str(tmp_path / "t.csv"), ["y", "z"])
    assert arrays.targets[3].tolist() == [3.5, -3]
    assert (arrays.outputs, arrays.target_names, arrays.target) == (2, ("y", "z"), "y, z")


def test_only_training_rows_say_what_fills_a_gap(tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_text("a,t,y\n" + rows(lambda i: f"{i if i else ''},k{i % 4},{i}.5"))
    arrays = table(str(tmp_path / "t.csv"), "y")
    fitted = arrays.fit(arrays, np.arange(0, 40, 4))  # 4, 8, ..., 36 and a gap; k0 alone
    assert fitted.columns[0].fill == 20
    assert fitted.columns[1].categories == ("k0",)
    assert fitted.features[1].tolist() == [1, 0, 0]  # a, its gap, t=k0: k1 is none of the known
