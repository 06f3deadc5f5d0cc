"""What a file from a disk may be, read beside OmegaConf, and what is refused within a moment."""

from __future__ import annotations

import io
import pickle
import zipfile
from pathlib import Path

import numpy as np
import pytest
import torch
from omegaconf import OmegaConf

from descent.files.bounded import (
    MOST_DEPTH,
    DamageError,
    parse_json,
    parse_yaml,
    read_bytes,
    read_checkpoint,
    read_lines,
    read_npz,
    read_texts,
    read_yaml,
)
from hostile.changes import special

# ---- YAML

WORDS = (
    *("~", "null", "Null", "NULL", "nUll", "true", "True", "TRUE", "yes", "No", "on", "OFF", "y"),
    *("1", "0", "-1", "+5", "007", "08", "0x1F", "0b11", "1_000", "1e-3", "1E5", "1.5", "1.", ".5"),
    *("-.5", ".5e+3", "1.5e3", "-.inf", ".Inf", ".nan", "1e1000", "abc", "inf", "nan", "1.2.3"),
    *("2026-11-28", "é"),
)


@pytest.mark.parametrize("word", WORDS)
def test_a_plain_word_means_what_omegaconf_reads_in_it(word: str) -> None:
    theirs = OmegaConf.to_container(OmegaConf.load(io.StringIO(f"x: {word}")))
    assert repr(parse_yaml(f"x: {word}")) == repr(theirs)


@pytest.mark.parametrize(
    "text",
    [*WORDS, "a: b", "#c", "- a", "[a", "'q'", "a\nb", "\t", " x ", "!t", "&a", "*a", "<<", "?",
     "|", "%", "1:30:20", "=", "", "\x1b[2J", "a #b"],
)  # fmt: skip
def test_every_text_that_omegaconf_writes_is_read_back(text: str) -> None:
    values = {"x": [text, {"k": text, "n": 1e-7, "none": None, "empty": {}, "list": []}]}
    assert parse_yaml(OmegaConf.to_yaml(OmegaConf.create(values))) == values


LAUGHS = "a: &a [x,x,x,x,x,x,x,x,x]\n" + "".join(
    f"{b}: &{b} [{','.join([f'*{a}'] * 9)}]\n" for a, b in zip("abcdefg", "bcdefgh", strict=True)
)


@pytest.mark.parametrize(
    ("text", "why"),
    [
        (LAUGHS, "a holds a YAML anchor or alias, 'a'"),
        ("a: !!python/object/apply:os.system [touch owned]", "a holds a YAML tag"),
        ("a: !!int 3", "a holds a YAML tag"),
        ("<<: {a: 1}", "holds a YAML merge"),
        ("a: 1\na: 2", "the key 'a' stands twice"),
        ("a: {b: '${oc.env:HOME}'}", "a.b holds .* a reference to resolve"),
        (r"a: '\${oc.env:HOME}'", "a holds .* a reference to resolve"),
        (r'a: "\x24{seed}"', "a holds .* a reference to resolve"),
        ("a: [1, ['${seed}']]", "a holds .* a reference to resolve"),
        ("'${seed}': 1", "a reference to resolve"),
        ("? [a]\n: 1", "a key in its top level is no text"),
        ("[" * 100_000, f"nested more than {MOST_DEPTH} levels"),
        ("- " * 100_000, f"nested more than {MOST_DEPTH} levels"),
        ("[" + "1," * 300_000 + "]", "more than 200,000 values"),
        ("---\na: 1\n---\nb: 1", "more than one document"),
        ("a: [", "it is no YAML"),
        ("a: " + "9" * 5000, "it is no YAML"),
        ("a: \x00", "it is no YAML"),
    ],
)  # fmt: skip
def test_what_a_config_of_ours_never_holds_is_refused_by_place(text: str, why: str) -> None:
    with pytest.raises(DamageError, match=why) as refused:
        parse_yaml(text)
    assert str(refused.value).isprintable()


def test_a_text_that_would_move_the_cursor_stands_in_a_sentence_without_doing_so() -> None:
    with pytest.raises(DamageError) as refused:
        parse_yaml(r'a: "${\e[2J\n"')
    assert str(refused.value) == "a holds '${?[2J?', a reference to resolve"


# ---- JSON


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ('{"a": NaN}', "NaN"),
        ("[" * 41 + "]" * 41, "nested more than 40"),
        ("[" * 100_000, "nested more than 40"),
        ("{", "it is no JSON"),
        ("1" * 5000, "it is no JSON"),
    ],
)
def test_json_is_plain_and_bounded(text: str, why: str) -> None:
    with pytest.raises(DamageError, match=why):
        parse_json(text)
    assert parse_json("[" * 40 + "]" * 40)
    assert parse_json("3") == 3


# ---- files


@pytest.mark.parametrize("read", [read_yaml, read_lines, read_texts, read_checkpoint])
@pytest.mark.parametrize("kind", ["fifo", "directory", "device", "huge"])
def test_only_a_regular_file_of_some_size_is_read(kind: str, read, tmp_path: Path) -> None:
    special("it", kind)(tmp_path)
    with pytest.raises(
        DamageError, match=r"regular file|is a directory|larger than|cannot be|no checkpoint|short"
    ):
        read(tmp_path / "it")


def test_a_file_that_is_not_there_is_not_damaged(tmp_path: Path) -> None:
    for name in ("nothing", "a/b"):
        with pytest.raises(FileNotFoundError):
            read_bytes(tmp_path / name, 10)


@pytest.mark.parametrize("name", ["a*.csv", "x[1].csv", "?.csv"])
def test_a_table_is_the_file_of_that_very_name(name: str, tmp_path: Path) -> None:
    (tmp_path / name).write_text("step\n1\n")
    for other in ("a1.csv", "x1.csv", "y.csv"):
        (tmp_path / other).write_text("step\n2\n3\n")
    assert read_texts(tmp_path / name)["step"].to_list() == ["1"]


def test_a_table_that_unfolds_is_not_read(tmp_path: Path) -> None:
    import gzip

    (tmp_path / "steps.csv").write_bytes(gzip.compress(b"step\n" + b"1\n" * 10**6))
    with pytest.raises(DamageError, match="compressed"):
        read_texts(tmp_path / "steps.csv")


# ---- arrays


def test_arrays_come_back_as_numpy_saved_them(tmp_path: Path) -> None:
    saved = {"a": np.arange(6.0).reshape(2, 3), "t": np.array("text"), "i": np.array([1, 2])}
    np.savez(tmp_path / "x.npz", **saved)
    read = read_npz(tmp_path / "x.npz", list(saved))
    for name, value in saved.items():
        assert read[name].dtype == value.dtype
        assert (read[name] == value).all()


class Bad:
    """Touches a file when it is unpickled."""

    def __reduce__(self) -> tuple:
        return Path.touch, (Path("owned"),)


def npy(shape: str, data: bytes = b"") -> bytes:
    head = f"{{'descr': '<f8', 'fortran_order': False, 'shape': {shape}, }}".ljust(117) + "\n"
    return b"\x93NUMPY\x01\x00" + len(head).to_bytes(2, "little") + head.encode() + data


@pytest.mark.parametrize(
    ("member", "how", "why"),
    [
        (npy("(1000000000000,)", b"12345678"), zipfile.ZIP_STORED, "does not hold what it says"),
        (npy("(-1,)"), zipfile.ZIP_STORED, "no numbers|hold what it says"),
        (npy("(2**9,)"), zipfile.ZIP_STORED, "cannot be unpacked"),
        (npy("(1,)", bytes(8)), zipfile.ZIP_DEFLATED, "compressed"),
        (pickle.dumps(Bad()), zipfile.ZIP_STORED, "cannot be unpacked"),
        (b"", zipfile.ZIP_STORED, "cannot be unpacked"),
    ],
)
def test_an_array_never_asks_for_more_than_there_is(
    member: bytes, how: int, why: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with zipfile.ZipFile("x.npz", "w", how) as archive:
        archive.writestr("a.npy", member)
    with pytest.raises(DamageError, match=why):
        read_npz("x.npz", ["a"])
    assert not Path("owned").exists()


def test_an_array_of_objects_is_not_unpickled(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    np.savez("x.npz", a=np.array([Bad()], dtype=object))
    with pytest.raises(DamageError, match="holds object"):
        read_npz("x.npz", ["a"])
    with pytest.raises(DamageError, match="no array 'b'"):
        read_npz("x.npz", ["b"])
    assert not Path("owned").exists()


# ---- checkpoints


def laughing() -> list:
    """Lists of one list, ten times each, thirty levels deep: little to store, endless to walk."""
    made: list = []
    for _ in range(30):
        made = [made] * 10
    return made


@pytest.mark.parametrize(
    ("state", "why"),
    [
        ({"a": Bad()}, "more than tensors and plain values"),
        ({"a": torch.zeros(1).expand(10**12)}, "a asks for more numbers than it holds"),
        ({"a": torch.zeros(9, 9).to_sparse()}, "a is no plain tensor"),
        ({"a": torch.device("cpu")}, "a is a device, no plain value"),
    ],
)
def test_a_checkpoint_holds_tensors_and_plain_values(
    state: object, why: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    torch.save(state, "x.ckpt")
    with pytest.raises(DamageError, match=why):
        read_checkpoint("x.ckpt")
    assert not Path("owned").exists()


def test_shared_lists_are_walked_once(tmp_path: Path) -> None:
    torch.save({"a": laughing(), "b": torch.arange(3)}, tmp_path / "x.ckpt")
    assert read_checkpoint(tmp_path / "x.ckpt")["b"].tolist() == [0, 1, 2]


def test_a_compressed_checkpoint_is_not_unfolded(tmp_path: Path) -> None:
    torch.save({"a": torch.zeros(10**6)}, tmp_path / "x.ckpt")
    with (
        zipfile.ZipFile(tmp_path / "x.ckpt") as plain,
        zipfile.ZipFile(tmp_path / "y.ckpt", "w", zipfile.ZIP_DEFLATED) as packed,
    ):
        for name in plain.namelist():
            packed.writestr(name, plain.read(name))
    with pytest.raises(DamageError, match="asks for more than it holds"):
        read_checkpoint(tmp_path / "y.ckpt")
