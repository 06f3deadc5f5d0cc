"""Files are written whole or not at all, never through a link, and nobody else's is removed."""

from __future__ import annotations

import errno
import io
import os
import subprocess
import sys
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import matplotlib.figure
import numpy as np
import polars as pl
import pytest
import torch

from descent.errors import UserError, WriteError
from descent.files.atomic import Growing, clear, foreign, replacing, together, write
from descent.files.claims import LOCK, claim, hold, let_go, undo

OPERATIONS = ("open", "write", "fsync", "rename", "replace", "mkdir")


@pytest.fixture
def operations(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What is done to files from now on, in order: the operation and the file it is done to."""
    done: list[str] = []
    names: dict[int, str] = {}

    def watch(name: str) -> None:
        real = getattr(os, name)

        def watched(*given: object, **options: object) -> object:
            result = real(*given, **options)
            if name == "open":
                names[result] = Path(str(given[0])).name
            at = names.get(given[0], "") if isinstance(given[0], int) else Path(str(given[0])).name
            done.append(f"{name} {'part' if at.endswith('.part') else at}")
            return result

        monkeypatch.setattr(os, name, watched)

    for name in OPERATIONS:
        watch(name)
    return done


def test_a_file_is_on_the_disk_before_it_has_its_name(tmp_path, operations):
    write(tmp_path / "a.json", "{}")
    assert operations == [
        "open part", "write part", "fsync part", "replace part",
        f"open {tmp_path.name}", f"fsync {tmp_path.name}",
    ]  # fmt: skip


def test_files_written_together_are_synced_at_the_end_of_the_block(tmp_path, operations):
    with together():
        write(tmp_path / "a", "1")
        write(tmp_path / "b", "2")
        assert not [o for o in operations if o.startswith("fsync")]
        assert list(tmp_path.glob("[ab]")) == []  # an empty file would have its name
    synced = [o for o in operations if o.startswith(("fsync", "replace"))]
    home = f"fsync {tmp_path.name}"
    assert synced == [
        "fsync part", "fsync part", home, "replace part", "replace part", "fsync a", "fsync b", home
    ]  # fmt: skip


def test_of_files_written_together_all_or_none_get_their_names(tmp_path):
    with suppress(ZeroDivisionError), together():
        write(tmp_path / "a", str(1 / 1))
        write(tmp_path / "b", str(1 / 0))
    assert list(tmp_path.iterdir()) == []


def figure_pdf(file: io.IOBase) -> None:
    figure = matplotlib.figure.Figure()
    figure.add_subplot().plot([0, 1])
    figure.savefig(file, format="pdf")


LIBRARIES: dict[str, Callable[[io.IOBase], object]] = {
    "torch": lambda file: torch.save({"a": torch.zeros(40_000)}, file),
    "numpy": lambda file: np.savez(file, a=np.zeros(40_000)),
    "polars csv": lambda file: pl.DataFrame({"a": range(40_000)}).write_csv(file),
    "polars parquet": lambda file: pl.DataFrame({"a": range(40_000)}).write_parquet(file),
    "polars arrow": lambda file: pl.DataFrame({"a": range(40_000)}).write_ipc(file),
    "matplotlib": figure_pdf,
}


@pytest.mark.parametrize("library", LIBRARIES)
def test_a_library_writes_what_it_would_write_elsewhere(library, tmp_path):
    plain = io.BytesIO()
    with replacing(tmp_path / "a") as file:
        LIBRARIES[library](file)
    LIBRARIES[library](plain)
    if library != "matplotlib":  # which dates its file
        assert (tmp_path / "a").read_bytes() == plain.getvalue()
    assert [p.name for p in tmp_path.iterdir()] == ["a"]


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EIO, errno.EFBIG])
@pytest.mark.parametrize("library", LIBRARIES)
def test_a_full_disk_is_one_sentence_whatever_the_library(library, code, tmp_path, monkeypatch):
    (tmp_path / "a").write_text("old")
    real, written = os.write, 0

    def full(fd: int, data: bytes) -> int:
        nonlocal written
        written += len(data)
        if written > 1000:
            raise OSError(code, os.strerror(code))
        return real(fd, data)

    monkeypatch.setattr(os, "write", full)
    refused = pytest.raises(WriteError, match=r"a cannot be written: .*\.")
    with refused as error, replacing(tmp_path / "a") as file:
        LIBRARIES[library](file)
    assert error.value.code == code
    assert [(p.name, p.read_text()) for p in tmp_path.iterdir()] == [("a", "old")]


@pytest.mark.parametrize("what", ["link", "dangling link", "hard link", "pipe", "directory"])
def test_what_grows_is_a_file_of_ours_alone(what, tmp_path):
    mine, path = tmp_path / "thesis.txt", tmp_path / "steps.csv"
    mine.write_text("thesis")
    made = {
        "link": lambda: path.symlink_to(mine),
        "dangling link": lambda: path.symlink_to(tmp_path / "nothing"),
        "hard link": lambda: path.hardlink_to(mine),
        "pipe": lambda: os.mkfifo(path),
        "directory": path.mkdir,
    }
    made[what]()
    with pytest.raises(WriteError, match=r"steps\.csv"):
        Growing(path)
    assert mine.read_text() == "thesis"
    assert not (tmp_path / "nothing").exists()


def test_a_whole_file_takes_the_place_of_a_link_and_leaves_what_it_points_to(tmp_path):
    (tmp_path / "thesis.txt").write_text("thesis")
    (tmp_path / "result.json").symlink_to(tmp_path / "thesis.txt")
    (tmp_path / "result.json.part").symlink_to(tmp_path / "thesis.txt")
    write(tmp_path / "result.json", "{}")
    assert (tmp_path / "thesis.txt").read_text() == "thesis"
    assert not (tmp_path / "result.json").is_symlink()


def test_a_growing_file_is_cut_back_and_goes_on(tmp_path):
    path = tmp_path / "steps.csv"
    file = Growing(path)
    file.write(b"one\ntwo\n")
    assert file.position == 8
    file.close()
    file = Growing(path, 4)
    file.write(b"three\n")
    file.sync()
    assert (path.read_bytes(), file.position) == (b"one\nthree\n", 10)


def test_only_a_directory_of_known_files_is_cleared(tmp_path):
    known = {"a.csv": None, "event.*": None, "checkpoints": {"best.ckpt": None}}
    job = tmp_path / "0"
    (job / "checkpoints").mkdir(parents=True)
    for name in ("a.csv", "event.1", "checkpoints/best.ckpt", ".a.csv.0123456789ab.part"):
        (job / name).write_text("x")
    (tmp_path / "elsewhere").mkdir()
    others = {
        "thesis.txt": lambda p: p.write_text("thesis"),
        "checkpoints/mine.ckpt": lambda p: p.write_text("mine"),
        "a": lambda p: p.mkdir(),
        "event.2": lambda p: p.symlink_to(tmp_path / "elsewhere"),
        "event.3": lambda p: os.mkfifo(p),
    }
    for name, make in others.items():
        make(job / name)
        assert foreign(job, known) == [job / name]
        with pytest.raises(WriteError, match=f"holds {name}, which is not Descent's"):
            clear(job, known)
        assert (job / "a.csv").exists()
        (job / name).rmdir() if name == "a" else (job / name).unlink()
    clear(job, known)
    assert [p.name for p in tmp_path.iterdir()] == ["elsewhere"]


# ---- claims

HOLD = """
import sys
from pathlib import Path
from descent.errors import UserError
from descent.files.claims import claim
try:
    claim(Path(sys.argv[1]))
except UserError as error:
    print(error)
else:
    print("mine", flush=True)
    sys.stdin.read()
"""


def other(directory: Path) -> subprocess.Popen[str]:
    """Claim a directory in another process, which holds it until its input ends."""
    return subprocess.Popen(
        [sys.executable, "-c", HOLD, str(directory)], stdin=subprocess.PIPE,
        stdout=subprocess.PIPE, text=True,
    )  # fmt: skip


def test_a_directory_has_one_owner_until_that_one_ends(tmp_path):
    process = other(tmp_path / "a" / "b")
    assert process.stdout.readline() == "mine\n"
    with pytest.raises(UserError, match="is being trained in by another process"):
        claim(tmp_path / "a" / "b")
    process.kill()  # the claim goes with the process, though its file stays
    process.communicate()
    assert (tmp_path / "a" / "b" / LOCK).exists()
    claim(tmp_path / "a" / "b")
    assert other(tmp_path / "a" / "b").communicate("")[0].startswith(str(tmp_path))
    let_go(tmp_path / "a" / "b")
    assert not (tmp_path / "a" / "b" / LOCK).exists()


def test_of_many_that_claim_at_once_one_has_it(tmp_path):
    processes = [other(tmp_path / "a") for _ in range(4)]
    told = [process.stdout.readline() for process in processes]
    assert told.count("mine\n") == 1
    for process in processes:
        process.communicate("")


def test_a_claim_that_is_undone_leaves_what_was_there_before(tmp_path):
    (tmp_path / "mine").mkdir()
    claim(tmp_path / "mine" / "outputs" / "runs" / "1")
    undo(tmp_path / "mine" / "outputs" / "runs" / "1")
    assert list((tmp_path / "mine").iterdir()) == []
    claim(tmp_path / "mine")
    undo(tmp_path / "mine")
    assert list(tmp_path.iterdir()) == [tmp_path / "mine"]


def test_a_lock_that_is_a_link_is_refused(tmp_path):
    (tmp_path / "thesis.txt").write_text("thesis")
    (tmp_path / LOCK).symlink_to(tmp_path / "thesis.txt")
    with pytest.raises(UserError, match=LOCK):
        hold(tmp_path)
    assert (tmp_path / "thesis.txt").read_text() == "thesis"
