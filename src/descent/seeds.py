"""One seed, several independent streams.

`seed` feeds the streams below; `data.split_seed` feeds only the split. Two optimizers, or two
models, under one seed therefore see identical batches, and because the order of an epoch is a
pure function of (seed, epoch) a resumed run continues as if it had never stopped.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from typing import Any

INIT, ORDER, NOISE, MEASURE, AUGMENT = range(5)
FIXED_STARTS = ("descent.models.point.Point",)  # whose start is an option


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


def why_seeds_do_nothing(config: Mapping[str, Any]) -> str | None:
    """Return why a run is the same with every seed; None where it draws, or may draw, anything.

    Args:
        config: resolved.
    """
    data, model = config.get("data") or {}, config.get("model") or {}
    rows_as_they_lie = data.get("batch_size") == "full" or data.get("order") == "sequential"
    augments = any((data.get("augment") or {}).values())
    target = str(model.get("_target_", ""))
    # of others' models nothing is known
    fixed = target in FIXED_STARTS or (
        target.startswith("descent.models.") and model.get("init") in ("zeros", "ones")
    )
    if not rows_as_they_lie or augments or not fixed or model.get("dropout"):
        return None
    batches = "full batches" if data.get("batch_size") == "full" else "batches in a fixed order"
    return f"{batches} from a fixed start"
