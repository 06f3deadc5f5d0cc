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
from descent.engine.imports import import_lightning, without_compiler
assert import_lightning()
assert "torch._dynamo" not in sys.modules and "torch._inductor" not in sys.modules
import lightning, torch
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


@pytest.mark.slow
def test_a_default_run_never_loads_the_compiler(tmp_path) -> None:
    for more in (["stop.epochs=1"], ["trainer.deterministic=true", "stop.epochs=1"]):
        code = (
            "import runpy, sys, atexit\n"
            "atexit.register(lambda: print('compiler', 'torch._dynamo' in sys.modules))\n"
            "sys.argv = sys.argv[1:]\n"
            "runpy.run_path(sys.argv[0], run_name='__main__')\n"
        )
        done = subprocess.run(
            [sys.executable, "-c", code, f"{ROOT}/src/train.py", "picture=false", *more],
            cwd=tmp_path, capture_output=True, text=True,
        )  # fmt: skip
        assert done.returncode == 0, done.stderr
        expected = "trainer.deterministic=true" in more  # whose flag is the compiler's, too
        assert f"compiler {expected}" in done.stdout


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
