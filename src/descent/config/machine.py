"""What this machine has: cores and memory, and the sentences for asking more of it."""

from __future__ import annotations

import os
import platform
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from descent.errors import UserError

GIB = 2**30


def cores() -> int:
    """Return how many cores this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def free_memory() -> float:
    """Return the bytes that this process can still allocate: of the machine's, or of its limits."""
    return min(_free_of_machine(), _free_of_group(), _free_of_process())


def _free_of_machine() -> float:
    with suppress(OSError, KeyError, ValueError):
        lines = dict(line.split(":", 1) for line in Path("/proc/meminfo").read_text().splitlines())
        return float(lines["MemAvailable"].split()[0]) * 1024
    return float(os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE"))


def _free_of_group() -> float:
    """Return what the memory limit of a container leaves; infinity without one."""
    group = Path("/sys/fs/cgroup")
    with suppress(OSError, ValueError):  # `max` is no number
        most = int((group / "memory.max").read_text())
        return most - int((group / "memory.current").read_text())
    return float("inf")


def _free_of_process() -> float:
    """Return what `ulimit -v` leaves; infinity without one."""
    with suppress(ImportError, OSError, ValueError):
        import resource

        most = resource.getrlimit(resource.RLIMIT_AS)[0]
        if most != resource.RLIM_INFINITY:
            pages = int(Path("/proc/self/statm").read_text().split()[0])
            return most - pages * os.sysconf("SC_PAGE_SIZE")
    return float("inf")


def refuse_too_large(needed: float, what: str, instead: str) -> None:
    """Refuse what cannot be allocated, before it is tried.

    Args:
        needed: bytes.
        what: needs them, as the subject of the sentence.
        instead: what to do.

    Raises:
        UserError: there is less memory than that.
    """
    free = free_memory()
    if needed > free:
        raise UserError(
            f"{what} needs {needed / GIB:,.1f} GiB of memory, and {max(free, 0) / GIB:,.1f} GiB "
            f"are free; {instead}."
        )


def check_counts(config: Mapping[str, Any]) -> None:
    """Refuse more threads or devices than this machine has cores.

    Raises:
        UserError: naming the option.
    """
    trainer, there = config["trainer"], cores()
    threads, devices = trainer["threads"], trainer.get("devices")
    if isinstance(threads, int) and threads > there:
        raise UserError(
            f"trainer.threads={threads} is more than the {_cores(there)} of this machine; give at "
            f"most {there}, or auto."
        )
    many = isinstance(devices, Sequence) and not isinstance(devices, str)
    count = max(devices, default=0) + 1 if many else devices
    if isinstance(count, int) and count > max(there, 2):  # two share a core: trainer=ddp
        raise UserError(
            f"trainer.devices={devices} is more than this machine can have, with its "
            f"{_cores(there)}; give a smaller number, or auto."
        )


def check_workers(count: int | None) -> None:
    """Refuse more worker processes than this machine could serve.

    Raises:
        UserError: naming the option.
    """
    most = 4 * cores()  # more than one a core is no mistake yet: workers may wait for a disk
    if count is not None and count > most:
        raise UserError(
            f"hydra.launcher.workers={count} is more than this machine's {_cores(cores())} can "
            f"serve; give at most {most}, or null for one a core."
        )


def _cores(count: int) -> str:
    return "1 core" if count == 1 else f"{count} cores"


def processor() -> str:
    """Return the processor's name with what it can do, as Linux tells it; elsewhere its kind."""
    told = Path("/proc/cpuinfo")
    lines = told.read_text().splitlines() if told.is_file() else []
    what = [line for line in lines if line.startswith(("model name", "flags"))][:2]
    return " ".join(what) or platform.machine()


def kept(name: str) -> Path:
    """Return the user's directory of something that is slow to find out."""
    return Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache")) / "descent" / name
