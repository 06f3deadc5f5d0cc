"""Seed streams: repeatable, apart from each other, and fit for torch."""

from __future__ import annotations

import torch
from hypothesis import given
from hypothesis import strategies as st

from descent.seeds import INIT, NOISE, ORDER, stream_seed

STREAMS = (INIT, ORDER, NOISE)
SEEDS = st.integers(0, 2**64)


@given(SEEDS, st.sampled_from(STREAMS), st.integers(0, 2**31))
def test_a_stream_seed_repeats_and_fits_torch(seed, stream, epoch):
    value = stream_seed(seed, stream, epoch)
    assert value == stream_seed(seed, stream, epoch)
    assert 0 <= value < 2**63
    torch.Generator().manual_seed(value)


def test_seeds_streams_and_epochs_are_all_apart():
    values = [stream_seed(s, k, e) for s in range(20) for k in STREAMS for e in range(20)]
    assert len(set(values)) == 20 * 3 * 20


def test_swapping_seed_and_epoch_gives_another_seed():
    assert stream_seed(3, ORDER, 5) != stream_seed(5, ORDER, 3)


def test_neighbouring_epochs_shuffle_without_resemblance():
    orders = [
        torch.randperm(1000, generator=torch.Generator().manual_seed(stream_seed(0, ORDER, e)))
        for e in range(10)
    ]
    pairs = torch.stack(orders).double().corrcoef()[~torch.eye(10, dtype=torch.bool)]
    # the correlation of two random orders of 1,000 has standard deviation 1 / sqrt(999) = 0.032
    assert pairs.abs().max() < 5 * 0.032
