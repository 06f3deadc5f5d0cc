"""One seed, several independent streams.

`seed` feeds the streams below; `data.split_seed` feeds only the split. Two optimizers, or two
models, under one seed therefore see identical batches, and because the order of an epoch is a
pure function of (seed, epoch) a resumed run continues as if it had never stopped.
"""

from __future__ import annotations

import hashlib

INIT, ORDER, NOISE, MEASURE, AUGMENT = range(5)


def stream_seed(seed: int, stream: int, epoch: int = 0) -> int:
    """Return a 63-bit seed for one stream of one run.

    Args:
        seed: the run's `seed`, any integer >= 0.
        stream: one of `INIT`, `ORDER`, `NOISE`, `MEASURE`, `AUGMENT`.
        epoch: epoch index from 0, for streams that start afresh every epoch.

    Source: BLAKE2b (RFC 7693) of the three numbers; it mixes well and takes a microsecond, which
    counts because the shortest epochs take fifty.
    """
    words = f"{seed}/{stream}/{epoch}".encode()
    return int.from_bytes(hashlib.blake2b(words, digest_size=8).digest(), "little") >> 1
