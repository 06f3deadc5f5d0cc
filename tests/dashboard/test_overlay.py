"""The overlay chart: its title names each line with the symbol that TensorBoard draws it with."""

from __future__ import annotations

from pathlib import Path
from zipfile import ZipFile

import pytest
import tensorboard
from tensorboard.plugins.custom_scalar.layout_pb2 import Layout
from torch.utils.tensorboard.summary import custom_scalars

from descent.dashboard.overlay import CHARTS, SYMBOLS, give_titles, in_order
from descent.records.tables import LAYOUT


def test_the_series_of_a_chart_come_in_its_order_with_empty_ones_for_those_a_run_lacks():
    (by_step, _) = CHARTS.values()
    step, running, full, validation = by_step
    assert [*in_order({full: [1], step: [2], running: [3]}).items()] == [
        (step, [2]), (running, [3]), (full, [1]), (validation, []),
    ]  # fmt: skip
    assert in_order({"mine/b": [1], step: [2]}) == {"mine/b": [1], step: [2]}
    assert in_order({}) == {}


def test_titles_name_the_losses_in_the_order_of_the_series():
    layout = custom_scalars({**LAYOUT, "mine": {"mine": ["Multiline", ["a"]]}})
    made = Layout.FromString(layout.value[0].tensor.string_val[0])
    give_titles(made)
    told = "◼ step  ◆ running  ▲ full  ★ validation loss"
    titles = [chart.title for category in made.category for chart in category.chart]
    assert titles == [f"{told}, by step", f"{told}, by samples", "mine"]


def test_the_symbols_are_those_of_tensorboards_own_page():
    page = ZipFile(Path(tensorboard.__file__).with_name("webfiles.zip")).read("index.js").decode()
    start = page.find("{character:")
    if start < 0:
        pytest.fail("TensorBoard's page names its symbols in another way")
    part = page[start : start + 500]
    at = [part.find(symbol.encode("unicode_escape").decode().upper().replace("\\U", "\\u"))
          for symbol in SYMBOLS]  # fmt: skip
    assert min(at) > 0
    assert at == sorted(at)
