"""What a module does to the process that imports it is told in a sentence, before it does so."""

from __future__ import annotations

import sys
from contextlib import nullcontext
from pathlib import Path

import pytest

from descent.config import located
from descent.config.located import locate, trying
from descent.errors import UserError

DEADLY = {
    "leaves": ("import os; os._exit(0)", "cannot be used: importing it ends .*, with exit code 0"),
    "faults": ("import ctypes; ctypes.string_at(0)", "cannot be used: .* by SIGSEGV"),
    "exits": ("import sys; sys.exit(3)", r"cannot be found: its module calls sys\.exit\(3\)"),
    "raises": ("raise OSError('no GPU')", "cannot be found: .*no GPU"),
}


@pytest.mark.skipif(sys.platform != "linux", reason="tried in a fork, there")
@pytest.mark.parametrize("name", DEADLY)
def test_a_module_that_ends_its_process_is_refused(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    code, says = DEADLY[name]
    monkeypatch.syspath_prepend(tmp_path)
    (tmp_path / f"deadly_{name}.py").write_text(f"print('imported')\n{code}\nMine = dict\n")
    refused = pytest.raises(UserError, match=rf"^model\._target_=deadly_{name}\.Mine {says}")
    with refused, trying(None):
        locate(f"deadly_{name}.Mine", "model._target_")
    # and what is only tried prints nothing
    assert capfd.readouterr().out.count("imported") == (name in ("exits", "raises"))


@pytest.mark.skipif(sys.platform != "linux", reason="tried in a fork, there")
def test_a_module_that_never_comes_to_its_end_is_refused_and_told_of(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr(located, "PATIENCE", 0.05)
    (tmp_path / "endless.py").write_text("import time; time.sleep(1000)")
    says = r"cannot be used: importing it takes longer than hydra\.launcher\.job_seconds=0\.2"
    with pytest.raises(UserError, match=says), trying(0.2):
        locate("endless.Mine", "model._target_")
    assert capfd.readouterr().err == (
        "note: importing model._target_=endless.Mine takes more than 0.05 s; Ctrl-C ends it\n"
    )


@pytest.mark.parametrize("multirun", [False, True])
def test_a_module_is_tried_in_another_process_only_in_a_multirun_and_imported_once(
    multirun: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    monkeypatch.syspath_prepend(tmp_path)
    name = f"harmless{multirun}"
    code = "print('imported'); open('imports', 'a').write('.')\nclass Mine: ...\n"
    (tmp_path / f"{name}.py").write_text(code)
    monkeypatch.chdir(tmp_path)
    with trying(None) if multirun else nullcontext():
        assert locate(f"{name}.Mine", "model._target_") is sys.modules[name].Mine
    assert capfd.readouterr().out == "imported\n"
    forked = multirun and sys.platform == "linux"
    assert (tmp_path / "imports").read_text() == (".." if forked else ".")
