"""Memory while a stack trains: what hundreds of epochs leave behind."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

EPOCHS, AFTER = 500, 200


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="Linux tells memory there")
def test_memory_does_not_grow_with_the_epochs(tmp_path: Path) -> None:
    script = Path(__file__).parent / "resident.py"
    command = [sys.executable, str(script), str(tmp_path), str(EPOCHS)]
    done = subprocess.run(command, check=True, capture_output=True, text=True, timeout=300)
    seen = json.loads(done.stdout.splitlines()[-1])
    assert len(seen) == EPOCHS
    # by the slope, since caches of the allocator come and go; it was 0.2 MB an epoch
    slope, _ = np.polyfit(np.arange(AFTER, EPOCHS), seen[AFTER:], 1)
    assert slope < 0.01
