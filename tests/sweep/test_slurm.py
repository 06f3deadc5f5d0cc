"""Array jobs by submitit: with programs of SLURM's names that start them on this machine."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from descent.errors import UserError
from descent.sweep import slurm
from descent.sweep.workers import Died, Workers, run_tasks

ROOT = Path(__file__).parents[2]
LIMIT = 3

PROGRAMS = {
    # starts each task of an array, and notes what was asked for and what has ended
    "sbatch": r"""
file="${@: -1}"
cp "$file" "$FAKE/submitted.$(ls "$FAKE" | wc -l).sh"
last=$(sed -n 's/^#SBATCH --array=0-\([0-9]*\)%.*/\1/p' "$file")
id=$((700 + $(ls "$FAKE" | wc -l)))
export SLURM_JOB_ID=$id SLURM_JOB_NUM_NODES=1 SLURM_NODEID=0 SLURM_NTASKS=1 SLURM_PROCID=0 \
  SLURM_LOCALID=0 SLURM_JOB_NODELIST=here SLURM_TASKS_PER_NODE=1
for task in $(seq 0 "${last:-0}"); do
  (
    name=$id
    if [ -n "$last" ]; then
      export SLURM_ARRAY_JOB_ID=$id SLURM_ARRAY_TASK_ID=$task; name=${id}_$task
    fi
    bash "$file"; echo "$name|FAILED|here" >> "$FAKE/ended"
  ) > /dev/null 2>&1 &
done
echo "Submitted batch job $id"
""",
    "srun": r"""
while true; do
  case "$1" in
    --unbuffered) shift ;;
    --output | --error) shift 2 ;;
    *) exec "$@" ;;
  esac
done
""",
    "sacct": 'echo "JobID|State|NodeList"; cat "$FAKE/ended" 2> /dev/null; true',
    "scontrol": f'[ "$2" = config ] && echo "MaxArraySize            = {LIMIT}" || echo here',
    "scancel": 'echo "$1" >> "$FAKE/cancelled"',
}


@pytest.fixture
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Put the programs on the path; return where they note what they did."""
    pytest.importorskip("submitit", reason="make test-slow installs submitit")
    notes, programs = tmp_path / "notes", tmp_path / "bin"
    notes.mkdir()
    programs.mkdir()
    for name, text in PROGRAMS.items():
        (programs / name).write_text(f"#!/bin/bash\n{text}\n")
        (programs / name).chmod(0o755)
    monkeypatch.setenv("PATH", f"{programs}{os.pathsep}{os.environ['PATH']}")
    monkeypatch.setenv("FAKE", str(notes))
    return notes


def arrays(notes: Path) -> list[int]:
    """Return the size of each array that was submitted."""
    texts = [path.read_text() for path in sorted(notes.glob("submitted.*"))]
    found = [re.search(r"^#SBATCH --array=0-(\d+)%", text, re.M) for text in texts]
    return [1 if one is None else int(one[1]) + 1 for one in found]


@pytest.mark.slow
def test_tasks_go_in_arrays_of_the_sites_size_and_a_death_is_one_tasks(
    site: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(slurm, "ASK_SECONDS", 1.0)
    asked = {"partition": "small", "minutes": 7, "extra": {"mail-user": "me"}, "account": None}
    workers = Workers("slurm", 2, None, tmp_path / "jobs", asked)

    def work(task: int) -> int:
        import os

        assert os.environ["OMP_NUM_THREADS"] == "1"
        if task == 3:
            os.kill(os.getpid(), 9)
        return task**2

    found: list[Any] = list(run_tasks(range(5), work, lambda task: [task], workers))
    assert sorted(r for r in found if not isinstance(r, Died)) == [0, 1, 4, 16]
    assert [r.task for r in found if isinstance(r, Died)] == [3]
    sizes = arrays(site)
    assert sizes[0] == LIMIT == max(sizes)
    text = next(site.glob("submitted.0.sh")).read_text()
    for line in ("partition=small", "time=7", "mail-user=me", f"array=0-{LIMIT - 1}%2"):
        assert f"#SBATCH --{line}" in text
    assert "account" not in text
    assert (tmp_path / "jobs").is_dir(), "the logs of what died are gone"


@pytest.mark.slow
def test_a_sweep_is_an_array_and_can_be_gone_on_with(
    site: Path, tmp_path: Path, type_command: Callable[..., subprocess.CompletedProcess[str]]
) -> None:
    words = ["-m", "data=iris", "model=linear", "stop.epochs=2", "optimizer.lr=0.1,0.2",
             "data.batch_size=8,16", "hydra.launcher.engine=slurm", "report=false",
             "hydra.sweep.dir=there"]  # fmt: skip
    done = type_command("train", *words)
    assert done.returncode == 0, done.stderr
    assert "4 runs: 4 ok" in done.stdout
    assert arrays(site) == [2]  # two stacks
    assert not (tmp_path / "there" / "slurm").exists()
    again = type_command("train", *words[:-1], "seed=0,1", "sweep_dir=there")
    assert again.returncode == 0, again.stderr
    assert "8 runs: 8 ok" in again.stdout


@pytest.mark.parametrize(
    ("given", "sentence"),
    [
        ({}, r"^engine=slurm needs SLURM's srun and sbatch, which are not found here; "),
        ({"cluster": "pbs"}, r"^hydra.launcher.slurm.cluster=pbs does not fit: it must be slurm"),
    ],
)
def test_what_is_not_there_is_one_sentence(
    given: dict[str, str], sentence: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(slurm.importlib, "import_module", lambda name: sys)
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(UserError, match=sentence):
        slurm.Slurm(None, tmp_path / "jobs", given, {})
    assert list(tmp_path.iterdir()) == []


def test_without_submitit_it_says_how_to_get_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "submitit", None)
    with pytest.raises(UserError, match=r"need the package 'submitit', .*\.\[slurm\]"):
        slurm.Slurm(None, tmp_path / "jobs", {}, {})


def test_a_site_that_does_not_say_has_slurms_own_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "/nowhere")
    assert slurm.array_limit() == slurm.MOST
