"""How many runs make a stack: what the cache likes, what the memory holds, what was asked."""

from __future__ import annotations

import copy
import os
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import torch
from hydra import compose, initialize_config_dir
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

import descent.cli  # noqa: F401 - registers the resolvers
from descent.config import machine
from descent.config.check import plain
from descent.data.prepare import Description, prepare
from descent.engine import grouping as sizing
from descent.engine.blueprint import build_model
from descent.engine.grouping import CACHED, MOST, USABLE, Footprint, footprint, memory, stack_size
from descent.errors import UserError

CONF = Path(__file__).parents[2] / "conf"
CPU, CUDA = torch.device("cpu"), torch.device("cuda")
KIB, MIB, GIB = 2**10, 2**20, 2**30
ROOMY = 2**60


def free(monkeypatch: pytest.MonkeyPatch, size: float) -> None:
    monkeypatch.setattr(sizing, "memory", lambda device: float(size))


# ---- auto


@pytest.mark.parametrize(("touched", "runs"), [(CACHED, 1), (CACHED // 8, 8), (CACHED // 3, 3)])
def test_a_stack_is_as_large_as_the_cache_likes(
    touched: int, runs: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    free(monkeypatch, ROOMY)
    assert stack_size("auto", Footprint(touched, GIB), CPU) == runs


def test_runs_that_exceed_the_cache_train_one_by_one(monkeypatch: pytest.MonkeyPatch) -> None:
    free(monkeypatch, ROOMY)
    assert stack_size("auto", Footprint(CACHED + 1, GIB), CPU) == 1
    assert stack_size("auto", Footprint(GIB, GIB), CPU) == 1


def test_tiny_runs_come_in_no_more_than_thousands(monkeypatch: pytest.MonkeyPatch) -> None:
    free(monkeypatch, ROOMY)
    assert stack_size("auto", Footprint(1, 1), CPU) == MOST
    assert stack_size("auto", Footprint(0, 1), CPU) == MOST


def test_a_stack_fits_into_the_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    one = Footprint(KIB, 10 * MIB)
    for count in (1, 7, 100):
        free(monkeypatch, count * one.held / USABLE)
        assert stack_size("auto", one, CPU) == count
        free(monkeypatch, count * one.held / USABLE - 1)
        assert stack_size("auto", one, CPU) == max(1, count - 1)


def test_workers_share_the_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    one = Footprint(KIB, 10 * MIB)
    free(monkeypatch, 60 * one.held / USABLE)
    assert [stack_size("auto", one, CPU, workers=n) for n in (1, 2, 4, 60, 61)] == [
        60, 30, 15, 1, 1,
    ]  # fmt: skip


def test_an_accelerator_does_not_mind_the_cache(monkeypatch: pytest.MonkeyPatch) -> None:
    one = Footprint(GIB, MIB)
    free(monkeypatch, 50 * one.held / USABLE)
    assert stack_size("auto", one, CPU) == 1
    assert stack_size("auto", one, CUDA) == 50
    free(monkeypatch, ROOMY)
    assert MOST < stack_size("auto", one, CUDA) < 10 * MOST


@given(
    touched=st.integers(0, 2**40), held=st.integers(1, 2**40), there=st.integers(0, 2**45),
    workers=st.integers(1, 100), device=st.sampled_from([CPU, CUDA]),
)  # fmt: skip
def test_auto_is_never_below_one_and_fits_wherever_one_does(
    touched: int, held: int, there: int, workers: int, device: torch.device
) -> None:
    with pytest.MonkeyPatch.context() as patch:
        free(patch, there)
        size = stack_size("auto", Footprint(touched, held), device, workers)
    assert size >= 1
    assert size == 1 or size * held <= there * USABLE / workers
    assert size == 1 or device is CUDA or size * touched <= CACHED


# ---- a number


def test_what_was_asked_is_what_there_is_whatever_the_cache(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    free(monkeypatch, 8 * GIB)
    one = Footprint(touched=GIB, held=GIB)
    limit = int(8 * USABLE)
    assert [stack_size(n, one, CPU) for n in range(1, limit + 1)] == list(range(1, limit + 1))
    assert stack_size(10 * MOST, Footprint(KIB, KIB), CPU) == 10 * MOST


def test_more_than_fits_is_refused_with_both_figures(monkeypatch: pytest.MonkeyPatch) -> None:
    free(monkeypatch, 5 * GIB / USABLE)
    one = Footprint(touched=KIB, held=2 * MIB)
    assert stack_size(2560, one, CPU) == 2560
    with pytest.raises(UserError) as error:
        stack_size(2561, one, CPU)
    assert str(error.value) == (
        "A stack of 2,561 runs needs 5.0 GiB, and 5.0 GiB are there for one worker; "
        "set hydra.launcher.stack to at most 2,560, or auto."
    )
    with pytest.raises(UserError) as error:
        stack_size(3072, one, CPU, workers=4)
    assert str(error.value) == (
        "A stack of 3,072 runs needs 6.0 GiB, and 1.2 GiB are there for one worker; "
        "set hydra.launcher.stack to at most 640, or auto."
    )


def test_the_number_that_is_advised_is_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    free(monkeypatch, 3.7 * GIB)
    one = Footprint(touched=KIB, held=7 * MIB)
    with pytest.raises(UserError, match="at most") as error:
        stack_size(10_000, one, CPU)
    advised = int(str(error.value).split("at most ")[1].split(", or")[0].replace(",", ""))
    assert stack_size(advised, one, CPU) == advised
    with pytest.raises(UserError):
        stack_size(advised + 1, one, CPU)


def test_one_run_at_a_time_is_never_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    free(monkeypatch, MIB)
    assert stack_size("auto", Footprint(KIB, GIB), CPU) == 1
    assert stack_size(1, Footprint(KIB, GIB), CPU) == 1


# ---- what one run takes


@cache
def resolved(*typed: str) -> dict[str, Any]:
    with initialize_config_dir(str(CONF), version_base="1.3"):
        return plain(compose("train", overrides=list(typed)))


def taken(*typed: str, **data: Any) -> Footprint:
    config = copy.deepcopy(resolved(*typed))
    config["data"] |= data
    prepared = prepare(config["data"])
    return footprint(
        config, build_model(config, Description.from_dict(prepared.describe())), prepared
    )


def test_a_run_holds_at_least_its_weights_gradients_optimizer_and_path() -> None:
    config = resolved("data=wine", "model.hidden=[32]", "optimizer=adam")
    prepared = prepare(config["data"])
    model = build_model(config, Description.from_dict(prepared.describe()))
    optimizer = torch.optim.Adam(model.parameters())
    outputs = model(torch.zeros(16, 13))
    outputs.sum().backward()
    optimizer.step()
    weights = list(model.parameters())
    state = [t for own in optimizer.state.values() for t in own.values() if t.ndim]
    parts = [*weights, *(p.grad for p in weights), *state, outputs]
    path = config["callbacks"]["path"]["most_mib"] * MIB
    assert footprint(config, model, prepared).held >= sum(t.nbytes for t in parts) + path
    assert footprint(config, model, prepared).touched >= sum(t.nbytes for t in parts[:-1])


def test_wider_models_larger_batches_and_longer_numbers_take_more() -> None:
    few = taken("data=wine", "model.hidden=[32]", "callbacks.path=null")
    double = taken("data=wine", "model.hidden=[32]", "callbacks.path=null", "trainer=float64")
    assert (double.touched, double.held) == (2 * few.touched, 2 * few.held)
    wide = taken("data=wine", "model.hidden=[320]", "callbacks.path=null")
    rows = taken("data=wine", "model.hidden=[32]", "callbacks.path=null", batch_size="full")
    for more in (wide, rows):
        assert more.touched > few.touched
        assert more.held > few.held


def test_a_path_is_held_and_not_touched() -> None:
    typed = ("data=wine", "model.hidden=[32]")
    none, some = taken(*typed, "callbacks.path=null"), taken(*typed, "callbacks.path.most_mib=3")
    assert 2.9 * MIB < some.held - none.held <= 3 * MIB  # whole places
    small = taken(*typed, "callbacks.path.points=40")
    assert small.held - none.held == 40 * 4 * (13 * 32 + 32 + 32 * 3 + 3)
    assert some.touched == none.touched


def test_a_module_of_a_users_own_is_measured_too() -> None:
    config = resolved("data=wine", "model.hidden=[32]", "callbacks.path=null")
    one = footprint(config, nn.PReLU(1), prepare(config["data"]))
    assert 0 < one.touched < one.held


# ---- memory


def test_the_memory_that_is_free_is_some_of_all() -> None:
    whole = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    assert 0 < memory(CPU) <= whole


def test_where_nobody_tells_what_is_free_there_is_all(monkeypatch: pytest.MonkeyPatch) -> None:
    def no_such_file(*_: Any, **__: Any) -> None:
        raise FileNotFoundError

    monkeypatch.setattr(Path, "open", no_such_file)
    assert memory(CPU) == os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_a_gpus_own_memory_counts() -> None:
    assert 0 < memory(CUDA) <= torch.cuda.get_device_properties(0).total_memory


# ---- models of others


class Wide(nn.Module):
    """Asks for what there may be no memory for."""

    def __init__(self, in_features: int, out_features: int, width: int, depth: int = 1) -> None:
        super().__init__()
        self.first = nn.Linear(in_features, width, bias=False)
        self.more = nn.ModuleList(nn.Linear(width, width) for _ in range(depth))
        self.last = nn.Linear(width, out_features)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return a number a class."""
        return self.last(self.first(x))  # type: ignore[no-any-return]


@pytest.mark.parametrize(
    ("width", "depth", "says"),
    [
        (2_000_000, 1, r"makes a tensor of \[2000000, 2000000\], which needs 14,901\.2 GiB"),
        (3200, 1, r"Wide makes 10,294,403 parameters, .* \(4 numbers each\) needs 0\.1 GiB"),
    ],
)
def test_a_model_of_others_that_does_not_fit_is_refused_before_it_is_allocated(
    width: int, depth: int, says: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(machine, "free_memory", lambda: 0.1 * GIB)
    config = copy.deepcopy(resolved("data=wine", "optimizer=momentum"))
    description = Description.from_dict(prepare(config["data"]).describe())
    config["model"] = {"_target_": f"{__name__}.Wide", "width": width, "depth": depth}
    with pytest.raises(UserError, match=says):
        build_model(config, description)
