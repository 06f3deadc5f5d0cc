"""Shifts and rotations against numpy and scipy, and runs that augment."""

from __future__ import annotations

import csv
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from scipy import ndimage

from descent.data.augment import Augment, warp
from descent.data.bundled import digits
from descent.data.scale import fit_scaler
from descent.errors import UserError
from descent.records.run import Run

MOVED = ("data.augment.shift=1", "data.augment.rotate=15")


def image(height: int = 8, width: int = 8) -> np.ndarray:
    return np.random.default_rng(0).uniform(0, 16, (height, width))


def warped(picture: np.ndarray, right: float, down: float, degrees: float) -> np.ndarray:
    moves = [torch.tensor([float(m)], dtype=torch.float64) for m in (right, down, degrees)]
    return warp(torch.from_numpy(picture)[None], *moves)[0].numpy()


def losses(run: Run) -> list[str]:
    with (run.path / "steps.csv").open() as file:
        return [row["loss"] for row in csv.DictReader(file)]


@pytest.mark.parametrize(("right", "down"), [(1, 0), (0, 2), (-3, 1), (0, 0)])
def test_whole_pixels_move_the_picture_and_let_zeros_in(right: int, down: int) -> None:
    picture = image(6, 9)
    expected = ndimage.shift(picture, (down, right), order=0, cval=0.0)
    np.testing.assert_allclose(warped(picture, right, down, 0), expected, atol=1e-12)


def test_a_quarter_turn_is_counter_clockwise() -> None:
    picture = image()
    np.testing.assert_allclose(warped(picture, 0, 0, 90), np.rot90(picture), atol=1e-12)
    np.testing.assert_allclose(warped(picture, 0, 0, 180), picture[::-1, ::-1], atol=1e-12)


def test_half_a_pixel_is_the_mean_of_neighbours() -> None:
    picture = image()
    expected = 0.5 * (picture[:, 1:] + picture[:, :-1])
    np.testing.assert_allclose(warped(picture, 0.5, 0, 0)[:, 1:], expected, atol=1e-12)


@pytest.mark.parametrize("degrees", [-20.0, 7.0, 33.0])
def test_small_turns_are_scipys(degrees: float) -> None:
    picture = np.zeros((16, 16))
    picture[4:12, 4:12] = image()  # a margin: the two let zeros in differently at the very edge
    expected = ndimage.rotate(picture, degrees, order=1, reshape=False)
    np.testing.assert_allclose(warped(picture, 0, 0, degrees), expected, atol=1e-9)


def test_rows_are_warped_as_pictures_not_as_scaled_numbers() -> None:
    arrays = digits()
    assert arrays.image == (8, 8)
    scaler = fit_scaler("standardize", arrays.features, np.arange(100))  # with constant pixels
    x = torch.from_numpy(scaler.apply(arrays.features[:5]))
    augment = Augment((8, 8), scaler, shift=3, rotate=0)
    draws = torch.tensor([[2.0, -1.0, 0.0]] * 5, dtype=torch.float64)
    moved = scaler.undo(augment(x, draws).numpy()).reshape(5, 8, 8)
    pictures = arrays.features[:5].reshape(5, 8, 8)
    expected = ndimage.shift(pictures, (0, -1, 2), order=0, cval=0.0)
    np.testing.assert_allclose(moved, expected, atol=1e-10)


def test_draws_fill_their_ranges_and_are_a_function_of_the_generator() -> None:
    augment = Augment((8, 8), fit_scaler("none", np.ones((2, 64)), np.arange(2)), 2, 30)
    draws = augment.draw(4000, torch.Generator().manual_seed(1))
    assert (draws == augment.draw(4000, torch.Generator().manual_seed(1))).all()
    assert draws.abs().amax(dim=0).tolist() == pytest.approx([2, 2, 30], rel=0.01)
    assert draws.mean(dim=0).abs().max() < 30 / 3**0.5 / 4000**0.5 * 4


def test_the_window_size_changes_nothing_even_with_dropout(
    train_run: Callable[..., Run],
) -> None:
    job = (*MOVED, "model.dropout=0.3", "stop.steps=30")
    whole = losses(train_run(*job))
    assert losses(train_run(*job, "data.window=1")) == whole
    assert losses(train_run("model.dropout=0.3", "stop.steps=30")) != whole


@pytest.mark.parametrize(
    "how",
    [
        ["data.batch_size=full", "stop.epochs=3"],
        ["data.order=with_replacement", "data.drop_last=true", "stop.epochs=1"],
        ["data.limit=100", "data.order=sequential", "stop.epochs=1"],
    ],
    ids=lambda how: how[0],
)
def test_every_way_of_batching_is_augmented(train_run: Callable[..., Run], how: list[str]) -> None:
    assert losses(train_run(*how, *MOVED)) != losses(train_run(*how))


def test_a_break_in_mid_epoch_changes_nothing(train_run: Callable[..., Run]) -> None:
    whole = losses(train_run(*MOVED, "stop.epochs=2"))
    begun = train_run(*MOVED, "stop.epochs=2", "stop.steps=31")
    assert losses(train_run(f"resume={begun.path}", "stop.steps=null")) == whole


def test_full_loss_and_validation_see_the_pictures_as_they_are(
    train_run: Callable[..., Run],
) -> None:
    def start(run: Run) -> list[str]:
        with (run.path / "epochs.csv").open() as file:
            rows = list(csv.DictReader(file))
        return [rows[0]["train/full_loss"], rows[1]["val/loss"], rows[1]["train/loss"]]

    still = ("optimizer.lr=1e-30", "stop.epochs=1")
    plain, moved = start(train_run(*still)), start(train_run(*still, *MOVED))
    assert plain[:2] == moved[:2]
    assert plain[2] != moved[2]


@pytest.mark.parametrize(
    ("overrides", "sentence"),
    [
        (["data=iris", "data.augment.shift=1"], "data.augment.shift=1 needs images"),
        (["data=wine", "data.augment.rotate=5"], "data.augment.rotate=5 needs images"),
        (["data.augment.shift=8"], "would push an image of 8x8 pixels out of sight"),
        (["data.augment.rotate=181"], "a number of at least 0 and at most 180"),
    ],
)
def test_what_cannot_be_augmented_is_refused(
    make_job: Callable[..., Any], overrides: list[str], sentence: str
) -> None:
    with pytest.raises(UserError) as caught:
        make_job(*overrides)
    assert sentence in str(caught.value)
