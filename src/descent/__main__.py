"""The `descent` program: `descent train ...` is `python src/train.py ...`, from any directory."""

from __future__ import annotations

import runpy
import sys
from importlib.metadata import version
from pathlib import Path

from descent.config import spelling
from descent.errors import did_you_mean

SAY_WHERE = ("--config-dir", "-cd", "--config-path", "-cp")  # flags
ABOUT = {
    "train": "train one model, or with -m a sweep of them",
    "eval": "repeat a run's test metrics, or predict for new rows",
    "report": "draw finished runs as pictures and one page",
    "export": "write a run's model for programs without Descent",
    "dashboard": "show a sweep's chosen runs in TensorBoard",
}


def main() -> None:
    """Run the command that was typed: `[project.scripts]` of pyproject.toml leads here."""
    script, *rest = sys.argv[1:] or ["--help"]
    if script in ("-h", "--help"):
        print(_usage())
        return
    if script == "--version":
        print(f"descent {version('descent')}")
        return
    if script not in spelling.SCRIPTS:
        hint = did_you_mean(script, spelling.SCRIPTS) or "."
        if "=" in script or script.startswith("-"):
            hint = f"; did you mean 'descent train {script}'?"
        print(
            f"error: There is no command '{script}'{hint} "
            f"It is one of {', '.join(spelling.SCRIPTS)}.",
            file=sys.stderr,
        )
        raise SystemExit(2)
    spelling.use_console()
    path = spelling.script_path(script)
    # Lightning starts further ranks of a run by running argv again
    sys.argv[:] = [str(path), *_own_conf(rest), *rest]
    sys.path.append(str(Path.cwd()))  # modules of the user's, behind all that is installed
    runpy.run_path(str(path), run_name="__main__")


def _own_conf(rest: list[str]) -> list[str]:
    """Return the flag that adds the choices in ./conf, if there are any and no flag says where."""
    if any(word.split("=")[0] in SAY_WHERE for word in rest):
        return []
    found, note = spelling.own_conf()
    if note:
        print(f"note: {note}", file=sys.stderr)
    return [] if found is None else ["--config-dir", str(found)]


def _usage() -> str:
    lines = [
        f"  descent {name:<10} {about}" for name, about in ABOUT.items() if name in spelling.SCRIPTS
    ]
    return "\n".join(
        [
            "A laboratory for mini-batch gradient descent. Commands:",
            "",
            *lines,
            "",
            "`descent <command> --help` lists its options, which are typed as key=value:",
            "",
            "  descent train optimizer=momentum optimizer.lr=0.05 data.batch_size=128",
            "",
            "Runs go to ./outputs; choices of your own are found in ./conf.",
        ]
    )


if __name__ == "__main__":
    main()
