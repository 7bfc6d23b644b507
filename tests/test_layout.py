"""The architecture, checked: who may import whom, what runs without jax, one name for one thing."""

import ast
import re
import subprocess
import sys
from collections import defaultdict
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]

# Top-level packages that a top-level package must not import, not even inside a function.
FORBIDDEN = {
    "mjx_s2r": ("train", "benchmarks", "tests"),
    "train": ("benchmarks", "tests"),
    "benchmarks": ("tests",),
}
JAX = ("jax", "jaxlib", "flax", "optax", "orbax", "jax2onnx", "mujoco.mjx")
WITHOUT_JAX = (
    *("mjx_s2r.params", "mjx_s2r.contract", "mjx_s2r.drives"),
    *("mjx_s2r.io.config", "mjx_s2r.io.run", "mjx_s2r.report"),
    *(f"mjx_s2r.transfer.{name}" for name in ("linearization", "noise", "information")),
    *(f"mjx_s2r.transfer.{name}" for name in ("intervals", "truncated", "identifiability")),
    *(f"mjx_s2r.transfer.{name}" for name in ("inference", "posterior", "unit_coordinates")),
    *(f"mjx_s2r.transfer.{name}" for name in ("recording", "mapping", "readers", "telemetry")),
    *("mjx_s2r.transfer.recording_checks", "mjx_s2r.transfer.demonstrations"),
)
ROBOT_IMPORTS = ("mjx_s2r.params", "mjx_s2r.contract", "mjx_s2r.drives", "mjx_s2r.robot")

# The core is what one reads to understand training; packages around it build on it. `runtime` and
# `io` stand below it.
CORE = (
    "mjx_s2r.params",
    "mjx_s2r.contract",
    "mjx_s2r.drives",
    "mjx_s2r.sim",
    "mjx_s2r.learn",
    *(f"mjx_s2r.curriculum.{name}" for name in ("interface", "coordinates", "uniform", "adr")),
    "mjx_s2r.curriculum.pictures",
)
BELOW_CORE = ("mjx_s2r.runtime", "mjx_s2r.io")
# What joins the core to the packages around it: the file, and what it may import of them.
JOINTS = {
    "mjx_s2r/learn/train_logger.py": (
        "mjx_s2r.curriculum.episode_recorder",
        "mjx_s2r.learn.evaluation",
    ),
}
# Policies that see need the camera model, and nothing else of the renderer.
VISION = ("mjx_s2r.render.cameras", "mjx_s2r.render.geometry.pose")

# Functions that several modules may define, because callers write the module in front of them
# (`normalizer.init`, `beta.kl`). At most one of each may be imported without it.
ABOVE_ENVS = ("mjx_s2r/envs/", "mjx_s2r/api/")
DOOR = "mjx_s2r/api/door.py"  # its names are those that a notebook uses
GENERIC = {
    *("init", "make", "apply", "sample", "check", "read", "write", "pack", "unpack"),
    *("describe", "require", "to_json", "from_json"),  # of a contract, a model, a library ...
    *("entropy", "kl", "quantile"),  # of each family of distributions
    *("room", "full"),  # of contacts, one for each physics backend
    *("push", "expose", "nominal"),  # of the simulated effect and of the table's row that drives it
}

Function = ast.FunctionDef | ast.AsyncFunctionDef


def sources(*rooms: str) -> list[str]:
    """Returns the Python files of folders, relative to the root."""
    files = (f for room in rooms for f in (ROOT / room).rglob("*.py"))
    return sorted(str(f.relative_to(ROOT)) for f in files if "__pycache__" not in f.parts)


@cache
def parsed(file: str) -> ast.Module:
    """Returns the syntax tree of a file."""
    return ast.parse((ROOT / file).read_text(), file)


def module_of(file: str) -> str:
    """Returns the dotted name of a file."""
    return file.removesuffix(".py").removesuffix("/__init__").replace("/", ".")


def is_module(name: str) -> bool:
    """Returns whether a dotted name is a module or a package of this repository."""
    path = ROOT / name.replace(".", "/")
    return path.is_dir() or path.with_suffix(".py").exists()


def outside_functions(tree: ast.AST) -> Iterator[ast.AST]:
    """Yields the nodes that run when a module is imported."""
    for node in ast.iter_child_nodes(tree):
        if not isinstance(node, Function | ast.Lambda):
            yield node
            yield from outside_functions(node)


@cache
def imports(file: str, *, lazy: bool = True) -> set[str]:
    """Returns the dotted names that a file imports; "from a import b" gives "a.b" and "a".

    A package is left out where only a module in it is meant.

    Args:
        file: relative to the root.
        lazy: also what it imports inside functions.
    """
    found = set()
    tree = parsed(file)
    for node in ast.walk(tree) if lazy else outside_functions(tree):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            inner = {f"{node.module}.{alias.name}" for alias in node.names}
            found |= inner
            if not all(map(is_module, inner)):
                found.add(node.module or "")
    return found


def within(name: str, packages: tuple[str, ...]) -> bool:
    """Returns whether a dotted name is one of ``packages`` or inside one."""
    return any(name == p or name.startswith(f"{p}.") for p in packages)


def wrong_imports(
    files: list[str], forbidden: tuple[str, ...], allowed: tuple[str, ...] = ()
) -> list[str]:
    """Returns "file imports name" for what is in ``forbidden`` and not in ``allowed``."""
    return [
        f"{file} imports {name}"
        for file in files
        for name in sorted(imports(file))
        if within(name, forbidden) and not within(name, allowed)
    ]


@pytest.mark.parametrize("room", FORBIDDEN)
def test_arrows_never_point_back(room: str) -> None:
    assert not wrong_imports(sources(room), FORBIDDEN[room])


def test_the_library_knows_no_task() -> None:
    """A task is looked up by its name, when it is asked for; only the api, on top, does that."""
    wrong = [
        f"{file} imports {name}"
        for file in sources("mjx_s2r")
        for name in imports(file, lazy=False)
        if within(name, ("mjx_s2r.envs",)) and not file.startswith(ABOVE_ENVS)
    ]
    assert not wrong


def test_the_core_stands_alone() -> None:
    """What one must read to understand training imports no package built around it."""
    core = [f for f in sources("mjx_s2r") if within(module_of(f), CORE)]
    wrong = []
    for file in core:
        allowed = (*CORE, *BELOW_CORE, *JOINTS.get(file, ()))
        if file.startswith("mjx_s2r/learn/"):
            allowed += VISION
        names = {name for name in imports(file) if within(name, ("mjx_s2r",))}
        wrong += [f"{file} imports {name}" for name in sorted(names) if not within(name, allowed)]
    assert not wrong


def test_what_the_robot_needs_is_free_of_jax() -> None:
    files = [f for f in sources("mjx_s2r") if within(module_of(f), (*WITHOUT_JAX, *ROBOT_IMPORTS))]
    assert len(files) > 10
    assert not wrong_imports(files, JAX)


def test_the_robot_imports_only_the_table_and_the_contract() -> None:
    assert not wrong_imports(sources("mjx_s2r/robot"), ("mjx_s2r",), ROBOT_IMPORTS)


def test_importing_the_robot_side_loads_no_jax() -> None:
    files = [f for f in sources("mjx_s2r") if within(module_of(f), (*WITHOUT_JAX, *ROBOT_IMPORTS))]
    modules = [module_of(f) for f in files if not f.endswith("__main__.py")]
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
    """So that it can set what jax reads when it is imported; `if TYPE_CHECKING` runs nothing."""
    tree = parsed("mjx_s2r/runtime/devices.py")
    run = ast.Module([n for n in tree.body if not isinstance(n, ast.If)], [])
    nodes = [n for n in outside_functions(run) if isinstance(n, ast.Import | ast.ImportFrom)]
    names = [a.name if isinstance(n, ast.Import) else n.module for n in nodes for a in n.names]
    assert not [name for name in names if within(name or "", JAX)]


def test_only_the_physics_steps() -> None:
    """Whoever calls mjx.step elsewhere passes by the leaves, the backends and their checks."""
    call = re.compile(r"\bmjx\.step\(|from mujoco\.mjx import .*\bstep\b")
    found = {f for f in sources("mjx_s2r", "train") if call.search((ROOT / f).read_text())}
    allowed = {f for f in found if f.startswith("mjx_s2r/sim/backends/")}
    assert found <= {"mjx_s2r/sim/physics.py", *allowed}
    assert found


def test_imports_are_absolute() -> None:
    relative = [
        file
        for file in sources(*FORBIDDEN, "tests")
        for node in ast.walk(parsed(file))
        if isinstance(node, ast.ImportFrom) and node.level
    ]
    assert not relative


def definitions() -> dict[str, list[tuple[str, Function | ast.ClassDef]]]:
    """Returns the public classes and functions of the library: name -> (file, node) of each."""
    found = defaultdict(list)
    for file in sources("mjx_s2r"):
        for node in parsed(file).body if file != DOOR else ():
            if isinstance(node, Function | ast.ClassDef) and not node.name.startswith("_"):
                found[node.name].append((file, node))
    return found


@cache
def bare_imports() -> dict[tuple[str, str], list[str]]:
    """Returns who, tests aside, imports a name under that name: (module, name) -> files."""
    users = defaultdict(list)
    for user in sources(*FORBIDDEN):
        for node in ast.walk(parsed(user)):
            if isinstance(node, ast.ImportFrom) and not user.endswith("__init__.py"):
                for alias in node.names:
                    if alias.asname in (None, alias.name):
                        users[node.module or "", alias.name].append(user)
    return users


def imported_bare(file: str, name: str) -> list[str]:
    """Returns who imports ``name`` from a file, or from the package that passes it on."""
    owners = [module_of(file)]
    package = str(Path(file).with_name("__init__.py"))
    if f"{module_of(file)}.{name}" in imports(package):
        owners.append(module_of(package))
    return [user for owner in owners for user in bare_imports().get((owner, name), [])]


def test_a_name_means_one_thing() -> None:
    """Public classes and functions of the library are named once, but for the generic verbs."""
    twice = {name: found for name, found in definitions().items() if len(found) > 1}
    wrong = {
        name: sorted(file for file, _ in found)
        for name, found in twice.items()
        if name not in GENERIC or any(isinstance(node, ast.ClassDef) for _, node in found)
    }
    assert not wrong, "rename all but one of each, or move what they share to one place"


def test_a_generic_verb_is_called_with_its_module() -> None:
    """Where it is not, one reads which of the modules is meant from the import alone."""
    wrong, defined = {}, definitions()
    for name in GENERIC & defined.keys():
        users = {file: imported_bare(file, name) for file, _ in defined[name]}
        if sum(map(bool, users.values())) > 1:
            wrong[name] = users
    assert not wrong


def reading_list() -> list[str]:
    """Returns the files that the README lists on the way from the command line to the gradient."""
    text = (ROOT / "README.md").read_text()
    _, _, after = text.partition("From the command line to the gradient:")
    return re.findall(r"^\d+\. `([\w/]+\.py)`", after.partition("\n#")[0], re.M)


def test_the_readme_leads_to_the_gradient() -> None:
    """Each file of the list is imported by one before it; one of them takes the gradient."""
    files = reading_list()
    assert len(files) > 4, "README.md: 'From the command line to the gradient:', '1. `a.py`: ...'"
    assert [f for f in files if not (ROOT / f).exists()] == []
    known: set[str] = set()
    lost = []
    for file in files:
        if known and module_of(file) not in known and not file.startswith("mjx_s2r/envs/"):
            lost.append(file)  # a task is looked up by its name, so no file imports it
        known |= imports(file)
    assert not lost, "no file before these in the list imports them"
    gradient = re.compile(r"\bjax\.(value_and_)?grad\(")
    assert [f for f in files if gradient.search((ROOT / f).read_text())], "none takes a gradient"
