"""README.zh.md keeps step with README.md: its commands, figures, choices and pictures."""

from __future__ import annotations

import re
from pathlib import Path

ROOT = Path(__file__).parents[1]
CHINESE, ENGLISH = (ROOT / "README.zh.md").read_text(), (ROOT / "README.md").read_text()
BLOCK = re.compile(r"^```(sh|text)\n(.*?)^```", re.M | re.S)


def commands(text: str) -> set[str]:
    """Return what is typed in a text, without the words that say what for."""
    lines = [line for _, block in BLOCK.findall(text) for line in block.splitlines()]
    typed = [
        line.removeprefix("$ ") for line in lines if re.match(r"(\$ )?(python|make|uv) ", line)
    ]
    return {line.split("  #")[0].strip() for line in typed}


def test_every_command_stands_in_the_english_one() -> None:
    there = commands(ENGLISH) | {
        f"python src/export.py run=outputs/runs/<run> format={kind}" for kind in ("onnx",)
    }
    assert len(commands(CHINESE)) > 15
    assert commands(CHINESE) <= there
    assert "uv sync && uv run src/train.py" in ENGLISH
    assert "README.zh.md" in ENGLISH


def test_sentences_of_the_program_are_quoted_as_they_are() -> None:
    said = re.findall(r"^error: .*$", CHINESE, re.M)
    assert said
    assert all(sentence in ENGLISH for sentence in said)


def test_experiments_and_their_figures_are_those_of_the_english_one() -> None:
    named = re.findall(r"^\| `(\w+)` \|", CHINESE, re.M)
    assert len(named) > 5
    assert all((ROOT / "conf" / "experiment" / f"{name}.yaml").is_file() for name in named)
    figures = re.findall(r"\d\.\d{6,}", CHINESE)
    assert figures
    assert all(figure in ENGLISH for figure in figures)


def test_every_link_leads_somewhere() -> None:
    for target in re.findall(r"\]\(([^)]+)\)", CHINESE):
        assert target.startswith("https://") or (ROOT / target).exists(), target
