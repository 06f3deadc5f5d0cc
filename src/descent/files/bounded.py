"""The door through which every file of a run or a multirun comes in: bounded, and never run.

What lies on a disk may be cut short, edited, or made by somebody who means harm. A file is read
only if it is a regular one, up to a size, into plain values up to a depth and a number; nothing is
called, imported or looked up on the way. Whether the values fit is for `schema` to say.

    YAML    no anchors, tags, merges or repeated keys; no text or key that holds a reference
    JSON    no NaN
    CSV     the file of that very name, whatever stars and brackets are in it; nothing compressed
    npz     named arrays of numbers, stored as they are
    .ckpt   tensors and primitives, stored as they are, each within its own storage
"""

from __future__ import annotations

import io
import json
import os
import re
import stat
import warnings
import zipfile
from collections.abc import Iterator, Mapping, Sequence
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

import numpy as np
import yaml  # type: ignore[import-untyped]

if TYPE_CHECKING:
    import polars as pl

MIB = 2**20
MOST_YAML, MOST_JSON, MOST_TABLE, MOST_NPZ = 4 * MIB, 256 * MIB, 1024 * MIB, 1024 * MIB
MOST_DEPTH = 40  # of containers in one another
MOST_ITEMS = 200_000  # scalars and containers of a YAML file
MOST_JSON_ITEMS = 20_000_000  # of a JSON file: a multirun's jobs have a dozen each
MOST_COLUMNS = 4096  # of a run's table
LONGEST_SHOWN = 160  # letters of somebody else's text in a sentence
REFERENCE = "${"  # what Hydra and OmegaConf would resolve
COMPRESSED = (
    b"\x1f\x8b",
    b"\x28\xb5\x2f\xfd",
    *(b"\x78" + level for level in (b"\x01", b"\x5e", b"\x9c", b"\xda")),
)


class DamageError(ValueError):
    """A file or a field of it is not what it should be; says which and why, without the path."""


def shown(value: object) -> str:
    """Return somebody else's text as it can stand in a sentence: printable, on one line, short."""
    text = "".join(c if c.isprintable() else "?" for c in str(value)[: LONGEST_SHOWN + 1])
    return text if len(text) <= LONGEST_SHOWN else text[:LONGEST_SHOWN] + "…"


# ---- bytes


def open_regular(path: str | Path, most: int | None = None) -> BinaryIO:
    """Open a file to read it, if it is a regular one; never waits for a pipe or a device.

    Args:
        path: the file.
        most: bytes that it may have; None for any number.

    Raises:
        FileNotFoundError: there is none.
        DamageError: it is something else, larger than that, or cannot be opened.
    """
    try:
        descriptor = os.open(path, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | os.O_CLOEXEC)
    except (FileNotFoundError, NotADirectoryError):
        raise FileNotFoundError(str(path)) from None
    except (OSError, ValueError) as error:  # a NUL in a name is a ValueError
        raise DamageError(f"it cannot be opened ({_strerror(error)})") from None
    about = os.fstat(descriptor)
    problem = None
    if stat.S_ISDIR(about.st_mode):
        problem = "it is a directory"
    elif not stat.S_ISREG(about.st_mode):
        problem = "it is not a regular file"
    elif most is not None and about.st_size > most:
        problem = f"it is larger than the {most // MIB:,} MiB that such a file may have"
    if problem:
        os.close(descriptor)
        raise DamageError(problem)
    return os.fdopen(descriptor, "rb")


def read_bytes(path: str | Path, most: int) -> bytes:
    """Return a file's content; DamageError if it is larger than `most` bytes or not to be read."""
    with open_regular(path, most) as file:
        try:
            return file.read(os.fstat(file.fileno()).st_size)
        except OSError as error:
            raise DamageError(f"it cannot be read ({_strerror(error)})") from None


def read_text(path: str | Path, most: int, errors: str = "strict") -> str:
    """Return a file's text; see `read_bytes`."""
    try:
        return read_bytes(path, most).decode("utf-8", errors=errors)
    except UnicodeDecodeError as error:
        raise DamageError(f"byte {error.start:,} is no UTF-8") from None


def _strerror(error: Exception) -> str:
    return getattr(error, "strerror", None) or shown(error)


# ---- YAML

_LOADER = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
_TRUE, _FALSE = {"true", "yes", "on"}, {"false", "no", "off"}
# YAML 1.1 as OmegaConf reads and writes it: `1e-3` is a number, a date is a text
_INT = re.compile(r"[-+]?(?:0b[01_]+|0x[0-9a-fA-F_]+|0[0-7_]*|[1-9][0-9_]*)")
_FLOAT = re.compile(
    r"[-+]?(?:[0-9][0-9_]*\.[0-9_]*(?:[eE][-+]?[0-9]+)?|[0-9][0-9_]*[eE][-+]?[0-9]+"
    r")|\.[0-9][0-9_]*(?:[eE][-+][0-9]+)?|[-+]?\.(?:inf|Inf|INF)|\.(?:nan|NaN|NAN)"
)


@lru_cache(maxsize=65536)
def _scalar(text: str) -> Any:
    """Return what a plain scalar means."""
    lower = text.lower()
    if text in ("", "~") or (lower == "null" and text in ("null", "Null", "NULL")):
        return None
    if lower in _TRUE | _FALSE and text in (lower, lower.title(), lower.upper()):
        return lower in _TRUE
    number = text.replace("_", "")
    if _INT.fullmatch(text):
        sign, digits = (-1 if number[0] == "-" else 1), number.lstrip("+-")
        octal = len(digits) > 1 and digits[0] == "0" and digits[1].isdigit()
        return sign * int(digits, 8 if octal else 0)
    if _FLOAT.fullmatch(text):
        return float(number.lower().replace(".inf", "inf").replace(".nan", "nan"))
    return text


class _Builder:
    """Containers under construction, outermost first, and where the next value goes."""

    def __init__(self) -> None:
        self.root: list[Any] = []
        self._open: list[Any] = [self.root]
        self._keys: list[Any] = []  # of each open mapping: the key that waits for its value
        self._path: list[str] = []  # of each open container: what it is called in its own

    @property
    def where(self) -> str:
        """The dotted key of what is being read."""
        return ".".join([name for name in (*self._path, self._name) if name]) or "its top level"

    @property
    def _name(self) -> str:
        """The key that waits for its value; empty in a list."""
        waits = isinstance(self._open[-1], dict) and self._keys[-1] is not _NO_KEY
        return shown(self._keys[-1]) if waits else ""

    def add(self, value: Any) -> None:
        """Take a value, or the key of the next one."""
        place = self._open[-1]
        if isinstance(place, list):
            place.append(value)
        elif self._keys[-1] is not _NO_KEY:
            place[self._keys[-1]] = value
            self._keys[-1] = _NO_KEY
        else:
            self._take_key(place, value)

    def _take_key(self, place: dict[Any, Any], key: Any) -> None:
        if isinstance(key, (list, dict)):
            raise DamageError(f"a key in {self.where} is no text")
        if key in place:
            raise DamageError(f"the key '{shown(key)}' stands twice in {self.where}")
        self._keys[-1] = key

    def enter(self, container: Any) -> None:
        """Begin a container."""
        if len(self._open) > MOST_DEPTH:
            raise DamageError(f"{self.where} is nested more than {MOST_DEPTH} levels deep")
        self._path.append(self._name)
        self.add(container)
        self._open.append(container)
        if isinstance(container, dict):
            self._keys.append(_NO_KEY)

    def leave(self) -> None:
        """End it."""
        self._path.pop()
        if isinstance(self._open.pop(), dict):
            self._keys.pop()


_NO_KEY = object()


def parse_yaml(text: str) -> Any:
    """Return what a YAML text means, as OmegaConf would read it, in plain containers.

    Raises:
        DamageError: it is no YAML, or holds what a config of ours never does.
    """
    builder = _Builder()
    documents = 0
    try:
        for count, event in enumerate(yaml.parse(text, Loader=_LOADER)):
            if count > MOST_ITEMS:
                raise DamageError(f"it holds more than {MOST_ITEMS:,} values")
            if isinstance(event, yaml.NodeEvent):
                _take(builder, event)
            elif isinstance(event, yaml.CollectionEndEvent):
                builder.leave()
            elif isinstance(event, yaml.DocumentStartEvent):
                documents += 1
        if documents > 1:
            raise DamageError("it holds more than one document")
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark
        line = f", in line {mark.line + 1:,}" if mark else ""
        raise DamageError(f"it is no YAML: {shown(error.problem)}{line}") from None
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        if isinstance(error, DamageError):
            raise
        raise DamageError(f"it is no YAML: {shown((str(error).splitlines() or [''])[0])}") from None
    return builder.root[0] if builder.root else None


def _take(builder: _Builder, event: yaml.NodeEvent) -> None:
    if event.anchor is not None:
        raise DamageError(f"{builder.where} holds a YAML anchor or alias, '{shown(event.anchor)}'")
    if event.tag is not None:
        raise DamageError(f"{builder.where} holds a YAML tag, '{shown(event.tag)}'")
    if isinstance(event, yaml.MappingStartEvent):
        builder.enter({})
    elif isinstance(event, yaml.SequenceStartEvent):
        builder.enter([])
    else:
        text, plain = event.value, event.implicit[0]
        if REFERENCE in text:
            raise DamageError(f"{builder.where} holds '{shown(text)}', a reference to resolve")
        if plain and text == "<<":
            raise DamageError(f"{builder.where} holds a YAML merge")
        builder.add(_scalar(text) if plain else text)


def read_yaml(path: str | Path) -> Any:
    """Return a YAML file's plain values; see `parse_yaml`."""
    return parse_yaml(read_text(path, MOST_YAML))


# ---- JSON


def read_json(path: str | Path) -> Any:
    """Return a JSON file's plain values.

    Raises:
        FileNotFoundError: there is none.
        DamageError: it is no JSON, holds NaN, or is nested too deep.
    """
    return parse_json(read_text(path, MOST_JSON))


def parse_json(text: str) -> Any:
    """Return what a JSON text means; see `read_json`."""
    if sum(map(text.count, ",[{")) > MOST_JSON_ITEMS:
        raise DamageError(f"it holds more than {MOST_JSON_ITEMS:,} values")
    try:
        value = json.loads(text, parse_constant=_no_constant)
        if "\\u" in text:  # half a letter, which no file and no terminal takes
            json.dumps(value, ensure_ascii=False).encode()
    except RecursionError:
        raise DamageError(f"it is nested more than {MOST_DEPTH} levels deep") from None
    except DamageError:
        raise
    except ValueError as error:
        raise DamageError(f"it is no JSON: {shown(error)}") from None
    level, depth = [value] if isinstance(value, (dict, list)) else [], 0
    while level:
        depth += 1
        if depth > MOST_DEPTH:
            raise DamageError(f"it is nested more than {MOST_DEPTH} levels deep")
        level = [
            inner
            for outer in level
            for inner in (outer.values() if isinstance(outer, dict) else outer)
            if isinstance(inner, (dict, list))
        ]
    return value


def _no_constant(name: str) -> Any:
    raise DamageError(f"it holds {name}, which is no number of JSON")


# ---- CSV


def read_texts(path: str | Path) -> pl.DataFrame:
    """Return a run's table with its cells as texts.

    Raises:
        FileNotFoundError: there is none.
        DamageError: it is no such table.
    """
    import polars as pl

    content = read_bytes(path, MOST_TABLE)
    if content.startswith(COMPRESSED):
        raise DamageError("it is compressed")
    if content and b"\n" not in content:
        raise DamageError("its first line is cut short")
    try:
        table = pl.read_csv(io.BytesIO(content), infer_schema=False)
    except pl.exceptions.PolarsError as error:
        raise DamageError(shown((str(error).splitlines() or ["it is empty"])[0])) from None
    if table.width > MOST_COLUMNS:
        raise DamageError(f"it has {table.width:,} columns, of which a run has few")
    return table


def read_lines(path: str | Path) -> list[str]:
    """Return the lines of a run's table, as far as they are whole; what is no UTF-8 becomes �."""
    lines = read_text(path, MOST_TABLE, errors="replace").replace("\r\n", "\n").split("\n")
    return lines[:-1]  # what stands behind the last line's end is cut short


# ---- arrays


def read_npz(path: str | Path, names: Sequence[str]) -> dict[str, np.ndarray]:
    """Return named arrays of numbers or texts; what they ask for is known before it is allocated.

    Raises:
        FileNotFoundError: there is none.
        DamageError: one is missing, compressed, cut short or of objects.
    """
    with open_regular(path, MOST_NPZ) as file:
        try:
            with zipfile.ZipFile(file) as archive:
                return {name: _member(archive, name) for name in names}
        except DamageError:
            raise
        except Exception as error:  # zipfile, zlib, struct and NumPy each raise their own
            raise DamageError(f"it cannot be unpacked: {shown(error)}") from None


def _member(archive: zipfile.ZipFile, name: str) -> np.ndarray:
    try:
        about = archive.getinfo(f"{name}.npy")
    except KeyError:
        raise DamageError(f"it has no array '{name}'") from None
    if about.compress_type != zipfile.ZIP_STORED or about.file_size != about.compress_size:
        raise DamageError(f"its array '{name}' is compressed")
    if about.file_size > os.fstat(archive.fp.fileno()).st_size:  # type: ignore[union-attr]
        raise DamageError(f"its array '{name}' is cut short")
    content = io.BytesIO(archive.read(about))
    version = np.lib.format.read_magic(content)
    read = (
        np.lib.format.read_array_header_1_0
        if version == (1, 0)
        else np.lib.format.read_array_header_2_0
    )
    shape, _, dtype = read(content)
    if dtype.kind not in "biufU" or any(size < 0 for size in shape):
        raise DamageError(f"its array '{name}' holds {dtype}, no numbers")
    count = 1
    for size in shape:
        count *= size
    if count * dtype.itemsize != about.file_size - content.tell():
        raise DamageError(f"its array '{name}' does not hold what it says")
    content.seek(0)
    return np.lib.format.read_array(content, allow_pickle=False)


# ---- checkpoints


def read_checkpoint(path: str | Path) -> Any:
    """Return tensors and primitives, on the CPU.

    Raises:
        FileNotFoundError: there is none.
        DamageError: it holds anything else, or is cut short.
    """
    import torch

    with open_regular(path) as file:
        size = os.fstat(file.fileno()).st_size
        try:
            with zipfile.ZipFile(file) as archive:
                stored = [about.compress_type == zipfile.ZIP_STORED for about in archive.infolist()]
                asked = sum(about.file_size for about in archive.infolist())
        except Exception:  # zipfile and struct each raise their own
            raise DamageError("it is cut short, or no checkpoint") from None
        if not all(stored) or asked > size:
            raise DamageError("it asks for more than it holds")
        file.seek(0)
        try:
            with warnings.catch_warnings():  # of kinds of tensors that are refused below
                warnings.simplefilter("ignore")
                state = torch.load(file, map_location="cpu", weights_only=True)
        except Exception:  # torch's advice would be to load it unsafely
            raise DamageError(
                "it is cut short, or holds more than tensors and plain values"
            ) from None
    for where, value in _leaves(state):
        if isinstance(value, torch.Tensor):
            _check_tensor(value, where)
        elif not isinstance(value, (str, bytes, int, float, bool, type(None))):
            raise DamageError(f"{where} is a {type(value).__name__}, no plain value")
    return state


def _leaves(state: Any) -> Iterator[tuple[str, Any]]:
    """Yield (dotted key, value) of everything in a checkpoint that holds nothing itself."""
    waiting, known = [("", state, 0)], set()
    while waiting:
        where, value, depth = waiting.pop()
        if depth > MOST_DEPTH:
            raise DamageError(f"it is nested more than {MOST_DEPTH} levels deep")
        if isinstance(value, (Mapping, list, tuple)):
            if id(value) in known:  # a few bytes can hold a list in itself many times over
                continue
            known.add(id(value))
        if isinstance(value, Mapping):
            inner = value.items()
        elif isinstance(value, (list, tuple)):
            inner = enumerate(value)  # type: ignore[assignment]
        else:
            yield where or "it", value
            continue
        prefix = f"{where}." if where else ""
        waiting += [(f"{prefix}{shown(key)}", one, depth + 1) for key, one in inner]


def _check_tensor(tensor: Any, where: str) -> None:
    """Refuse what a few bytes on the disk would unfold into: strides of 0, sparse shapes."""
    import torch

    if tensor.layout is not torch.strided or tensor.is_quantized or tensor.is_nested:
        raise DamageError(f"{where} is no plain tensor")
    if tensor.device.type != "cpu":
        raise DamageError(f"{where} is a tensor that holds no numbers")
    if tensor.numel() * tensor.element_size() > tensor.untyped_storage().nbytes():
        raise DamageError(f"{where} asks for more numbers than it holds")
