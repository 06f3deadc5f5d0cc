"""A new user's tables: from the file to predictions, each in three commands typed as they come."""

from __future__ import annotations

import gzip
import io
import json
import random
from collections.abc import Callable
from pathlib import Path

import polars as pl
import pytest

from hostile.warm import Case, Warm

Rows = list[list[str]]


def houses(count: int, seed: int) -> Rows:
    """House prices with gaps, dates, money and an identifier."""
    draw = random.Random(seed)
    made = [["Id", "sold on", "area", "town", "garden", "price"]]
    for i in range(count):
        area, town, garden = draw.gauss(110, 30), draw.choice(["Pisa", "Bonn", "Oslo"]), i % 2
        price = 2000 * area + 60_000 * (town == "Oslo") + 20_000 * garden + draw.gauss(0, 4000)
        day = f"{draw.randint(1, 28):02}.{draw.randint(1, 12):02}.{draw.randint(2015, 2020)}"
        gap = draw.random() < 0.04
        made.append([str(i + 1), day, "NA" if gap else f"{area:.1f}", town, str(bool(garden)),
                     f'"${price:,.0f}"'])  # fmt: skip
    return made


def churn(count: int, seed: int) -> Rows:
    """Customers, of whom one in twenty leaves."""
    draw = random.Random(seed)
    made = [["customerID", "months", "fee", "plan", "churn"]]
    for i in range(count):
        months, fee = draw.randint(1, 60), draw.uniform(10, 100)
        leaves = draw.random() < 0.4 * (months < 12) * (fee > 40)
        plan = draw.choice(["basic", "plus", "?"])
        made.append([f"K{i:05}", str(months), f"{fee:.2f}", plan, "Yes" if leaves else "No"])
    return made


def wine(count: int, seed: int) -> Rows:
    """Wines with semicolons and decimal commas, and a quality from 4 to 7."""
    draw = random.Random(seed)
    made = [['"fixed acidity"', '"pH"', '"alcohol"', '"quality"']]
    for _ in range(count):
        acid, ph, alcohol = draw.gauss(8, 1.5), draw.gauss(3.3, 0.2), draw.gauss(10.5, 1)
        quality = round(min(max(5.5 + (alcohol - 10.5) + draw.gauss(0, 0.4), 4), 7))
        cells = [f"{acid:.1f}", f"{ph:.2f}", f"{alcohol:.1f}"]
        made.append([c.replace(".", ",") for c in cells] + [str(quality)])
    return made


def written(rows: Rows, separator: str) -> str:
    return "".join(separator.join(row) + "\n" for row in rows)


MAKERS: dict[str, tuple[Callable[[int, int], Rows], str, str, str, float]] = {
    "houses": (houses, ",", "price", "regression", 0.7),
    "churn": (churn, ",", "churn", r"2 classes \(No 9\d", 0.9),
    "wine": (wine, ";", "quality", "4 classes", 0.6),
}


@pytest.mark.parametrize("name", MAKERS)
def test_a_file_becomes_predictions_in_three_commands(
    name: str, warm: Warm, tmp_path: Path
) -> None:
    make, separator, target, shown, enough = MAKERS[name]
    known, later = make(500, 0), make(60, 1)
    unknown = [[c for c, head in zip(row, later[0], strict=True) if target not in head]
               for row in later]  # fmt: skip
    files = {
        f"{name}.csv": written(known, separator), "new.csv": written(unknown, separator),
        "later.csv": written(later, separator),
    }  # fmt: skip
    train = Case(
        "train", f"train data=table data.path={name}.csv data.target={target} hydra.run.dir=run",
        files=files, shows=[shown, "always the (majority|mean)"], makes=["run/*"],
    )  # fmt: skip
    predict = Case("predict", "eval run=run data.path=new.csv predict=out.csv", makes=["out.csv"],
                   shows=[f"60 rows with predicted_{target}"])  # fmt: skip
    judge = Case("judge", "eval run=run data.path=later.csv", shows=["test/loss"])
    for case in (train, predict, judge):
        assert warm.problems(case, tmp_path) == []
    out = pl.read_csv(tmp_path / "out.csv", separator=",")
    assert f"predicted_{target}" in out.columns
    metrics = json.loads((tmp_path / "run" / "result.json").read_text())["metrics"]
    assert metrics.get("test/r2", metrics.get("test/accuracy")) > enough


# ---- the same rows, however they are written

COPIES: dict[str, Callable[[Rows], tuple[str, bytes]]] = {
    "semicolons and decimal commas": lambda rows: (
        "t.csv", written([[c.replace(".", ",") for c in row] for row in rows], ";").encode()),
    "tabs": lambda rows: ("t.tsv", written(rows, "\t").encode()),
    "UTF-16": lambda rows: ("t.csv", written(rows, ",").encode("utf-16")),
    "Latin-1 and packed": lambda rows: ("t.csv.gz", gzip.compress(
        written(rows, ",").encode("latin-1"))),
    "columns in another order, and one more": lambda rows: (
        "t.csv", written([[row[2], "note", row[0], row[3], row[1]] for row in rows], ",").encode()),
    "numbers of another type": lambda rows: (
        "t.csv", written([[*row[:3], f"{row[3]}.0" if i else row[3]]
                          for i, row in enumerate(rows)], ",").encode()),
    "typed": lambda rows: ("t.parquet", parquet(rows)),
    "typed, codes as categories": lambda rows: ("t.arrow", arrow(rows)),
}  # fmt: skip


def typed(rows: Rows) -> pl.DataFrame:
    return pl.read_csv(io.StringIO(written(rows, ",")), schema_overrides={"code": pl.String})


def parquet(rows: Rows) -> bytes:
    file = io.BytesIO()
    typed(rows).write_parquet(file)
    return file.getvalue()


def arrow(rows: Rows) -> bytes:
    file = io.BytesIO()
    typed(rows).with_columns(pl.col("code", "town").cast(pl.Categorical)).write_ipc(file)
    return file.getvalue()


def mixed(count: int, seed: int) -> Rows:
    draw = random.Random(seed)
    codes = ["007", "012", "A1", "B2", "C3"]
    rows = [["size", "code", "town", "grade"]]
    for _ in range(count):
        code = draw.choice(codes)
        size = draw.gauss(5, 2)
        grade = int(size > 4) + int(code in ("007", "A1"))
        rows.append([f"{size:.2f}", code, draw.choice(["Köln", "Bonn"]), str(grade)])
    return rows


def test_predictions_are_the_same_for_every_copy_of_a_table(warm: Warm, tmp_path: Path) -> None:
    (tmp_path / "train.csv").write_text(written(mixed(300, 0), ","))
    train = Case("train", "train data=table data.path=train.csv data.target=grade picture=false "
                 "stop.epochs=5 hydra.run.dir=run", makes=["run/*"])  # fmt: skip
    assert warm.problems(train, tmp_path) == []
    later = mixed(40, 1)
    # a file with only some of the codes, which then look like numbers
    later = [later[0], *(row for row in later[1:] if row[1] in ("007", "012"))]
    (tmp_path / "plain.csv").write_text(written(later, ","))
    plain = Case("plain", "eval run=run data.path=plain.csv predict=plain_out.csv",
                 shows=["test/accuracy"], makes=["*_out.csv"])  # fmt: skip
    assert warm.problems(plain, tmp_path) == []
    wanted = pl.read_csv(tmp_path / "plain_out.csv").select(pl.col("^(predicted|prob).*$"))
    for number, (name, make) in enumerate(COPIES.items()):
        file, content = make(later)
        path = tmp_path / f"{number}_{file}"
        path.write_bytes(content)
        again = Case(name, f"eval run=run data.path={path.name} predict={number}_out.csv",
                     shows=["test/accuracy"], makes=["*_out.csv"])  # fmt: skip
        assert warm.problems(again, tmp_path) == []
        got = pl.read_csv(tmp_path / f"{number}_out.csv").select(pl.col("^(predicted|prob).*$"))
        assert got.equals(wanted), name


GRADES = "a,b,grade\n" + "".join(f"{i % 9}.5,{i % 7}.25,{i % 3}\n" for i in range(120))
REFUSED = [
    Case("all problems at once", "train data=table data.path=t.csv data.target=y",
         says="column 'a' holds .*data.exclude=.*; column 'b' holds .*data.exclude",
         files={"t.csv": "a,b,y\n" + "".join(
             f"{'x?' if i == 3 else i / 8},{'!' if i == 5 else i / 4},{i}\n" for i in range(60))}),
    Case("words that mean no value settle it", "train data=table data.path=t.csv data.target=y "
         "data.missing_words=[oops] stop.epochs=1 picture=false",
         files={"t.csv": "a,y\n" + "".join(
             f"{'oops' if i == 3 else i / 8},{i}.5\n" for i in range(60))}),
    Case("a name that is markup", "train data=table data.path=t.csv data.target=y model=linear "
         "stop.epochs=1 picture=false",
         files={"t.csv": "[/nope],[bold red]x[/],y\n" + "".join(
             f"{i % 7}.5,{i % 5}.5,{i}.5\n" for i in range(60))}, shows=[r"\[/nope\]"]),
    Case("a loop of links", "train data=table data.path=loop.csv data.target=y",
         says="loop.csv", arrange=lambda d: (d / "loop.csv").symlink_to("loop.csv")),
    Case("a directory", "train data=table data.path=d.csv data.target=y", says="is a directory",
         arrange=lambda d: (d / "d.csv").mkdir()),
    Case("a name of 300 letters", f"train data=table data.path={'x' * 300}.csv data.target=y",
         says="cannot be read|too long|no file"),
    Case("ten rows", "train data=table data.path=t.csv data.target=y stop.epochs=1 "
         "picture=false", shows=["data.batch_size=16 is more than the 8 training rows"],
         files={"t.csv": "a,y\n" + "".join(f"{i * 7 % 30},{i}.5\n" for i in range(10))}),
    Case("huge targets", "train data=table data.path=t.csv data.target=y model=linear "
         "stop.epochs=3 picture=false trainer=float64", shows=["test"],
         files={"t.csv": "a,y\n" + "".join(f"{i * 7 % 90},{i}.5e200\n" for i in range(90))}),
]  # fmt: skip


@pytest.mark.parametrize("case", REFUSED, ids=lambda case: case.name)
def test_a_table_trains_or_one_sentence_says_what_settles_it(case: Case, warm: Warm) -> None:
    assert warm.problems(case) == []


def test_an_unknown_target_costs_the_metrics_and_not_the_predictions(
    warm: Warm, tmp_path: Path
) -> None:
    files = {"t.csv": GRADES, "q.csv": "a,b,grade\n0.5,0.25,?\n1.5,0.25,1\n",
             "odd.csv": "a,b,grade\n0.5,0.25,9\n", "own.csv": "a,b,predicted_grade\n1,2,3\n",
             "more.csv": "a,b,grade\n1,2,1.0\n2,3,0.0\n"}  # fmt: skip
    train = Case("train", "train data=table data.path=t.csv data.target=grade stop.epochs=2 "
                 "picture=false hydra.run.dir=run", files=files, makes=["run/*"])  # fmt: skip
    cases = [
        train,
        Case("a gap", "eval run=run data.path=q.csv predict=q_out.csv", makes=["q_out.csv"],
             shows=["target 'grade' is missing in row 1, so no metrics", "2 rows with predicted"]),
        Case("unknown", "eval run=run data.path=odd.csv", shows=["'9' in row 1, none of the cla"]),
        Case("taken", "eval run=run data.path=own.csv predict=x.csv",
             says="has a column 'predicted_grade' already"),
        Case("1.0 is 1", "eval run=run data.path=more.csv", shows=["test/accuracy"]),
    ]  # fmt: skip
    for case in cases:
        assert warm.problems(case, tmp_path) == []
