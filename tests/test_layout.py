"""The shape of the code, checked: who may import whom, and how large things may grow."""

import ast
import subprocess
import sys
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
ROOMS = ("mjx_s2r", "envs", "train", "benchmarks", "tests")
MAX_FILE, MAX_FUNCTION, MAX_PARAMETERS, MAX_NESTING = 400, 60, 7, 2

# room -> top-level rooms that it must not import
FORBIDDEN = {
    "mjx_s2r": ("envs", "train", "benchmarks", "tests"),
    "envs": ("train", "benchmarks", "tests"),
    "train": ("benchmarks", "tests"),
}
JAX = ("jax", "jaxlib", "flax", "optax", "orbax", "jax2onnx", "mujoco.mjx")
FREE_OF_JAX = tuple(
    f"mjx_s2r/{n}.py" for n in ["params", "row", "laws", "contract", "config", "runs"]
)
FOR_ROBOT = ("mjx_s2r.params.space", "mjx_s2r.contract", "mjx_s2r.robot")

Function = ast.FunctionDef | ast.AsyncFunctionDef


def sources(*rooms: str) -> list[str]:
    """Returns the Python files of ``rooms``, relative to the root."""
    files = (f for room in rooms for f in (ROOT / room).rglob("*.py"))
    return sorted(str(f.relative_to(ROOT)) for f in files if "__pycache__" not in f.parts)


@cache
def parsed(file: str) -> ast.Module:
    """Returns the syntax tree of a file."""
    return ast.parse((ROOT / file).read_text(), file)


def imports(tree: ast.AST) -> Iterator[str]:
    """Yields every dotted name that is imported; "from a import b" yields "a" and "a.b"."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield node.module or ""
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def within(name: str, packages: tuple[str, ...]) -> bool:
    """Returns whether a dotted name is one of ``packages`` or inside one."""
    return any(name == p or name.startswith(p + ".") for p in packages)


def functions(tree: ast.AST) -> Iterator[Function]:
    """Yields every function and method."""
    yield from (n for n in ast.walk(tree) if isinstance(n, Function))


def nesting(node: ast.AST) -> int:
    """Returns how many functions lie in one another at most; 1 without nesting."""
    inner = max(map(nesting, ast.iter_child_nodes(node)), default=0)
    return inner + isinstance(node, Function)


def parameters(function: Function) -> int:
    """Returns the number of parameters, without self and cls."""
    a = function.args
    named = [p.arg for p in (*a.posonlyargs, *a.args, *a.kwonlyargs)]
    return len(named) - (named[:1] in (["self"], ["cls"])) + bool(a.vararg) + bool(a.kwarg)


def calls_step(tree: ast.AST) -> bool:
    """Returns whether ``mjx.step`` is named, or imported by itself."""
    named = any(
        isinstance(n, ast.Attribute)
        and n.attr == "step"
        and isinstance(n.value, ast.Name)
        and n.value.id == "mjx"
        for n in ast.walk(tree)
    )
    return named or any(
        name.startswith("mujoco.mjx") and name.endswith(".step") for name in imports(tree)
    )


@pytest.mark.parametrize("room", FORBIDDEN)
def test_arrows_never_point_back(room: str) -> None:
    wrong = [
        f"{file} imports {name}"
        for file in sources(room)
        for name in imports(parsed(file))
        if within(name, FORBIDDEN[room])
    ]
    assert not wrong


def test_what_the_robot_needs_is_free_of_jax() -> None:
    files = [*FREE_OF_JAX, *sources("mjx_s2r/robot")]
    wrong = [f"{f} imports {n}" for f in files for n in imports(parsed(f)) if within(n, JAX)]
    assert not wrong


def test_the_robot_imports_only_the_table_and_the_contract() -> None:
    wrong = [
        f"{file} imports {name}"
        for file in sources("mjx_s2r/robot")
        for name in imports(parsed(file))
        if within(name, ("mjx_s2r",)) and name != "mjx_s2r" and not within(name, FOR_ROBOT)
    ]
    assert not wrong


def test_importing_the_robot_side_loads_no_jax() -> None:
    names = [f.removesuffix(".py").replace("/", ".") for f in sources("mjx_s2r/robot")]
    modules = [n.removesuffix(".__init__") for n in names if not n.endswith("__main__")]
    code = (
        f"import sys, importlib; [importlib.import_module(m) for m in {modules}];"
        "print('jax' in sys.modules)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
    )
    assert done.stdout.split()[-1:] == ["False"]


def test_devices_imports_jax_only_inside_functions() -> None:
    top = ast.Module(
        [n for n in parsed("mjx_s2r/runtime/devices.py").body if not isinstance(n, ast.If)], []
    )
    outside = [n for n in top.body if not isinstance(n, Function)]
    assert not [name for n in outside for name in imports(n) if within(name, JAX)]


def test_only_physics_steps() -> None:
    wrong = [f for f in sources("mjx_s2r", "envs", "train") if calls_step(parsed(f))]
    assert set(wrong) <= {"mjx_s2r/sim/physics.py"}


def test_inits_hold_one_docstring_and_nothing_else() -> None:
    for file in (f for f in sources(*ROOMS) if f.endswith("__init__.py")):
        assert ast.get_docstring(parsed(file)), f"{file} has no docstring"
        assert len(parsed(file).body) == 1, f"{file} holds more than its docstring"


def test_imports_are_absolute() -> None:
    relative = [
        file
        for file in sources(*ROOMS)
        for node in ast.walk(parsed(file))
        if isinstance(node, ast.ImportFrom) and node.level
    ]
    assert not relative


def test_files_are_small() -> None:
    lengths = {f: len((ROOT / f).read_text().splitlines()) for f in sources(*ROOMS)}
    assert not {f: n for f, n in lengths.items() if n > MAX_FILE}


def test_functions_are_small() -> None:
    wrong = {}
    for file in sources(*ROOMS):
        for f in functions(parsed(file)):
            lines = (f.end_lineno or f.lineno) - f.lineno + 1
            size = lines, parameters(f), nesting(f)
            limit = MAX_FUNCTION, MAX_PARAMETERS, MAX_NESTING
            if any(n > most for n, most in zip(size, limit, strict=True)):
                wrong[f"{file}:{f.lineno} {f.name}"] = f"lines, parameters, nesting: {size}"
    assert not wrong


def test_everything_outside_the_tests_has_a_docstring() -> None:
    wrong = []
    for file in sources(*ROOMS[:-1]):
        tree = parsed(file)
        owners = [tree, *(n for n in ast.walk(tree) if isinstance(n, ast.ClassDef))]
        items = [n for o in owners for n in o.body if isinstance(n, Function | ast.ClassDef)]
        wrong += [f"{file}:{n.lineno} {n.name}" for n in items if not ast.get_docstring(n)]
        wrong += [] if ast.get_docstring(tree) else [file]
    assert not wrong
