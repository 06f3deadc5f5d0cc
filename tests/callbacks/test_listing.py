"""The printed steps of the tutorials."""

from __future__ import annotations

import logging
from collections.abc import Callable

import pytest

from descent.records.run import Run


def test_steps_are_printed_with_losses_and_parameters(
    train_run: Callable[..., Run], caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.INFO):
        train_run("experiment=line_sequential", "callbacks.listing.first=12")
    rows = [r.getMessage().split() for r in caplog.records if r.name.endswith("listing")]
    assert rows[0] == ["step", "step", "loss", "full", "loss", "weight", "of", "x", "bias"]
    assert [row[0] for row in rows[1:]] == [str(n) for n in range(1, 13)]
    # the tutorial prints two decimals
    shown = {int(r[0]): [round(float(v), 2) for v in r[1:]] for r in rows[1:]}
    assert [shown[1][i] for i in (0, 2, 3)] == [101.19, 3.12, -1.99]
    assert shown[8] == [60.59, 25.56, 5.07, 4.15]
    assert [shown[12][i] for i in (0, 2, 3)] == [4.0, 9.75, 5.42]


def test_a_large_model_is_listed_without_parameters_and_full_loss_only_where_measured(
    train_run: Callable[..., Run], caplog: pytest.LogCaptureFixture
) -> None:
    listing = "callbacks.listing={_target_: descent.callbacks.listing.Listing, first: 3}"
    with caplog.at_level(logging.INFO):
        train_run("stop.steps=5", listing)
    rows = [r.getMessage().split() for r in caplog.records if r.name.endswith("listing")]
    assert [len(row) for row in rows] == [5, 2, 2, 2]
