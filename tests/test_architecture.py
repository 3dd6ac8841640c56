"""The order of imports and a few rules of the house, held over the syntax trees."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
FILES = [*sorted((ROOT / "vpt_core").rglob("*.py")), *sorted((ROOT / "app").rglob("*.py")), ROOT / "app.py"]
LIBRARY = [file for file in FILES if file.is_relative_to(ROOT / "vpt_core")]

GROUND = {"errors", "table", "options", "spec", "metrics", "paired", "paths", "layers", "ledger", "files", "shortage",
          "tensor_header"}  # fmt: skip
MAY_IMPORT: dict[str, set[str]] = {
    "errors": set(),
    "paths": set(),
    "files": set(),
    "shortage": {"errors"},
    "tensor_header": {"errors"},
    "table": {"errors"},
    "options": {"errors"},
    "metrics": {"errors"},
    "paired": {"errors"},
    "layers": {"errors"},
    "ledger": {"errors", "layers", "table"},
    "spec": {"errors", "options"},
    "tasks": GROUND - {"spec"},
    "backbones": GROUND - {"spec"},
    "methods": GROUND | {"backbones", "precision", "shares"},
    "device": {"errors"},
    "precision": {"device"},
    "shares": set(),
    "model": GROUND | {"backbones", "methods", "precision", "shares"},
    "embed": GROUND | {"backbones", "model"},
    "augment": set(),
    "train": GROUND | {"augment", "embed", "model"},
    "prompt_file": GROUND | {"backbones", "embed", "methods", "model", "tasks"},
    "mixed": GROUND | {"backbones", "methods", "model"},
    "many": GROUND | {"backbones", "embed", "mixed", "model", "prompt_file", "tasks"},
    "model_card": GROUND | {"backbones", "methods", "prompt_file", "tasks"},
    "hub": GROUND | {"model_card", "prompt_file"},
    "epochs": GROUND | {"model", "prompt_file"},
    "runs": GROUND | {"backbones", "epochs", "methods", "prompt_file", "train"},
    "held": GROUND | {"tasks"},
    "run_zip": GROUND | {"backbones", "epochs", "held", "methods", "model_card", "prompt_file", "runs", "tasks", "train"},
    "standing": GROUND | {"methods", "runs"},
    "worth": GROUND | {"standing"},
    "comparison": GROUND | {"methods", "runs", "standing", "worth"},
    "memory": GROUND | {"device", "embed", "model"},
    "checkpoint": GROUND | {"prompt_file", "train"},
    "traps": GROUND | {"prompt_file", "runs", "tasks"},
    "report": GROUND | {"analysis", "backbones", "methods", "model", "prompt_file", "runs", "standing", "tasks", "traps"},
    "execute": GROUND
    | {"__init__", "backbones", "checkpoint", "device", "embed", "epochs", "memory", "methods", "model", "precision"}
    | {"prompt_file", "runs", "tasks", "train"},
    "series": GROUND | {"execute", "methods", "runs", "standing", "tasks"},
    "analysis": GROUND | {"backbones", "embed", "methods", "model", "shares"},
    "flags": GROUND | {"__init__"},
    "__init__": set(),
}
"""For each part of the library (a module, or a package with all that is in it) the parts that it may import."""

TOP = {"__main__", "commands"}
# Seconds of numba, a second of pyarrow: imported where they are first used.
EVERYWHERE = {"umap", "vpt_core.tasks.hub_reader.read_sample"}


def part(file: Path) -> str:
    return file.relative_to(ROOT / "vpt_core").parts[0].removesuffix(".py")


@cache
def tree(file: Path) -> ast.Module:
    return ast.parse(file.read_text(encoding="utf-8"), str(file))


def imports(node: ast.AST) -> Iterator[str]:
    """Dotted names of all that is imported anywhere within `node`; `from a import b` counts as a.b."""
    for child in ast.walk(node):
        if isinstance(child, ast.Import):
            yield from (alias.name for alias in child.names)
        elif isinstance(child, ast.ImportFrom):
            assert child.level == 0, "a relative import"
            yield from (f"{child.module}.{alias.name}" for alias in child.names)


def parts_imported(file: Path) -> set[str]:
    """The parts of the library that `file` imports; a name of the package itself counts as `__init__`."""
    found = set()
    for name in imports(tree(file)):
        top, *rest = name.split(".")
        if top == "vpt_core":
            found.add(rest[0] if rest and _exists(rest[0]) else "__init__")
    return found


def _exists(name: str) -> bool:
    return (ROOT / "vpt_core" / name).is_dir() or (ROOT / "vpt_core" / f"{name}.py").is_file()


def name_of(file: Path) -> str:
    return str(file.relative_to(ROOT))


each_file = pytest.mark.parametrize("file", FILES, ids=name_of)
each_of_library = pytest.mark.parametrize("file", LIBRARY, ids=name_of)


def test_there_is_something_to_look_at():
    assert {part(file) for file in LIBRARY} - TOP == set(MAY_IMPORT)
    assert parts_imported(ROOT / "vpt_core" / "model.py") == {"backbones", "methods", "precision", "shares"}
    assert (ROOT / "app" / "__init__.py").is_file()  # without it app.py would shadow the package


def test_the_order_has_no_circle():
    left = dict(MAY_IMPORT)
    while left:
        free = {name for name, wanted in left.items() if not wanted & left.keys()}
        assert free, f"a circle among {sorted(left)}"
        left = {name: wanted for name, wanted in left.items() if name not in free}


@each_of_library
def test_imports_point_one_way(file):
    own = part(file)
    if own not in TOP:
        assert parts_imported(file) - {own} <= MAY_IMPORT[own]


@each_of_library
def test_the_library_knows_neither_app_nor_page(file):
    assert not {name.split(".")[0] for name in imports(tree(file))} & {"app", "gradio", "plotly"}


@pytest.mark.parametrize("file", [f for f in LIBRARY if part(f) in GROUND | {"tasks"}], ids=name_of)
def test_data_and_ground_need_no_torch(file):
    assert not {name.split(".")[0] for name in imports(tree(file))} & {"torch", "timm", "safetensors"}


@each_file
def test_imports_stand_at_the_top(file):
    """But umap, which takes seconds, and the command line's, whose `check` starts without torch."""
    if name_of(file) == "vpt_core/commands.py":
        return
    functions = (n for n in ast.walk(tree(file)) if isinstance(n, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda))
    assert {name for function in functions for name in imports(function)} <= EVERYWHERE


UNSAFE = {"pickle", "cPickle", "_pickle", "dill", "cloudpickle", "joblib", "shelve", "marshal"}
UNSAFE_CALLS = {"torch.load", "np.loads", "numpy.loads", "eval", "exec", "os.system", "yaml.load"}


@each_file
def test_nothing_unpickles_or_executes_text(file):
    whole = tree(file)
    assert not {name.split(".")[0] for name in imports(whole)} & UNSAFE
    assert "torch.load" not in set(imports(whole))
    for call in (n for n in ast.walk(whole) if isinstance(n, ast.Call)):
        called = ast.unparse(call.func)
        assert called not in UNSAFE_CALLS, f"line {call.lineno}"
        given = {k.arg: ast.unparse(k.value) for k in call.keywords}
        assert given.get("allow_pickle", "False") == "False", f"line {call.lineno}"
        if called in ("np.load", "numpy.load", "np.save", "numpy.save"):
            assert "allow_pickle" in given, f"line {call.lineno}"


@each_file
def test_no_exception_is_swallowed(file):
    for handler in (n for n in ast.walk(tree(file)) if isinstance(n, ast.ExceptHandler)):
        silent = all(isinstance(n, ast.Pass | ast.Continue) or isinstance(n, ast.Expr) and isinstance(n.value, ast.Constant)
                     for n in handler.body)  # fmt: skip
        wide = handler.type is None or ast.unparse(handler.type) in ("Exception", "BaseException")
        assert not (silent and wide), f"line {handler.lineno}"


@each_file
def test_files_and_functions_are_short(file):
    assert len(file.read_text(encoding="utf-8").splitlines()) <= 300
    for function in (n for n in ast.walk(tree(file)) if isinstance(n, ast.FunctionDef | ast.AsyncFunctionDef)):
        assert function.end_lineno - function.lineno + 1 <= 60, function.name


@each_file
def test_every_module_says_what_it_is_for(file):
    source = file.read_text(encoding="utf-8")
    assert not source.strip() or ast.get_docstring(tree(file)), "no docstring"
    assert not re.search(r"\b(TODO|FIXME|XXX)\b", source)


@each_of_library
def test_public_functions_are_typed(file):
    for node in tree(file).body:
        members = [node, *node.body] if isinstance(node, ast.ClassDef) else [node]
        for function in (m for m in members if isinstance(m, ast.FunctionDef) and not m.name.startswith("_")):
            arguments = [a for a in (*function.args.posonlyargs, *function.args.args, *function.args.kwonlyargs)
                         if a.arg not in ("self", "cls")]  # fmt: skip
            assert function.returns is not None and all(a.annotation for a in arguments), function.name
