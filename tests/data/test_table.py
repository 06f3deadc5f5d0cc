"""Users' own tables: the same arrays from every format, and every inference and refusal."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import polars as pl
import pytest

from descent.data.arrays import Arrays, Column, Kind, Task
from descent.data.columns import Style
from descent.data.encoding import encode
from descent.data.layout import Dialect
from descent.data.reading import Table, read_table
from descent.data.table import table as source
from descent.data.table_targets import as_dates, encode_targets
from descent.errors import UserError

ROWS = 12
FRAME = pl.DataFrame(
    {
        "size": [50.5 + i for i in range(ROWS)],
        "rooms": [1 + i % 4 for i in range(ROWS)],
        "town": [["Pisa", "Bonn", "Oslo"][i % 3] for i in range(ROWS)],
        "garden": [i % 2 == 0 for i in range(ROWS)],
        "price": [100.25 * (i + 1) for i in range(ROWS)],
    }
)


def table(path: str, target: str, *args: object, **options: object) -> Arrays:
    """Return a table's arrays as if all of its rows trained."""
    arrays = source(path, target, *args, **options)
    return arrays.fit(arrays, np.arange(arrays.rows))


def new(frame: pl.DataFrame) -> Table:
    return Table(frame, "new.csv", Dialect())


def written(frame: pl.DataFrame, path: Path) -> str:
    writers = {
        ".csv": frame.write_csv,
        ".tsv": lambda p: frame.write_csv(p, separator="\t"),
        ".parquet": frame.write_parquet,
    }
    writers.get(path.suffix.lower(), frame.write_ipc)(path)
    return str(path)


@pytest.fixture
def path(tmp_path: Path) -> str:
    return written(FRAME, tmp_path / "houses.csv")


# ---- formats


@pytest.mark.parametrize("suffix", ["tsv", "parquet", "arrow", "feather", "ipc", "CSV"])
def test_every_format_gives_the_same_arrays(suffix: str, path: str, tmp_path: Path) -> None:
    expected = table(path, "price")
    arrays = table(written(FRAME, tmp_path / f"houses.{suffix}"), "price")
    np.testing.assert_array_equal(arrays.features, expected.features)
    np.testing.assert_array_equal(arrays.targets, expected.targets)
    assert arrays.columns == expected.columns
    assert arrays.task is expected.task


def test_the_arrays_are_the_tables_values(path: str) -> None:
    arrays = table(path, "price")
    assert arrays.feature_names == (
        "size", "rooms", "town=Bonn", "town=Oslo", "town=Pisa", "garden",
    )  # fmt: skip
    # the first rows are of Pisa with a garden, then of Bonn without
    assert arrays.features[0].tolist() == [50.5, 1, 0, 0, 1, 1]
    assert arrays.features[1].tolist() == [51.5, 2, 1, 0, 0, 0]
    assert arrays.features.dtype == np.float64
    assert arrays.targets.tolist() == FRAME["price"].to_list()
    assert (arrays.task, arrays.target, arrays.classes) == (Task.REGRESSION, "price", ())


def test_categories_are_in_the_order_of_the_alphabet_and_each_row_has_one(path: str) -> None:
    arrays = table(path, "price", ["town"])
    assert arrays.columns == (Column("town", ("Bonn", "Oslo", "Pisa"), Kind.CATEGORY),)
    assert (arrays.features.sum(axis=1) == 1).all()


def test_features_come_in_the_order_they_are_named(path: str) -> None:
    arrays = table(path, "price", ["rooms", "size"])
    assert arrays.feature_names == ("rooms", "size")
    assert arrays.features[2].tolist() == [3, 52.5]


@pytest.mark.parametrize("dtype", [pl.Categorical, pl.Enum(["Pisa", "Oslo", "Bonn"])])
def test_polars_own_categories_are_texts(dtype: pl.DataType, path: str, tmp_path: Path) -> None:
    frame = FRAME.with_columns(pl.col("town").cast(dtype))
    arrays = table(written(frame, tmp_path / "houses.parquet"), "price")
    np.testing.assert_array_equal(arrays.features, table(path, "price").features)


@pytest.mark.parametrize("dtype", [pl.Int8, pl.UInt16, pl.Int64, pl.Float32, pl.Boolean])
def test_numbers_of_every_type_and_booleans_become_floats(
    dtype: pl.DataType, tmp_path: Path
) -> None:
    frame = pl.DataFrame({"x": pl.Series([0, 1, 1, 0]).cast(dtype), "y": [0.5, 1.5, 2.5, 3.5]})
    arrays = table(written(frame, tmp_path / "t.parquet"), "y")
    assert arrays.features[:, 0].tolist() == [0, 1, 1, 0]
    assert arrays.features.dtype == np.float64


def test_a_number_far_down_decides_over_whole_numbers_at_the_top(tmp_path: Path) -> None:
    # readers that look at the first rows only would take x for whole numbers, and fail at row 2,000
    (tmp_path / "t.csv").write_text("x,y\n" + "1,1.5\n" * 1999 + "2.5,2.5\n")
    assert table(str(tmp_path / "t.csv"), "y").features[-1].tolist() == [2.5]


# ---- what is predicted

TARGETS = {
    "texts": (["b", "a", "c", "a"] * 3, Task.MULTICLASS, ("a", "b", "c")),
    "two texts": (["yes", "no"] * 6, Task.BINARY, ("no", "yes")),
    "booleans": ([True, False] * 6, Task.BINARY, ("false", "true")),
    "few whole numbers": ([10, 2, 1] * 4, Task.MULTICLASS, ("1", "2", "10")),
    "two whole numbers": ([-1, 1] * 6, Task.BINARY, ("-1", "1")),
    "six whole numbers": ([*range(6)] * 2, Task.MULTICLASS, tuple("012345")),
    "seven whole numbers in twelve rows": ([*range(7), *range(5)], Task.REGRESSION, ()),
    "fractions": ([0.5, 1.5] * 6, Task.REGRESSION, ()),
    "whole numbers written as fractions": ([0.0, 1.0] * 6, Task.REGRESSION, ()),
}


@pytest.mark.parametrize("case", TARGETS)
@pytest.mark.parametrize("suffix", ["csv", "parquet"])
def test_the_task_follows_from_the_target(case: str, suffix: str, tmp_path: Path) -> None:
    values, task, classes = TARGETS[case]
    frame = pl.DataFrame({"x": [float(i) for i in range(ROWS)], "y": values})
    arrays = table(written(frame, tmp_path / f"t.{suffix}"), "y")
    assert (arrays.task, arrays.classes) == (task, classes)
    if classes:
        assert arrays.targets.dtype == np.int64
        shown = [str(v).lower() if isinstance(v, bool) else str(v) for v in values]
        assert [classes[i] for i in arrays.targets] == shown
    else:
        assert arrays.targets.tolist() == values


def test_the_task_can_be_said(tmp_path: Path) -> None:
    frame = pl.DataFrame({"x": [1.0, 2.0, 3.0], "few": [1, 2, 1], "floats": [0.5, 1.5, 0.5]})
    path = written(frame, tmp_path / "t.csv")
    assert table(path, "few", ["x"], task="regression").targets.tolist() == [1, 2, 1]
    arrays = table(path, "floats", ["x"], task="classification")
    assert (arrays.task, arrays.classes) == (Task.BINARY, ("0.5", "1.5"))


def test_texts_cannot_be_regressed(path: str) -> None:
    with pytest.raises(UserError, match=r"target 'town' must hold numbers for data.task=regressio"):
        table(path, "town", task="regression")


def test_a_measurement_is_no_class(tmp_path: Path) -> None:
    frame = pl.DataFrame({"x": range(101), "y": [i + 0.5 for i in range(101)]})
    with pytest.raises(UserError, match=r"has 101 different numbers, too many .*task=regression"):
        table(written(frame, tmp_path / "t.csv"), "y", task="classification")


# ---- new tables


def test_a_new_table_is_encoded_as_the_training_table_was(path: str) -> None:
    arrays = table(path, "price")
    # other order, other columns between, no target, not all of the categories
    few = FRAME.select("garden", pl.lit("?").alias("note"), "town", "rooms", "size")[3:5]
    np.testing.assert_array_equal(encode(new(few), arrays.columns)[0], arrays.features[3:5])


def test_a_new_table_may_be_empty_of_rows_to_encode(path: str) -> None:
    columns = table(path, "price").columns
    assert encode(new(FRAME[:0]), columns)[0].shape == (0, 6)


def test_whole_numbers_may_stand_where_fractions_stood(path: str) -> None:
    columns = table(path, "price", ["size"]).columns
    assert encode(new(pl.DataFrame({"size": [50, 60]})), columns)[0].tolist() == [[50], [60]]


def test_categories_that_look_like_numbers_are_recognized(tmp_path: Path) -> None:
    codes = pl.DataFrame({"code": ["12", "x7", "x8", "x9"], "y": [1.5, 2.5, 3.5, 4.5]})
    columns = table(written(codes, tmp_path / "t.csv"), "y").columns
    read = read_table(written(pl.DataFrame({"code": [12, 12]}), tmp_path / "new.csv"))
    assert encode(read, columns)[0].tolist() == [[1, 0, 0, 0], [1, 0, 0, 0]]


@pytest.mark.parametrize(
    ("frame", "sentence"),
    [
        (FRAME.drop("rooms").rename({"size": "siz"}),
         "new.csv: no columns size, rooms; it has siz, town, garden, price"),
        (FRAME.rename({"size": "siz"}), "no column 'size'; did you mean 'siz'; it has siz"),
        (FRAME.with_columns(rooms=pl.lit("many"), size=pl.lit("few")),
         "column 'size' must hold numbers, but holds 'few'; column 'rooms' must hold numbers"),
        (FRAME.with_columns(size=pl.lit(float("inf"))), "'size' holds inf in row 1 .12 such rows"),
        (FRAME.with_columns(garden=pl.lit("maybe")), "'garden' must hold true or false, but holds"),
    ],
    ids=["several missing", "one missing", "texts", "inf", "no boolean"],
)  # fmt: skip
def test_a_new_table_that_does_not_fit_is_refused(
    frame: pl.DataFrame, sentence: str, path: str
) -> None:
    columns = table(path, "price").columns
    with pytest.raises(UserError, match=sentence):
        encode(new(frame), columns)


def test_what_training_never_saw_is_none_of_the_known_ones_or_an_error(path: str) -> None:
    columns = table(path, "price", ["town"]).columns
    rome = new(FRAME.with_columns(town=pl.lit("Rome")))
    features, notes = encode(rome, columns)
    assert not features.any()
    assert notes == [
        "column 'town' holds 'Rome' (12 rows), never seen in training; taken as none of the known "
        "ones"
    ]
    with pytest.raises(
        UserError, match=r"'Rome' \(12 rows\), never seen .* data.unseen=other takes"
    ):
        encode(rome, columns, unseen="error")


def test_gaps_of_a_new_table_are_filled_with_what_training_learnt(path: str) -> None:
    columns = table(path, "price", ["size", "town"]).columns
    gaps = new(FRAME.with_columns(size=pl.lit(None, pl.Float64), town=pl.lit(None, pl.String))[:1])
    features, notes = encode(gaps, columns)
    assert features.tolist() == [[56.0, 0, 0, 0]]  # the median of 50.5 to 61.5
    assert notes[0] == "1 gaps in size filled with 56"


def test_one_stray_text_in_a_new_column_is_pointed_at(path: str) -> None:
    columns = table(path, "price").columns
    sizes = [*(f"{i}.5" for i in range(11)), "oops"]
    with pytest.raises(UserError, match="'size' holds numbers but for row 12, 'oops'"):
        encode(new(FRAME.with_columns(size=pl.Series(sizes))), columns)


def test_a_column_name_among_many_is_not_drowned(tmp_path: Path) -> None:
    wide = pl.DataFrame({f"column{i}": [1.0, 2.0] for i in range(40)})
    with pytest.raises(UserError, match=r"has no column 'zzz'\. It has .*column11 and 28 more"):
        table(written(wide, tmp_path / "wide.csv"), "zzz")


def test_columns_kept_before_they_had_kinds_are_read_as_they_were_meant() -> None:
    old = [{"name": "size", "categories": None}, {"name": "town", "categories": ["Bonn", "Pisa"]}]
    columns = [Column.from_dict(column) for column in old]
    assert [c.kind for c in columns] == [Kind.NUMBER, Kind.CATEGORY]
    frame = new(pl.DataFrame({"size": [1.5], "town": ["Pisa"]}))
    assert encode(frame, columns)[0].tolist() == [[1.5, 0, 1]]
    with pytest.raises(UserError, match="'size' has no value in row 1, and the run does not say"):
        encode(new(pl.DataFrame({"size": [None], "town": ["Pisa"]})), columns)


@pytest.mark.parametrize(
    "column",
    [
        Column("size", None, Kind.NUMBER, 3.5, gap=True),
        Column("town", ("Bonn", "Pisa"), gap=True),
        Column("many", ("a", "b"), shares=(0.5, 0.25)),
        Column("hashed", None, Kind.CATEGORY, buckets=32),
        Column("sold", None, Kind.DATE, 18000.5, parts=("year", "month"), day_first=True),
    ],
)
def test_what_a_column_becomes_survives_the_file(column: Column) -> None:
    import json

    from descent.data.prepare import _is_column

    kept = json.loads(json.dumps(column.to_dict()))
    assert _is_column(kept)
    assert Column.from_dict(kept) == column


# ---- new targets


def targets_of(values: list[object], classes: tuple[str, ...]) -> tuple[list[float] | None, str]:
    got, why_not = encode_targets(new(pl.DataFrame({"y": values})), ["y"], classes, Style("."))
    return (None if got is None else got.tolist()), why_not


def test_known_classes_of_a_new_target_become_their_indices() -> None:
    assert targets_of(["b", "a", "b"], ("a", "b")) == ([1, 0, 1], "")


def test_numbers_of_a_new_target_stay_numbers() -> None:
    assert targets_of([3, 4], ()) == ([3.0, 4.0], "")


@pytest.mark.parametrize("written_as", [[1, 0], [1.0, 0.0], ["1", "0"], ["1.0", "0.0"]])
@pytest.mark.parametrize("classes", [("0", "1", "2"), ("0.0", "1.0", "2.0")])
def test_a_class_is_the_same_class_however_its_number_is_written(
    written_as: list[object], classes: tuple[str, ...]
) -> None:
    assert targets_of(written_as, classes) == ([1, 0], "")


def test_dates_to_predict_are_days_and_come_back_as_dates() -> None:
    import datetime as dt

    texts = ["1969-12-31 12:00", "2020-02-29 00:00", "2026-11-28 09:35"]
    frame = pl.DataFrame({"y": texts})
    days, why = encode_targets(new(frame), ["y"], (), Style("."), dated=True)
    assert not why
    assert days is not None
    epoch = dt.datetime(1970, 1, 1)
    expected = [(dt.datetime.fromisoformat(t) - epoch) / dt.timedelta(days=1) for t in texts]
    np.testing.assert_allclose(days, expected, rtol=1e-12)
    back = as_dates(pl.Series("predicted_y", days)).dt.strftime("%Y-%m-%d %H:%M")
    assert back.to_list() == texts
    assert encode_targets(new(frame), ["y"], (), Style(".")) == (
        None, "target 'y' does not hold numbers",
    )  # fmt: skip


def test_codes_with_leading_zeros_are_not_the_numbers_they_look_like() -> None:
    assert targets_of(["01", "1"], ("01", "1")) == ([0, 1], "")
    assert targets_of(["01"], ("1", "2"))[0] is None


@pytest.mark.parametrize(
    ("values", "why"),
    [
        (["b", "c"], "target 'y' is 'c' in row 2, none of the classes a, b"),
        (["b", None], "target 'y' is missing in row 2"),
    ],
)
def test_an_unknown_new_target_costs_the_metrics_and_says_why(values, why) -> None:
    assert targets_of(values, ("a", "b")) == (None, why)


def test_rows_are_numbered_as_in_the_file_where_some_say_no_target(tmp_path: Path) -> None:
    rows = ["0.5,NA", "1.5,3", ",4", "oops,5", *(f"{i}.5,{i}" for i in range(20))]
    (tmp_path / "t.csv").write_text("\n".join(["x,y", *rows]))
    with pytest.raises(UserError, match=r"but for row 4, 'oops'"):
        source(str(tmp_path / "t.csv"), "y")
    (tmp_path / "t.csv").write_text("\n".join(["x,y", *rows]).replace("oops", "2.5"))
    with pytest.raises(UserError, match=r"'x' has no value in row 3:"):
        source(str(tmp_path / "t.csv"), "y", missing="error")
