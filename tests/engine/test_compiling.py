"""`trainer.compile`: when steps are compiled, what is refused, that they stay the same steps."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import polars as pl
import pytest
import torch

from descent.assembly import assemble
from descent.engine import compiling
from descent.engine.compiling import LOOK, Compiler, repays
from descent.engine.module_kernel import ModuleKernel
from descent.engine.stacked_kernel import StackedKernel
from descent.errors import UserError

ROOT = Path(__file__).parents[2]
CPU = torch.device("cpu")


@pytest.fixture(autouse=True)
def a_compiler(monkeypatch: pytest.MonkeyPatch) -> list[object]:
    """Let there be a C++ compiler, and note what is handed to torch's."""
    handed: list[object] = []

    def compiled(objective, device):
        handed.append(objective)
        return lambda x, y: objective(x, y)

    monkeypatch.setattr(compiling, "compiled", compiled)
    monkeypatch.setattr(compiling.shutil, "which", lambda name: f"/usr/bin/{name}")
    return handed


def windows(compiler: Compiler, each: list[float], longest: float) -> list[bool]:
    """Return for windows of LOOK steps, of so many seconds a step, whether they are compiled."""
    learner, original = SimpleNamespace(step=0, seconds=0.0, longest=longest), object()
    objective, found = original, []
    for seconds in each:
        objective = compiler.window(objective, learner)
        found.append(objective is not original)
        learner.step += LOOK
        learner.seconds += seconds * LOOK
    return found


def test_true_compiles_from_the_first_window_on(a_compiler) -> None:
    assert windows(Compiler(True, CPU), [1, 1, 1], 300) == [True] * 3
    assert len(a_compiler) == 1


def test_auto_looks_first_and_keeps_what_is_faster(caplog) -> None:
    caplog.set_level("INFO")
    taken = windows(Compiler("auto", CPU), [1, 9, 0.7, 0.7, 0.7], 10_000)  # 9: it compiles
    assert taken == [False, True, True, True, True]
    assert "7e+02 ms a step and 1e+03 ms as it was" in caplog.text


def test_auto_goes_back_from_what_is_slower(caplog) -> None:
    caplog.set_level("INFO")
    taken = windows(Compiler("auto", CPU), [1, 9, 1.2, 1, 1], 10_000)
    assert taken == [False, True, True, False, False]
    assert "compiled  no: 1.2e+03 ms a step and 1e+03 ms as it was" in caplog.text


def test_auto_leaves_alone_what_would_not_repay_it(a_compiler, caplog) -> None:
    caplog.set_level("INFO")
    assert windows(Compiler("auto", CPU), [1e-3] * 4, 460) == [False] * 4
    assert a_compiler == []
    assert "compiled  no: 360 steps of 1 ms would not repay it" in caplog.text


def test_it_pays_when_a_fifth_of_the_steps_left_is_more_than_a_minute() -> None:
    assert not repays(1e-3, 299_999)
    assert repays(1e-3, 300_001)
    assert repays(1e-3, float("inf"))


def test_without_a_compiler_it_says_so(monkeypatch, caplog) -> None:
    caplog.set_level("INFO")
    monkeypatch.setattr(compiling.shutil, "which", lambda name: None)
    monkeypatch.delenv("CXX", raising=False)
    with pytest.raises(UserError, match=r"needs a C\+\+ compiler, and g\+\+ or clang\+\+ is not"):
        Compiler(True, CPU)
    assert windows(Compiler("auto", CPU), [1] * 3, 1e9) == [False] * 3
    assert "compiled  no: on a CPU torch.compile needs a C++ compiler" in caplog.text


def test_a_run_that_asks_for_it_takes_autograds_steps(make_job) -> None:
    plain, asked, auto = (
        assemble(make_job("data=three_points", "model=linear", *more))[0].kernel
        for more in ((), ("trainer.compile=true",), ("trainer.compile=auto",))
    )
    assert isinstance(plain, StackedKernel)
    assert isinstance(auto, StackedKernel)  # by hand: there is nothing to compile
    assert isinstance(asked, ModuleKernel)
    assert asked.compiler is not None


@pytest.mark.parametrize(
    ("typed", "why"),
    [
        ("trainer.detect_anomaly=true", "trainer.detect_anomaly=true looks into autograd"),
        ("trainer.devices=2", "trainer.devices=2 share a step"),
    ],
)
def test_what_cannot_be_compiled_is_refused(typed: str, why: str, make_job) -> None:
    with pytest.raises(UserError, match=rf"trainer\.compile=true cannot be done: {why}"):
        assemble(make_job("data=three_points", "model=linear", "trainer.compile=true", typed))


@pytest.mark.slow
def test_compiled_steps_are_those_of_autograd(tmp_path: Path) -> None:
    """To 1e-10 of each loss in float64, dropout's draws included."""
    losses = []
    for more in ("trainer.compile=true", "trainer.derivatives=autograd"):
        run = tmp_path / more
        typed = ("trainer=float64", "model.dropout=0.2", "stop.steps=30", "picture=false", more)
        done = subprocess.run(
            [sys.executable, ROOT / "src" / "train.py", *typed, f"hydra.run.dir='{run}'"],
            cwd=tmp_path, capture_output=True, text=True,
        )  # fmt: skip
        assert done.returncode == 0, done.stderr
        assert ("compiled  forward and backward" in done.stdout) == ("compile" in more)
        losses.append(pl.read_csv(run / "steps.csv")["loss"])
    torch.testing.assert_close(*map(torch.tensor, losses), rtol=1e-10, atol=0)
