"""Swept options and their values as axes and sentences write them."""

from __future__ import annotations

import re

from descent.study.options import BATCH, LEARNING_RATES

WORDS = {BATCH: "batch size, rows"} | dict.fromkeys(LEARNING_RATES, "learning rate")
LONGEST = 22  # characters of a value
PIECE = r"[^_.,=/-]*[_.,=/-]+|[^_.,=/-]+"  # of a long word: up to the next sign


def axis_title(option: str) -> str:
    """Return what an option is, with its name as it is typed: `learning rate (optimizer.lr)`."""
    return f"{WORDS[option]} ({option})" if option in WORDS else option


def value_text(value: float | str) -> str:
    """Return a value of an option as it may be typed, in few letters: 0.001, 3e-5, 1024, a word."""
    if isinstance(value, str):
        return clipped(value, LONGEST)
    whole = value == round(value) and abs(value) < 1e6
    return f"{value:.0f}" if whole else short(f"{value:.4g}")


def short(text: str) -> str:
    """Return a number's text without the zeros of its exponent: 3e-5 for 3e-05."""
    mantissa, e, exponent = text.partition("e")
    return f"{mantissa}e{int(exponent)}" if e else text


def clipped(text: str, longest: int) -> str:
    """Return at most `longest` characters, the middle left out of what is longer."""
    if len(text) <= longest:
        return text
    half = (longest - 1) // 2
    return f"{text[: longest - 1 - half]}…{text[len(text) - half :]}"


def folded(text: str, letters: int) -> str:
    """Return text in lines of at most `letters`: broken at spaces, long words at signs."""
    lines = [""]
    for word in text.split():
        pieces = [word] if len(word) <= letters else re.findall(PIECE, word)
        pieces = [p[i : i + letters] for p in pieces for i in range(0, len(p), letters)]
        for piece in [*pieces[:-1], pieces[-1] + " "]:
            if lines[-1] and len(lines[-1]) + len(piece.rstrip()) > letters:
                lines.append("")
            lines[-1] += piece
    return "\n".join(line.strip() for line in lines)
