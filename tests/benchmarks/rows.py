"""Rows per second of shuffled windows, next to DataLoader(TensorDataset)."""

from __future__ import annotations

from collections.abc import Callable, Iterable

import torch
from timing import claim, interleave, print_table
from torch.utils.data import DataLoader, TensorDataset

from descent.data.windows import Windows

TARGET = 20.0
CASES = ((1437, 64, 64), (354, 10, 20), (100_000, 32, 256))  # N, F, B


def main(rounds: int = 9) -> bool:
    """Print the table; return whether the target is met."""
    rows, met = [], True
    for n, features, batch_size in CASES:
        x, y = torch.randn(n, features), torch.randn(n, 1)
        windows = Windows(x, y, batch_size=batch_size, order="shuffle")
        loader = DataLoader(TensorDataset(x, y), batch_size, shuffle=True)
        epochs = max(1, 30_000 // n)
        timings = interleave(
            {
                "DataLoader": lambda loader=loader, e=epochs: _passes(loader, e),
                "windows": lambda windows=windows, e=epochs: _passes(_Batches(windows), e),
            },
            "DataLoader",
            rounds,
        )
        faster = 1 / timings["windows"].ratio
        met &= claim(f"rows a second, B = {batch_size}, of a DataLoader's", faster, TARGET, "times",
                     at_least=True)  # fmt: skip
        rates = [f"{n * epochs / timings[name].median / 1e6:.2f} M" for name in timings]
        rows.append([f"N = {n:,}, F = {features}, B = {batch_size}", *rates, f"{faster:.0f}x"])
    header = ["data", "DataLoader", "windows", "faster"]
    print_table(f"Rows per second, shuffled (target: >= {TARGET:g}x)", header, rows)
    return met


class _Batches:
    """Every mini-batch of an epoch, as the training loop takes them."""

    def __init__(self, windows: Windows) -> None:
        self.windows = windows

    def __iter__(self) -> Iterable:
        for window in self.windows:
            yield from window.batches()
        self.windows.epoch += 1


def _passes(batches: Iterable, epochs: int) -> Callable[[], int]:
    def run() -> int:
        return sum(len(x) for _ in range(epochs) for x, _ in batches)

    return run
