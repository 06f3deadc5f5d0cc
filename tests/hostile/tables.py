"""Tables as people and accidents write them: each trains, or is predicted for, or gets a sentence.

What a table must come to is the subject of the tests of tables; here nothing may end in a
traceback, a hang, or a file that nobody asked for. All are made from seeds; none lies in the tree.
"""

from __future__ import annotations

import io
import os
import random
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

from hostile.warm import Case

ROWS = 40
TRAIN = (
    "train data=table data.path={path} data.target=y data.batch_size=full model=linear "
    "stop.epochs=1 picture=false test=false"
)
PREDICT = "eval run=run data.path={path} predict=out.csv"


def rows(seed: int = 0) -> list[list[str]]:
    """Return a good table: two numbers, a category and a number to predict."""
    draw = random.Random(seed)
    made = [["a", "b", "c", "y"]]
    for i in range(ROWS):
        a, b = draw.gauss(0, 1), draw.gauss(5, 2)
        made.append([f"{a:.4f}", f"{b:.4f}", ["red", "green", "blue"][i % 3], f"{a - b:.4f}"])
    return made


def text(table: list[list[str]], separator: str = ",", end: str = "\n") -> str:
    return end.join(separator.join(cells) for cells in table) + end


def with_column(values: Callable[[int], str], name: str = "x", at: int = 0) -> str:
    """Return the good table with one more column."""
    table = rows()
    for i, cells in enumerate(table):
        cells.insert(at, name if i == 0 else values(i - 1))
    return text(table)


def dialects() -> Iterator[tuple[str, str | bytes]]:
    good = text(rows())
    for name, separator in {"semicolon": ";", "tab": "\t", "pipe": "|", "blank": " "}.items():
        yield name, text(rows(), separator)
    yield "decimal commas", text(rows(), ";").replace(".", ",")
    yield "blanks after commas", text(rows(), ", ")
    yield "blanks before commas", text(rows(), " ,")
    for name, end in {"CRLF": "\r\n", "CR": "\r", "LF CR": "\n\r", "vertical tab": "\x0b"}.items():
        yield name, text(rows(), end=end)
    for encoding in ("utf-8-sig", "utf-16", "utf-16-le", "utf-16-be", "utf-32", "cp037"):
        yield encoding, good.encode(encoding)
    yield "latin-1", good.replace("red", "rouge é").encode("latin-1")
    yield "latin-1 header", good.replace("a,b", "é,b").encode("latin-1")
    yield "no header", good.split("\n", 1)[1]
    yield "sep= line", "sep=,\n" + good
    yield "comments", "# made by hand\n#\n" + good
    yield "trailing commas", good.replace("\n", ",\n")
    yield "leading commas", "\n".join("," + line for line in good.splitlines())
    yield "blank first lines", "\n\n" + good
    yield "blank last lines", good + "\n\n"
    yield "blank lines between", good.replace("\n", "\n\n")
    yield "no last newline", good.rstrip("\n")
    yield "short rows", good.replace(",red,", ",")
    yield "long rows", good.replace(",red,", ",red,extra,")
    yield "all quoted", "\n".join(",".join(f'"{c}"' for c in cells) for cells in rows())
    yield "single quotes", "\n".join(",".join(f"'{c}'" for c in cells) for cells in rows())
    yield "open quote", good.replace("red", '"red', 1)
    yield "quote inside", good.replace("red", 'r"e"d')
    yield "newline in quotes", good.replace("red", '"r\ned"')
    yield "NUL bytes", good.replace("red", "r\0d").encode()
    yield "only NUL", b"\0" * 4096
    yield "nothing", ""
    yield "one newline", "\n"
    yield "only commas", ",,,\n,,,\n"
    yield "header only", "a,b,c,y\n"
    yield "one row", text(rows()[:2])
    yield "two rows", text(rows()[:3])
    yield "header twice", text(rows()[:1]) + good
    yield "one long line", "a," * 20000 + "y\n" + "1," * 20000 + "1\n"
    yield "gzip by name", b"\x1f\x8b\x08" + bytes(range(200))
    yield "zip by name", b"PK\x03\x04" + bytes(range(200))
    yield "html", "<html><body><table><tr><td>1</td></tr></table></body></html>\n"
    yield "json", '[{"a": 1, "y": 2}, {"a": 2, "y": 3}]\n'
    yield "pickle", b"\x80\x04\x95\x10\x00\x00\x00\x00\x00\x00\x00]\x94(K\x01K\x02e."


NAMES = [
    "[/nope]", "[bold red]x[/]", "<script>alert(1)</script>", "{x}", "%s%n", "${x}", "$(touch z)",
    "../x", "a/b", "a.b", 'say "x"', "it's", "🙂", "\u202eabc", "x\ty", "x" * 1000, "=1+1",
    "predicted_y", "nan", "true", "1", "1e5", "", " ", "a", "Y", "y ", "__index_level_0__",
    "Unnamed: 0", "_target_", "row", "-", "null", "data.path", "\\", "x,y", "\x1b[31m",
]  # fmt: skip


def names() -> Iterator[tuple[str, str | bytes]]:
    for name in NAMES:
        quoted = '"' + name.replace('"', '""') + '"'
        yield f"a column called {name[:20]!r}", with_column(lambda i: f"{i % 7}.5", quoted)
    yield "two targets", with_column(lambda i: str(i), "y")
    yield "row numbers", with_column(str, "")
    yield "row numbers by name", with_column(str, "Unnamed: 0")


CELLS: dict[str, Callable[[int], str]] = {
    "thousands": lambda i: f'"{i + 1},050"',
    "percent": lambda i: f"{i}%",
    "money": lambda i: f"${i}00",
    "decimal comma": lambda i: f'"{i},2"',
    "leading zeros": lambda i: f"{i % 9:03}",
    "zip codes": lambda i: f"0{1234 + i % 5}",
    "hex": lambda i: hex(i),
    "underscores": lambda i: f"1_{i:03}",
    "dates": lambda i: f"2024-01-{i % 28 + 1:02}",
    "times": lambda i: f"{i % 24:02}:00",
    "stamps": lambda i: f"2024-01-01T{i % 24:02}:00:00Z",
    "truths": lambda i: ["True", "False"][i % 2],
    "yes and no": lambda i: ["yes", "no"][i % 2],
    "truths and numbers": lambda i: ["True", "0", "1"][i % 3],
    "missing": lambda i: "" if i % 5 == 0 else str(i),
    "all missing": lambda i: "",
    "NA": lambda i: "NA" if i % 5 == 0 else str(i),
    "mostly NA": lambda i: "NA" if i % 5 else str(i),
    "question marks": lambda i: "?" if i == 3 else str(i),
    "None": lambda i: "None" if i == 3 else str(i),
    "nan": lambda i: "nan" if i == 3 else f"{i}.5",
    "NaN": lambda i: "NaN" if i == 3 else f"{i}.5",
    "inf": lambda i: "inf" if i == 3 else f"{i}.5",
    "-Infinity": lambda i: "-Infinity" if i == 3 else f"{i}.5",
    "stray text": lambda i: "oops" if i == 3 else str(i),
    "huge": lambda i: f"{i + 1}e300",
    "hugest": lambda i: f"{(-1) ** i * 1.7}e308",
    "tiny": lambda i: f"{i}e-320",
    "big ids": lambda i: str(2**63 + i),
    "bigger ids": lambda i: str(10**30 + i),
    "constant": lambda i: "1",
    "constant text": lambda i: "x",
    "texts of their own": lambda i: f"id{i}",
    "long texts": lambda i: "x" * 5000 + str(i % 2),
    "controls": lambda i: f"\x07{i % 3}",
    "emoji": lambda i: "🙂🙃"[i % 2],
    "markup": lambda i: ["[/x]", "<b>"][i % 2],
    "interpolations": lambda i: ["${a}", "$b"][i % 2],
    "minus zero": lambda i: "-0.0",
    "signs": lambda i: f"+{i}",
    "floats of classes": lambda i: f"{i % 3}.0",
    "ones": lambda i: str(i % 2),
    "many classes": lambda i: str(i % 20),
    "bytes": lambda i: f"b'{i % 3}'",
    "lists": lambda i: f'"[{i}, {i}]"',
    "fractions": lambda i: f"{i}/7",
    "exponents": lambda i: f"{i}E+2",
    "blanks round": lambda i: f" {i} ",
    "units": lambda i: f"{i}kg",
}


def cells() -> Iterator[tuple[str, str | bytes]]:
    """Yield every kind of cell as a feature and as the target."""
    for name, value in CELLS.items():
        yield f"a feature of {name}", with_column(value)
        table = rows()
        for i, line in enumerate(table[1:]):
            line[-1] = value(i)
        yield f"a target of {name}", text(table)


def flipped(content: bytes, seed: int) -> bytes:
    """Return content with a few bits turned over, or cut short."""
    draw = random.Random(seed)
    changed = bytearray(content)
    if seed % 4 == 0:
        return bytes(changed[: draw.randrange(len(changed))])
    for _ in range(draw.randint(1, 8)):
        changed[draw.randrange(len(changed))] ^= 1 << draw.randrange(8)
    return bytes(changed)


def binary(kind: str) -> bytes:
    """Return the good table as Parquet or Arrow."""
    import polars as pl

    frame = pl.read_csv(io.StringIO(text(rows())))
    out = io.BytesIO()
    if kind == "parquet":
        frame.write_parquet(out)
    else:
        frame.write_ipc(out)
    return out.getvalue()


def damaged() -> Iterator[tuple[str, str, bytes]]:
    """Yield (name, suffix, content) of files whose bits an accident turned over."""
    for kind, count in (("parquet", 16), ("arrow", 16), ("csv", 8)):
        good = text(rows()).encode() if kind == "csv" else binary(kind)
        for seed in range(count):
            yield f"{kind} with flipped bits, seed {seed}", kind, flipped(good, seed)


def _case(name: str, command: str, file: str, content: str | bytes, **more: object) -> Case:
    typed = command.format(path=file)
    return Case(
        name, typed, says=".", either=True, files={file: content}, makes=["out.csv"], **more
    )  # type: ignore[arg-type]


def training() -> list[Case]:
    """Return the tables to train on."""
    made = [
        _case(f"train on {name}", TRAIN, "t.csv", content)
        for part in (dialects, names, cells)
        for name, content in part()
    ]
    made += [
        _case(f"train on {name}", TRAIN, f"t.{suffix}", content)
        for name, suffix, content in damaged()
    ]
    for name, arrange in {
        "a directory": lambda d: (d / "t.csv").mkdir(),
        "a loop of links": lambda d: (d / "t.csv").symlink_to("t.csv"),
        "a link to nothing": lambda d: (d / "t.csv").symlink_to("nothing.csv"),
        "a pipe": lambda d: os.mkfifo(d / "t.csv"),
        "no file": lambda d: None,
    }.items():
        typed = TRAIN.format(path="t.csv")
        made.append(Case(f"train on {name}", typed, says=".", arrange=arrange))
    for name in ("a*.csv", "x[1].csv", "what?.csv", "{a,b}.csv", "~.csv", "a b.csv", "é.csv"):
        typed = [word if "path" not in word else f'data.path="{name}"' for word in TRAIN.split()]
        made.append(Case(f"train on a file called {name}", typed, files={name: text(rows())}))
    return made


def predicting(run: Path) -> list[Case]:
    """Return the tables to predict for, by a run that trained on the good table."""

    def arrange(directory: Path) -> None:
        shutil.copytree(run, directory / "run")

    chosen = [*dialects(), *list(names())[::4], *list(cells())[::5]]
    return [
        _case(f"predict for {name}", PREDICT, "new.csv", content, arrange=arrange)
        for name, content in chosen
    ]
