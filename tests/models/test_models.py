"""Shapes, activations and initialisation of the models."""

from __future__ import annotations

import math
from itertools import pairwise

import pytest
import torch
from torch import nn
from torch.nn import functional

from descent.models.init import NORMAL_STD, init_linear
from descent.models.linear import Linear
from descent.models.mlp import ACTIVATIONS, MLP

FORMULAS = {
    "relu": functional.relu,
    "gelu": lambda x: x * (1 + torch.erf(x / math.sqrt(2))) / 2,
    "silu": lambda x: x * torch.sigmoid(x),
    "tanh": torch.tanh,
    "sigmoid": lambda x: 1 / (1 + torch.exp(-x)),
    "elu": lambda x: torch.where(x > 0, x, torch.expm1(x)),
    "leaky_relu": lambda x: torch.where(x > 0, x, 0.01 * x),
}


def linears(model: nn.Module) -> list[nn.Linear]:
    return [m for m in model.modules() if isinstance(m, nn.Linear)]


def test_a_linear_model_starts_at_zero_and_has_a_bias_unless_told():
    model = Linear(4, 3)
    assert [tuple(p.shape) for p in model.parameters()] == [(3, 4), (3,)]
    assert all((p == 0).all() for p in model.parameters())
    assert [tuple(p.shape) for p in Linear(4, 3, bias=False).parameters()] == [(3, 4)]


def test_a_linear_model_is_w_x_plus_b():
    model, x = Linear(4, 3, init="xavier"), torch.randn(5, 4)
    nn.init.normal_(model.layer.bias)
    wanted = torch.einsum("cf,bf->bc", model.layer.weight, x) + model.layer.bias
    torch.testing.assert_close(model(x), wanted)


@pytest.mark.parametrize("hidden", [(), (7,), (7, 5, 6)])
def test_an_mlp_has_the_widths_it_was_given(hidden):
    model = MLP(4, 3, hidden=hidden)
    widths = [4, *hidden, 3]
    shapes = [tuple(layer.weight.shape) for layer in linears(model)]
    assert shapes == [(out, into) for into, out in pairwise(widths)]
    assert model(torch.randn(5, 4)).shape == (5, 3)


def test_an_mlp_without_hidden_layers_is_linear():
    model, x, y = MLP(4, 2, hidden=()), torch.randn(5, 4), torch.randn(5, 4)
    torch.testing.assert_close(model(x + y), model(x) + model(y))  # biases are 0


@pytest.mark.parametrize("name", ACTIVATIONS)
def test_activations_are_what_their_names_say(name):
    model, x = MLP(3, 2, hidden=(4,), activation=name), torch.randn(6, 3)
    first, last = linears(model)
    torch.testing.assert_close(model(x), last(FORMULAS[name](first(x))))


def test_every_activation_has_a_formula():
    assert set(FORMULAS) == set(ACTIVATIONS)


def test_dropout_acts_in_training_on_hidden_units_only():
    torch.manual_seed(0)
    model, x = MLP(3, 500, hidden=(1000,), dropout=0.25), torch.rand(1, 3)
    hidden = model.layers[:3]
    before, after = model.layers[:2](x), hidden(x)
    alive = before > 0
    kept = after[alive] != 0
    torch.testing.assert_close(after[alive][kept], before[alive][kept] / 0.75)
    # a binomial share of n units has standard deviation sqrt(.25 * .75 / n)
    n = int(alive.sum())
    assert abs(float(kept.float().mean()) - 0.75) < 5 * math.sqrt(0.25 * 0.75 / n)
    assert not torch.equal(model(x), model(x))
    model.eval()
    assert torch.equal(model(x), model(x))
    assert not any(isinstance(m, nn.Dropout) for m in MLP(3, 2).modules())


@pytest.fixture
def layer() -> nn.Linear:
    """A layer of 120,000 weights, with biases away from 0."""
    torch.manual_seed(0)
    made = nn.Linear(400, 300)
    nn.init.ones_(made.bias)
    return made


# a sample standard deviation of n normal values is off by a share of 1 / sqrt(2 n) = 0.2%
STATISTICAL = 5 / math.sqrt(2 * 120_000)


@pytest.mark.parametrize(("nonlinearity", "gain"), [("relu", math.sqrt(2)), ("linear", 1.0)])
def test_kaiming_is_normal_with_the_gain_over_the_root_of_fan_in(nonlinearity, gain, layer):
    init_linear(layer, "kaiming", nonlinearity)
    assert float(layer.weight.detach().std()) == pytest.approx(
        gain / math.sqrt(400), rel=STATISTICAL
    )
    # a normal distribution has kurtosis 3, a uniform one 1.8; the sample's is off by sqrt(24 / n)
    z = (layer.weight / layer.weight.std()).detach()
    assert float((z**4).mean()) == pytest.approx(3, abs=5 * math.sqrt(24 / 120_000))


def test_xavier_is_uniform_up_to_the_root_of_six_over_both_fans(layer):
    init_linear(layer, "xavier")
    bound = math.sqrt(6 / (400 + 300))
    assert float(layer.weight.detach().abs().max()) <= bound
    assert float(layer.weight.detach().std()) == pytest.approx(
        bound / math.sqrt(3), rel=STATISTICAL
    )


def test_normal_is_small(layer):
    init_linear(layer, "normal")
    assert float(layer.weight.detach().std()) == pytest.approx(NORMAL_STD, rel=STATISTICAL)


def test_zeros_are_zeros(layer):
    init_linear(layer, "zeros")
    assert not layer.weight.any()


@pytest.mark.parametrize("scheme", ["kaiming", "xavier", "normal", "zeros"])
def test_biases_start_at_zero(scheme, layer):
    init_linear(layer, scheme)
    assert not layer.bias.any()
    init_linear(nn.Linear(2, 2, bias=False), scheme)  # and need not be there


def test_an_mlp_gives_relu_gain_to_hidden_layers_and_none_to_the_last():
    torch.manual_seed(0)
    first, last = linears(MLP(400, 300, hidden=(300,)))
    assert float(first.weight.detach().std()) == pytest.approx(math.sqrt(2 / 400), rel=STATISTICAL)
    error = 5 / math.sqrt(2 * 300 * 300)
    assert float(last.weight.detach().std()) == pytest.approx(math.sqrt(1 / 300), rel=error)
