"""Rows of a landscape, and runs on one."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from descent.data.landscape import landscape
from descent.errors import UserError
from descent.records.pathfile import read_path
from descent.records.run import Run

ON_BOWL = (
    *("model=point", "data=landscape", "landscape=bowl", "trainer=float64", "optimizer=sgd"),
    *("logger=none", "callbacks.checkpoint=null"),
)


def test_noise_has_mean_zero_and_the_asked_variance() -> None:
    rows = landscape("bowl", rows=500, noise=3.0).features
    assert rows.mean(axis=0) == pytest.approx([0, 0], abs=1e-12)
    assert rows.std(axis=0) == pytest.approx([3, 3])
    assert not landscape("bowl", rows=5).features.any()
    assert landscape("double_well", rows=7, noise=1.0).features.shape == (7, 1)


def test_plain_descent_on_the_bowl_shrinks_by_one_minus_lr(
    train_run: Callable[..., Run],
) -> None:
    run = train_run(*ON_BOWL, "optimizer.lr=0.3", "stop.epochs=20")
    path = read_path(run.path)
    assert path is not None
    expected = np.outer(0.7 ** np.arange(21), [4.0, 3.0])
    np.testing.assert_allclose(path.theta, expected, rtol=1e-14)
    assert path.steps.tolist() == list(range(21))
    assert path.names == ("position[0]", "position[1]")
    assert run.result()["metrics"]["train/full_loss"] == pytest.approx(12.5 * 0.7**40, rel=1e-12)


def test_a_start_on_the_command_line_is_where_the_path_begins(
    train_run: Callable[..., Run],
) -> None:
    run = train_run(*ON_BOWL, "landscape.start=[-1.5,2]", "stop.epochs=1")
    path = read_path(run.path)
    assert path is not None
    assert path.theta[0].tolist() == [-1.5, 2.0]


def test_a_mini_batch_of_a_noisy_landscape_leaves_the_full_loss_alone(
    train_run: Callable[..., Run],
) -> None:
    noisy = (*ON_BOWL, "data.batch_size=10", "data.source.noise=2.0", "stop.epochs=1")
    run = train_run(*noisy, "optimizer.lr=0.05")
    path = read_path(run.path)
    assert path is not None
    x, y = path.theta[-1]
    assert run.result()["metrics"]["train/full_loss"] == pytest.approx((x * x + y * y) / 2)
    # gradient noise of a mini-batch: the step's length beyond lr * slope, over lr
    slopes = path.theta[:-1]
    noise = (path.theta[:-1] - path.theta[1:]) / 0.05 - slopes
    # 200 numbers of standard deviation 2 / sqrt(10): their own std is known to 1 / sqrt(400) = 5%
    assert noise.std() == pytest.approx(2 / np.sqrt(10), rel=0.2)


@pytest.mark.parametrize(
    ("overrides", "sentence"),
    [
        (["model=point", "data=landscape"], "add landscape=..., one of double_well, bowl"),
        (["model=point", "landscape=bowl"], "model=point goes with data=landscape only"),
        (["data=landscape", "landscape=bowl"], "data=landscape goes with model=point only"),
        ([*ON_BOWL, "landscape.start=[11,0]"], "outside the domain of bowl: x must be"),
        ([*ON_BOWL, "landscape.start=[1]"], "has 1 numbers, but bowl needs 2"),
        ([*ON_BOWL, "landscape.name=bow"], "no landscape 'bow'; did you mean 'bowl'?"),
        ([*ON_BOWL, "model.landscape=beale"], "are not of one landscape"),
        ([*ON_BOWL, "data.scale=standardize"], "does not suit a landscape"),
        ([*ON_BOWL, "data.val_fraction=0.1"], "data.val_fraction=0.1 does not suit"),
    ],
)
def test_half_a_landscape_gets_one_sentence(
    make_job: Callable[..., object], overrides: list[str], sentence: str
) -> None:
    with pytest.raises(UserError) as caught:
        make_job(*overrides)
    assert sentence in str(caught.value)
