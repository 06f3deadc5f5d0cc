"""What importing Lightning is spared, that nothing of it stays, and where it cannot be."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from descent.engine.imports import import_lightning

ROOT = Path(__file__).parents[2]

SPARED = """
import sys
from pathlib import Path
from descent.engine.imports import import_lightning, without_compiler, without_metrics
try:
    with without_metrics():
        import torchmetrics.metric
        raise ImportError
except ImportError:  # nothing stays, so that all can be imported as it is
    assert not any(name.startswith("torchmetrics") for name in sys.modules)
assert import_lightning()
assert "torch._dynamo" not in sys.modules and "torch._inductor" not in sys.modules
assert not {"torchmetrics.functional", "scipy", "matplotlib"} & set(sys.modules)
import lightning, torch, torchmetrics
from lightning.pytorch.core.module import Metric, MetricCollection
assert torchmetrics.__version__[0].isdigit() and "torchmetrics.functional" not in sys.modules
from torchmetrics.classification import BinaryAccuracy  # a module of it can be imported
assert isinstance(BinaryAccuracy(), Metric)
assert torchmetrics.Accuracy and torchmetrics.functional.accuracy  # any name makes it whole
assert torchmetrics.Metric is Metric and torchmetrics.MetricCollection is MetricCollection
figure, _ = torchmetrics.MeanMetric().plot(torch.ones(()))  # what was put off is done
assert figure.axes
with without_compiler():
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=0.1)
assert "torch._dynamo" not in sys.modules
from lightning.fabric.wrappers import OptimizedModule
plain = torch.nn.Linear(2, 2)
assert not isinstance(plain, OptimizedModule)
# whoever compiles loads the compiler, and Lightning knows what is compiled
compiled = torch.compile(plain)
assert "torch._dynamo" in sys.modules and isinstance(compiled, OptimizedModule)
assert type(compiled) is torch._dynamo.OptimizedModule
optimizer.zero_grad()
optimizer.state_dict()
"""


@pytest.mark.slow
def test_lightning_is_imported_without_the_compiler_which_comes_when_it_is_asked_for() -> None:
    done = subprocess.run([sys.executable, "-c", SPARED], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


# what takes long to import and no run on a bundled table needs
NEVER = (
    "torch._dynamo", "torch._inductor", "sympy", "torchmetrics.functional", "scipy", "sklearn",
    "pandas", "narwhals", "networkx", "matplotlib.pyplot", "IPython",
)  # fmt: skip


@pytest.mark.slow
def test_a_run_never_loads_what_it_has_no_use_for(tmp_path) -> None:
    compiler = {"torch._dynamo", "torch._inductor", "sympy"}
    for more, expected in (
        (["picture=true"], set()),
        (["data=diabetes", "model=linear", "picture=false"], set()),
        (["trainer.deterministic=true"], compiler),  # whose flag is the compiler's, too
    ):
        code = (
            "import runpy, sys, atexit\n"
            "def tell():\n"
            f"    print('loaded', *(m for m in {NEVER} if m in sys.modules))\n"
            "atexit.register(tell)\n"
            "sys.argv = sys.argv[1:]\n"
            "runpy.run_path(sys.argv[0], run_name='__main__')\n"
        )
        done = subprocess.run(
            [sys.executable, "-c", code, f"{ROOT}/src/train.py", "stop.epochs=1", *more],
            cwd=tmp_path, capture_output=True, text=True,
        )  # fmt: skip
        assert done.returncode == 0, done.stderr
        loaded = next(line for line in done.stdout.splitlines() if line.startswith("loaded"))
        assert set(loaded.split()[1:]) <= expected, more


def test_where_lightning_needs_more_of_the_compiler_it_is_imported_as_it_is(monkeypatch) -> None:
    for name in [
        n for n in sys.modules if n.split(".")[:2] in (["torch", "_dynamo"], ["torch", "_inductor"])
    ]:
        monkeypatch.delitem(sys.modules, name)
    calls = []

    def load() -> None:
        calls.append("torch._dynamo" in sys.modules)
        if calls == [True]:  # a release that asks for what the stand-in has not
            import torch._dynamo

            torch._dynamo.something_new  # noqa: B018

    assert not import_lightning(load)
    assert calls == [True, False]
