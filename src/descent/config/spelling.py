"""How commands are typed here: `python src/train.py` in a clone, `descent train` elsewhere."""

from __future__ import annotations

from pathlib import Path

_PACKAGE = Path(__file__).parents[1]
CLONE = not (_PACKAGE / "conf").is_dir()  # which the wheel carries within the package
CONF = _PACKAGE.parents[1] / "conf" if CLONE else _PACKAGE / "conf"
_SCRIPTS = _PACKAGE.parent if CLONE else _PACKAGE / "scripts"
# those that are there: `make drop` takes some out
SCRIPTS = tuple(
    name
    for name in ("train", "eval", "report", "export", "dashboard")
    if (_SCRIPTS / f"{name}.py").is_file()
)

OWN_CONF = Path("conf")  # the user's own choices, where the command is typed

_console = not CLONE


def use_console() -> None:
    """From now on, tell commands as those of the `descent` program, which was typed."""
    global _console
    _console = True


def command_words(script: str) -> list[str]:
    """Return how a command begins, word by word."""
    return ["descent", script] if _console else ["python", f"src/{script}.py"]


def command(script: str) -> str:
    """Return how a command begins: `python src/train.py` or `descent train`."""
    return " ".join(command_words(script))


def program(script: str) -> str:
    """Return what a script is called in a sentence: `src/train.py` or `descent train`."""
    return command(script).removeprefix("python ")


def own_conf() -> tuple[Path | None, str]:
    """Return the directory of the user's own choices, if there is one; and why it is not used."""
    if not OWN_CONF.is_dir() or OWN_CONF.resolve() == CONF.resolve():
        return None, ""
    whole = [name for name in SCRIPTS if (OWN_CONF / f"{name}.yaml").exists()]
    if whole:
        return None, (
            f"{OWN_CONF}/ has a {whole[0]}.yaml of its own, so its choices are not added; "
            f"--config-dir {OWN_CONF} puts it before Descent's own."
        )
    return OWN_CONF, ""


def install(extra: str) -> str:
    """Return the command that installs what an extra needs."""
    return (
        f"pip install -e '.[{extra}]' -c constraints.txt"
        if CLONE
        else (f"pip install 'descent[{extra}]'")
    )


def script_path(script: str) -> Path:
    """Return the file of a command, which the wheel carries beside `conf/`."""
    return _SCRIPTS / f"{script}.py"
