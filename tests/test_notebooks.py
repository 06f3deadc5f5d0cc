"""The notebooks run, and show what they are said to show."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

NOTEBOOKS = sorted((Path(__file__).parents[1] / "notebooks").glob("*.ipynb"))
MOST_BYTES = 150_000


def cells(path: Path) -> list[dict[str, Any]]:
    return [cell for cell in json.loads(path.read_text())["cells"] if cell["cell_type"] == "code"]


def kinds(outputs: list[Any]) -> list[str]:
    """What a cell shows: streams by name, results by their richest form."""
    shown = [out.get("name") or sorted(out.get("data", {"error": 0}))[0] for out in outputs]
    return sorted(dict.fromkeys(shown))


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_a_notebook_is_kept_executed_small_and_without_errors(path: Path) -> None:
    assert path.stat().st_size < MOST_BYTES
    counts = [cell["execution_count"] for cell in cells(path)]
    assert counts == list(range(1, len(counts) + 1))
    shown = [out for cell in cells(path) for out in cell["outputs"]]
    assert {"error", "stderr"}.isdisjoint(kinds(shown))
    assert {"image/png", "text/html"} <= set(kinds(shown))


def test_there_are_two() -> None:
    assert [path.stem for path in NOTEBOOKS] == ["lesson", "table"]


@pytest.mark.slow
@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_a_notebook_runs_and_shows_the_same_kinds_of_things(path: Path, tmp_path: Path) -> None:
    nbclient = pytest.importorskip("nbclient", reason="the notebook extra is not installed")
    nbformat = pytest.importorskip("nbformat", reason="the notebook extra is not installed")
    pytest.importorskip("ipykernel", reason="the notebook extra is not installed")
    notebook = nbformat.read(path, as_version=4)
    where = {"metadata": {"path": str(tmp_path)}}
    nbclient.NotebookClient(notebook, timeout=300, kernel_name="python3", resources=where).execute()
    now = [kinds(cell.outputs) for cell in notebook.cells if cell.cell_type == "code"]
    assert now == [kinds(cell["outputs"]) for cell in cells(path)]
