"""What a module does to the process that imports it is told in a sentence, before it does so."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from descent.config.located import locate
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
    with pytest.raises(UserError, match=rf"^model\._target_=deadly_{name}\.Mine {says}"):
        locate(f"deadly_{name}.Mine", "model._target_")
    # and what is only tried prints nothing
    assert capfd.readouterr().out.count("imported") == (name in ("exits", "raises"))


def test_a_module_is_tried_in_another_process_and_then_imported_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.syspath_prepend(tmp_path)
    (tmp_path / "harmless.py").write_text("print('imported')\nclass Mine: ...\n")
    assert locate("harmless.Mine", "model._target_") is sys.modules["harmless"].Mine
    assert capfd.readouterr().out == "imported\n"
