"""The rules of the house, held against the code's own imports, the tree and the README."""

from __future__ import annotations

import ast
import re
import shlex
from collections.abc import Iterator
from pathlib import Path

import pytest
from hydra import compose, initialize_config_dir

ROOT = Path(__file__).parents[1]
SRC = ROOT / "src"
FILES = sorted(SRC.rglob("*.py"))
MOST_LINES = 550
MOST_AT_ROOT = 10

# Rooms from the ground up: a file imports only from floors below its own, and within its floor
# only what SAME_FLOOR names.
FLOORS = [
    ["errors", "signals", "seeds", "shapes", "__init__"],
    ["files", "metrics", "models"],
    ["config"],
    ["data"],
    ["records"],
    ["engine", "cli", "job"],
    ["callbacks", "analysis"],
    ["report", "dashboard"],
    ["assembly"],
    ["training", "evaluation"],
    ["sweep"],
    ["api"],
    ["__main__"],
]
# a package that can be called, since a function of the interface has its name
SAME_FLOOR = {("sweep", "api")}
FLOOR = {room: floor for floor, rooms in enumerate(FLOORS) for room in rooms}

WALLS = {
    "hydra": [
        "descent.cli", "descent.config.check", "descent.config.hydra_release",
        "descent.config.located", "descent.config.typed", "descent.job", "descent.sweep.composing",
        "descent.sweep.choices",
        "descent.sweep.hydra", "descent.sweep.sampling", "descent.sweep.after", "descent.api",
        "hydra_plugins",
    ],
    "lightning": [
        "descent.data.module", "descent.engine", "descent.callbacks",
        "descent.engine.foreign", "descent.engine.averaging",
        "descent.records.logger", "descent.records.trackers", "descent.assembly",
        "descent.training",
    ],
    "matplotlib": ["descent.report"],
    "tensorboard": ["descent.records", "descent.dashboard"],
}  # fmt: skip
ONLY_INSIDE_FUNCTIONS = (
    "matplotlib",
    "scipy",
    "sklearn",
    "polars",
    "rich",
    "filelock",
    "tensorboard",
    "jinja2",
    "joblib",
    "distributed",
    "ray",
)
ITS_BASES = {("descent.api.estimators", "sklearn")}  # whose classes it extends
BEFORE_TORCH = [
    "train", "eval", "report", "export", "dashboard",
    "descent.__main__",
    "descent.errors", "descent.signals", "descent.seeds", "descent.metrics", "descent.job",
    "descent.cli", "descent.evaluation", "descent.models.landscapes",
    *("descent.files", "descent.config", "descent.dashboard"),
    *(f"descent.records.{n}" for n in ("run", "endings", "multirun", "tables", "eventfile")),
    *("descent.records.document", "descent.data.row_weights", "descent.data.drawing"),
    *(f"descent.analysis.{n}" for n in ("summary", "trials")),
    *(f"descent.data.{n}" for n in ("arrays", "bundled", "line", "table", "landscape", "layout")),
    *(f"descent.data.{n}" for n in ("reading", "columns", "encoding", "split", "scale", "prepare")),
    *(f"descent.data.{n}" for n in ("left_out", "table_targets", "as_trained", "own_metrics")),
]  # fmt: skip


def name_of(path: Path) -> str:
    return ".".join(path.relative_to(SRC).with_suffix("").parts).removesuffix(".__init__")


def room_of(name: str) -> str:
    return name.split(".")[1] if "." in name else "__init__"


def imports(path: Path, top_level: bool = False) -> Iterator[str]:
    """Yield imported modules, `if TYPE_CHECKING:` left out; optionally only those run at import."""
    waiting: list[ast.AST] = [ast.parse(path.read_text())]
    while waiting:
        node = waiting.pop()
        if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.dump(node.test):
            continue
        if top_level and isinstance(node, (ast.FunctionDef, ast.Lambda)):
            continue
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            yield node.module
            yield from (f"{node.module}.{alias.name}" for alias in node.names)
        waiting += ast.iter_child_nodes(node)


def within(name: str, places: list[str]) -> bool:
    return any(name == place or name.startswith(place + ".") for place in places)


@pytest.mark.parametrize("path", FILES, ids=name_of)
def test_imports_point_down_and_never_back(path: Path) -> None:
    name = name_of(path)
    if not name.startswith("descent"):
        return
    room = room_of(name)
    for imported in imports(path):
        other = room_of(imported) if imported.startswith("descent.") else None
        if other is None or other not in FLOOR or other == room:
            continue
        lower = FLOOR[other] < FLOOR[room] or (room, other) in SAME_FLOOR
        assert lower, f"{name} imports {imported}, which is not below it"


def test_every_room_has_its_floor() -> None:
    rooms = {room_of(name_of(path)) for path in FILES if name_of(path).startswith("descent")}
    assert rooms == set(FLOOR)


@pytest.mark.parametrize("library", WALLS)
def test_a_library_stays_within_its_walls(library: str) -> None:
    for path in FILES:
        if library in {module.split(".")[0] for module in imports(path)}:
            assert within(name_of(path), WALLS[library]), f"{name_of(path)} imports {library}"


# where what depends on Hydra's release may stand; the sweeper extends one of Hydra's own
OF_A_RELEASE = {"descent.config.hydra_release", "hydra_plugins.descent_stack.sweeper"}


def test_what_depends_on_hydras_release_stands_in_one_place() -> None:
    for path in FILES:
        named = {module for module in imports(path) if module.startswith("hydra._internal")}
        text = path.read_text()
        told = [word for word in ("version_base", "register_new_resolver") if word in text]
        assert name_of(path) in OF_A_RELEASE or not [*named, *told], name_of(path)


def test_heavy_libraries_are_imported_where_they_are_used() -> None:
    for path in FILES:
        for module in imports(path, top_level=True):
            top = module.split(".")[0]
            if (name_of(path), top) in ITS_BASES:
                continue
            assert top not in ONLY_INSIDE_FUNCTIONS, f"{name_of(path)} imports {top} at its top"


def test_what_answers_before_torch_does_not_import_it() -> None:
    by_name = {name_of(path): path for path in FILES}
    for name in BEFORE_TORCH:
        for module in imports(by_name[name], top_level=True):
            assert module.split(".")[0] not in ("torch", "lightning"), f"{name} imports {module}"
            ours = module.startswith("descent.") and module in by_name
            ours = ours and by_name[module].name != "__init__.py"  # of packages, one docstring
            assert not ours or within(module, BEFORE_TORCH) or module == "descent.shapes", (
                f"{name} imports {module}, which may import torch"
            )


# ---- writing

# What makes, changes or removes files, and where it may occur.
WRITERS = (
    "descent.files.atomic",
    "descent.files.claims",
)
CHANGES = {
    *("write_text", "write_bytes", "rmtree", "unlink", "rmdir", "mkdir", "makedirs", "mkfifo"),
    *("rename", "symlink", "symlink_to", "hardlink_to", "touch", "tofile", "truncate"),
    *("ftruncate", "copyfile", "copytree", "chmod", "savetxt", "removedirs", "FileHandler"),
    *("RotatingFileHandler", "NamedTemporaryFile", "TemporaryDirectory"),
}
# Libraries that write: only into a file that `replacing` gave, which is called `file`.
GIVEN_A_FILE = {"savez", "savez_compressed", "savefig", "write_csv", "write_parquet", "write_ipc"}
GIVEN_A_FILE_TOO = {"torch.save", "np.save", "json.dump", "pickle.dump", "OmegaConf.save"}


def writes(call: ast.Call) -> str | None:
    """Return the name of what a call writes with, unless it writes into a file it was given."""
    function = call.func
    name = getattr(function, "attr", None) or getattr(function, "id", "")
    if name in CHANGES:
        return str(name)
    if name == "open" or (name == "fdopen" and len(call.args) > 1):
        texts = [a for a in ast.walk(call) if isinstance(a, ast.Constant)]
        modes = [a.value for a in texts if isinstance(a.value, str) and len(a.value) <= 3]
        return f"{name}({modes[0]})" if any(set(mode) & set("wax+") for mode in modes) else None
    if name == "replace" and isinstance(function, ast.Attribute):  # of a path; a text's takes two
        return "replace" if len(call.args) == 1 and not call.keywords else None
    if (name in GIVEN_A_FILE or ast.unparse(function) in GIVEN_A_FILE_TOO) and call.args:
        given = {getattr(argument, "id", None) for argument in call.args}
        return None if given & {"file", "text"} else str(name)
    return None


@pytest.mark.parametrize("path", FILES, ids=name_of)
def test_files_are_written_and_removed_in_one_place(path: Path) -> None:
    if within(name_of(path), list(WRITERS)):
        return
    calls = [node for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, ast.Call)]
    found = {(call.lineno, writes(call)) for call in calls if writes(call)}
    assert found == set(), f"{name_of(path)} writes without recording.atomic"


# ---- the tree


def test_the_top_level_is_complete() -> None:
    wanted = (
        "pyproject.toml README.md Makefile conf src tests outputs LICENSE CHANGELOG.md "
        "CONTRIBUTING.md constraints.txt .ci/run .gitignore .pre-commit-config.yaml"
    )
    assert [name for name in wanted.split() if not (ROOT / name).exists()] == []


def test_files_are_named_for_their_subject_and_stay_short() -> None:
    for path in FILES:
        assert path.stem not in ("utils", "util", "helpers", "misc", "common"), path
        assert len(path.read_text().splitlines()) <= MOST_LINES, f"{path} is too long"


@pytest.mark.parametrize("path", FILES, ids=name_of)
def test_functions_fit_a_screen(path: Path) -> None:
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            first = node.body[1 if ast.get_docstring(node) and len(node.body) > 1 else 0]
            lines = node.end_lineno - first.lineno + 1
            assert lines <= 50, f"{path}:{node.lineno} {node.name} has {lines} lines"


def test_few_modules_stand_at_the_root_and_no_name_stands_twice() -> None:
    ours = [p for p in FILES if "descent" in p.parts and not p.stem.startswith("__")]
    assert len([p for p in ours if p.parent.name == "descent"]) <= MOST_AT_ROOT
    inside = [p.stem for p in ours if p.parents[0] != SRC]
    assert sorted({name for name in inside if inside.count(name) > 1}) == []
    trees = [ast.parse(p.read_text()) for p in ours]
    classes = [n.name for t in trees for n in t.body if isinstance(n, ast.ClassDef)]
    public = [name for name in classes if not name.startswith("_")]
    assert sorted({name for name in public if public.count(name) > 1}) == []


def test_nothing_in_the_project_names_a_machine() -> None:
    for path in [*FILES, *(ROOT / "conf").rglob("*.yaml"), *ROOT.glob("*.*")]:
        if path.is_file() and path.name != ".git":  # a file in a worktree
            assert not re.search(r"(?<![\w.$-])/(home|root|tmp|work)/", path.read_text()), path


# ---- the README


def readme_commands() -> list[str]:
    blocks = re.findall(r"```(?:sh|text)\n(.*?)```", (ROOT / "README.md").read_text(), re.DOTALL)
    lines = [
        line.split(" #")[0].removeprefix("$ ").strip() for b in blocks for line in b.split("\n")
    ]
    return [line for line in lines if line.startswith(("python src/", "make "))]


@pytest.mark.parametrize("command", [c for c in readme_commands() if c.startswith("python")])
def test_a_command_of_the_readme_composes(command: str) -> None:
    _, script, *overrides = shlex.split(command.replace("<run>", "x").replace("<time>", "x"))
    # the README's own example of a mistake; and a directory of the reader's own
    if "learnin_rate" in command or "--config-dir" in command:
        return
    swept = [re.sub(r"=(\w[\w.]*),.*", r"=\1", o) for o in overrides if o != "-m"]
    swept = [re.sub(r"=interval\(([^,]*),.*\)$", r"=\1", o) for o in swept]
    swept = [re.sub(r"=range\(.*\)$", "=0", o) for o in swept]
    if script.endswith("report.py"):  # as the script itself does
        swept = [re.sub("^sweep=", "multirun=", o) for o in swept]
    with initialize_config_dir(str(ROOT / "conf"), version_base="1.3"):
        compose(Path(script).stem, overrides=[o for o in swept if not o.startswith("--")])


def test_the_readme_has_commands_and_its_make_targets_exist() -> None:
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    named = {c.split()[1] for c in readme_commands() if c.startswith("make")}
    assert {"train", "test"} <= named <= targets
    assert sum(c.startswith("python") for c in readme_commands()) >= 8


def test_every_picture_of_the_readme_is_there() -> None:
    pictures = re.findall(r"!\[[^]]*\]\(([^)]+)\)", (ROOT / "README.md").read_text())
    assert pictures
    assert [p for p in pictures if not (ROOT / p).is_file()] == []


def test_ci_runs_the_test_command_of_the_readme() -> None:
    script = (ROOT / ".ci" / "run").read_text()
    assert "make lint" in script
    assert "make test\n" in script


# ---- what comes from a disk

READERS = {"load", "loads", "read_text", "read_bytes", "read_csv", "scan_csv", "reader", "load_all"}
MODULES = {"json", "yaml", "OmegaConf", "np", "torch", "pl", "csv", "joblib", "pickle"}
# the door; tables of the user's; our own conf/, pages and pictures; what the system says of itself
DOORS = [
    "descent.files.bounded", "descent.data.reading", "descent.data.layout", "descent.config.keys",
    "descent.report.page", "descent.report.sweep.sweep_page", "descent.config.machine",
    "descent.signals",
]  # fmt: skip
# values that this very process packed
UNPACKED = {("descent.records.run", "pickle.loads"), ("descent.sweep.planning", "pickle.loads")}


@pytest.mark.parametrize("path", FILES, ids=name_of)
def test_runs_are_read_through_one_door(path: Path) -> None:
    name = name_of(path)
    for node in ast.walk(ast.parse(path.read_text())):
        if not (isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute)):
            continue
        called = ast.unparse(node.func)
        head, method = called.split(".")[0], node.func.attr
        reads = method in READERS and (head in MODULES or method.startswith("read_"))
        if reads and name not in DOORS and (name, called) not in UNPACKED:
            raise AssertionError(f"{name} calls {called}; see descent/files/bounded.py")
