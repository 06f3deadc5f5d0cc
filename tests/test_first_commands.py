"""Three tables as strangers have them, from the file to predictions by what a user types."""

from __future__ import annotations

import re
import shlex
import subprocess
from collections.abc import Callable
from pathlib import Path

import numpy as np
import polars as pl
import pytest

Type = Callable[..., "subprocess.CompletedProcess[str]"]


def prices(path: Path, seed: int) -> None:
    """House prices with gaps, thousands marks and days; two in a hundred prices are missing."""
    random, rows = np.random.default_rng(seed), 300
    area, town = random.normal(110, 25, rows), random.choice(["Ulm", "Bonn", "Köln"], rows)
    days = random.integers(0, 1200, rows)
    price = 1500 * area + 30_000 * (town == "Bonn") + 20 * days + random.normal(0, 6000, rows)
    lines = ["Id,area,town,sold_on,price"]
    for i in range(rows):
        day = np.datetime64("2020-01-01") + int(days[i])
        shown = "" if random.uniform() < 0.05 else f"{area[i]:.1f}"
        wanted = "NA" if random.uniform() < 0.02 else f'"{price[i]:,.0f}"'
        lines.append(f"{i + 1},{shown},{town[i]},{day.item():%d.%m.%Y},{wanted}")
    path.write_text("\n".join(lines) + "\n")


def churn(path: Path, seed: int) -> None:
    """Customers of whom one in twenty leaves."""
    random, rows = np.random.default_rng(seed), 600
    months, calls = random.integers(1, 60, rows), random.poisson(2, rows)
    p = 1 / (1 + np.exp(4.6 - 0.9 * calls + 0.05 * months))
    left = np.where(random.uniform(size=rows) < p, "yes", "no")
    plan = random.choice(["basic", "plus"], rows)
    columns = {"customer_id": np.arange(rows) + 7000, "months": months, "calls": calls}
    pl.DataFrame({**columns, "plan": plan, "churn": left}).write_csv(path)


def wine(path: Path, seed: int) -> None:
    """Wines with quoted names and semicolons between, of quality 3 to 8."""
    random, rows = np.random.default_rng(seed), 400
    acid, alcohol = random.normal(7, 1, rows), random.normal(10.5, 1, rows)
    quality = np.clip(np.round(5.5 + 0.9 * (alcohol - 10.5) - 0.4 * (acid - 7)), 3, 8).astype(int)
    lines = ['"fixed acidity";"alcohol";"quality"']
    lines += [f"{a:.1f};{b:.2f};{q}" for a, b, q in zip(acid, alcohol, quality, strict=True)]
    path.write_text("\n".join(lines) + "\n")


CASES = {
    "prices": (prices, "price", "regression", ("left out, identifiers by their names: Id",)),
    "churn": (churn, "churn", "2 classes", ("identifiers by their names: customer_id",)),
    "wine": (wine, "quality", "classes", ("semicolons",)),
}


def in_readme() -> tuple[list[str], list[str]]:
    """Return the three commands that README types, and what the first says of its table."""
    section = (Path(__file__).parents[1] / "README.md").read_text().split("### Your own table")[1]
    typed, output = (section.split("```")[k].splitlines()[1:] for k in (1, 3))
    return [re.sub(r"^python src/(\w+)\.py", r"\1", line) for line in typed], output


@pytest.mark.slow
@pytest.mark.parametrize("name", CASES)
def test_a_strangers_table_goes_to_predictions_in_three_commands(
    name: str, start_command: Type, tmp_path: Path
) -> None:
    write, target, kind, told = CASES[name]
    write(tmp_path / f"{name}.csv", 0)
    write(tmp_path / "new.csv", 1)
    commands, output = in_readme()
    first, second, third = (
        command.replace("prices", name).replace("=price", f"={target}") for command in commands
    )
    trained = start_command(*shlex.split(first))
    assert trained.returncode == 0, trained.stderr
    for sentence in (kind, *told, *(output if name == "prices" else ())):
        assert sentence in trained.stdout
    (run,) = (tmp_path / "outputs" / "runs").iterdir()
    made = start_command(*shlex.split(second.replace("<run>", run.name)))
    assert made.returncode == 0, made.stderr
    out = pl.read_csv(tmp_path / "out.csv", infer_schema_length=None)
    predicted = out[f"predicted_{target}"]
    assert predicted.null_count() == 0
    if name == "prices":
        wanted = out[target].str.replace_all(",", "").cast(pl.Float64, strict=False).to_numpy()
        known = np.isfinite(wanted)
        away = predicted.to_numpy()[known] - wanted[known]
        assert 1 - away.var() / wanted[known].var() > 0.7
    elif name == "churn":
        assert out["probability_yes"].to_numpy()[out["churn"] == "yes"].mean() > 0.15
    else:
        assert (predicted == out[target]).mean() > 0.5
    drawn = start_command(*shlex.split(third.replace("<run>", run.name), comments=True))
    assert drawn.returncode == 0, drawn.stderr
    assert (run / "report" / "importance.png").is_file()


@pytest.mark.slow
def test_several_targets_of_a_packed_table_are_predicted_side_by_side(
    start_command: Type, tmp_path: Path
) -> None:
    random = np.random.default_rng(3)
    a, b = random.normal(size=(2, 200))
    frame = pl.DataFrame({"a": a, "b": b, "y 1": 3 * a - b, "y2": a + 2 * b + 5})
    data = frame.write_csv().encode()  # as one raw block of RFC 8878
    head = bytes.fromhex("28b52ffda0") + len(data).to_bytes(4, "little")
    packed = head + (len(data) << 3 | 1).to_bytes(3, "little") + data
    (tmp_path / "t.csv.zst").write_bytes(packed)
    trained = start_command(
        "train", "data=table", "data.path=t.csv.zst", "data.target=[y 1,y2]", "model=linear"
    )
    assert trained.returncode == 0, trained.stderr
    (run,) = (tmp_path / "outputs" / "runs").iterdir()
    made = start_command("eval", f"run={run}", "data.path=t.csv.zst", "predict=out.csv")
    assert made.returncode == 0, made.stderr
    out = pl.read_csv(tmp_path / "out.csv")
    for name in ("y 1", "y2"):
        away = (out[f"predicted_{name}"] - out[name]).to_numpy()
        assert np.sqrt(np.square(away).mean()) < 0.1 * out[name].std()
