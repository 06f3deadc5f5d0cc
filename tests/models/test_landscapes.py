"""Landscapes: known places are stationary and of the kind they are said to be."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from descent.errors import UserError
from descent.models.landscapes import LANDSCAPES, Landscape, landscape_named
from descent.models.point import Point

PLACES = [
    (landscape, kind, place)
    for landscape in LANDSCAPES.values()
    for kind in ("minima", "local_minima", "saddles")
    for place in getattr(landscape, kind)
]


@pytest.mark.parametrize(("ground", "kind", "place"), PLACES, ids=lambda v: getattr(v, "name", v))
def test_a_known_place_is_stationary_and_of_its_kind(
    ground: Landscape, kind: str, place: tuple[float, ...]
) -> None:
    def f(theta: torch.Tensor) -> torch.Tensor:
        return ground.function(*theta)

    theta = torch.tensor(place, dtype=torch.float64)
    curvatures = torch.linalg.eigvalsh(torch.func.hessian(f)(theta))
    # coordinates have 16 digits, so a gradient may be off by curvature * 1e-15 * |theta|
    assert torch.func.grad(f)(theta).abs().max() < 1e-13 * curvatures.abs().max()
    if kind == "saddles":
        assert curvatures[0] < 0 < curvatures[-1]
    else:
        assert curvatures[0] > 0
        on_top = f(theta) - ground.lowest
        assert on_top < 1e-12 if kind == "minima" else on_top > 0.1
    assert all(low <= x <= high for x, (low, high) in zip(place, ground.domain, strict=True))


@pytest.mark.parametrize("ground", LANDSCAPES.values(), ids=lambda g: g.name)
def test_nothing_within_the_domain_lies_below_the_global_minima(ground: Landscape) -> None:
    axes = [np.linspace(low, high, 401) for low, high in ground.domain]
    heights = ground.function(*np.meshgrid(*axes))
    assert heights.min() >= ground.lowest - 1e-12
    assert heights.min() < ground.lowest + 0.1  # and the grid comes near them


@pytest.mark.parametrize("ground", LANDSCAPES.values(), ids=lambda g: g.name)
def test_arrays_and_tensors_give_the_same_heights(ground: Landscape) -> None:
    rng = np.random.default_rng(0)
    places = [rng.uniform(low, high, 50) for low, high in ground.domain]
    tensors = [torch.from_numpy(p) for p in places]
    np.testing.assert_allclose(
        ground.function(*tensors).numpy(), ground.function(*places), rtol=1e-12
    )


def test_the_published_values() -> None:
    assert LANDSCAPES["rosenbrock"].function(-1.2, 1.0) == pytest.approx(24.2)
    assert LANDSCAPES["himmelblau"].function(0.0, 0.0) == 170.0
    assert LANDSCAPES["beale"].function(1.0, 1.0) == 14.203125
    assert LANDSCAPES["double_well"].function(1.0) == pytest.approx(125 / 48, abs=1e-15)


def test_an_unknown_name_gets_a_suggestion() -> None:
    with pytest.raises(UserError, match=r"no landscape 'rosenbrok'; did you mean 'rosenbrock'\?"):
        landscape_named("rosenbrok")


@pytest.mark.parametrize(
    ("start", "sentence"),
    [
        (
            (1.0,),
            "landscape.start=[1] has 1 numbers, but bowl needs 2; give landscape.start=[x,y].",
        ),
        ((1.0, 20.0), "lies outside the domain of bowl: y must be from -10 to 10."),
        ((float("nan"), 0.0), "x must be from -10 to 10."),
    ],
)
def test_a_start_that_does_not_fit_is_refused(start: tuple[float, ...], sentence: str) -> None:
    with pytest.raises(UserError) as caught:
        Point("bowl", start)
    assert sentence in str(caught.value)


def test_each_row_sees_the_slope_and_its_own_noise() -> None:
    point = Point("valley", [3.0, -1.0])
    z = torch.tensor([[0.5, -2.0], [1.5, 1.0]], dtype=torch.float64)
    losses = point(z)
    assert losses.shape == (2, 1)
    # 0.1 * 9 + 2 * 1 = 2.9, and z theta = 1.5 + 2 = 3.5 and 4.5 - 1 = 3.5
    assert losses[:, 0].tolist() == pytest.approx([6.4, 6.4])
    losses[0, 0].backward()
    # slope (0.2 x, 4 y) = (0.6, -4) plus the row's noise
    assert point.position.grad is not None
    assert point.position.grad.tolist() == pytest.approx([1.1, -6.0])
