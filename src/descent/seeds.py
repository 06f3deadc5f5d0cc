"""One seed, several independent streams.

`seed` feeds the streams below; `data.split_seed` feeds only the split. Two optimizers, or two
models, under one seed therefore see identical batches, and because the order of an epoch is a
pure function of (seed, epoch) a resumed run continues as if it had never stopped.
"""

from __future__ import annotations

import numpy as np

INIT, ORDER, NOISE, DATA = range(4)


def stream_seed(seed: int, stream: int, epoch: int = 0) -> int:
    """Return a 63-bit seed for one stream of one run.

    Args:
        seed: the run's `seed`, any integer >= 0.
        stream: one of `INIT`, `ORDER`, `NOISE`, `DATA`.
        epoch: epoch index from 0, for streams that start afresh every epoch.

    Source: NumPy's SeedSequence, whose outputs are independent for different entropy words.
    """
    words = np.random.SeedSequence([seed, stream, epoch]).generate_state(1, np.uint64)
    return int(words[0]) >> 1
