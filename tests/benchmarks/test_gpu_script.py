"""`make bench-gpu` on a CPU: the script's code works before there is a GPU to run it on."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
import torch

SCRIPT = Path(__file__).with_name("gpu.py")
SHORT = "import runpy, sys; m = runpy.run_path(sys.argv[1]); m['main']('cpu', (1, 3), 1, 1)"


@pytest.mark.slow
def test_the_gpu_script_prints_its_tables_on_a_cpu() -> None:
    done = subprocess.run(
        [sys.executable, "-c", SHORT, str(SCRIPT)], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr[-2000:]
    lines = (
        "| linear | 0.0e+00 |", "| MLP, as graphs | ", "| MLP 64-128-128-10 | 3 |",
        "| MLP | plain Lightning |", "| linear 10-1 | 3 | cpu",
    )  # fmt: skip
    for line in lines:
        assert line in done.stdout
    assert "could not be measured" not in done.stdout


@pytest.mark.slow
@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_without_a_gpu_the_script_says_so() -> None:
    done = subprocess.run(
        [sys.executable, str(SCRIPT)], capture_output=True, text=True, check=False
    )
    assert done.returncode == 2
    assert done.stderr == "error: no CUDA device is found; `gpu.py cpu` tries the script out.\n"
