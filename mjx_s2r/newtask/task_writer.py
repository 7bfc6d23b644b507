"""A task file and its test, written for one robot, tried before they are left.

What is written is Python for the reader: names of the robot, a table of rows with the source of
each limit, a reward that can be learned. Rows that the model cannot have are found by trying them
and are left out, with the reason.
"""

import importlib.util
import keyword
import os
import re
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

import jinja2
import mujoco
import numpy as np

from mjx_s2r.mjcf.load import load
from mjx_s2r.newtask.robot_facts import RobotFacts, Tip, find_tip, robot_facts, standing_height
from mjx_s2r.newtask.table_rows import (
    SOURCES,
    WIDTH,
    TableRow,
    constants_of,
    names_code,
    quoted,
    table_rows,
    two_digits,
)
from mjx_s2r.params import ParamError
from mjx_s2r.render.cameras import bind_cameras
from mjx_s2r.render.looks.assets import RenderConfig
from mjx_s2r.sim.backends.physics_config import ModelError
from mjx_s2r.sim.env import make
from mjx_s2r.sim.model.model_contract import substeps_of
from mjx_s2r.sim.model.workspace import reachable_points, widest_layer

TEMPLATES = Path(__file__).parent / "templates"
ROW = re.compile(r"parameter '([^']+)'")  # in an error about a row
PIXELS = 64  # of the camera's picture, to a side
CLEAR = 0.02  # m that a target lies over the ground at least
ENOUGH = 0.1  # share of the tip's places that a condition must leave
LAYER = 0.06  # share of the reach by which the heights of targets that a camera finds differ


@dataclass(frozen=True, eq=False)
class NewTask:
    """A task that has been written.

    Attributes:
        name: name of the task and of its module.
        class_name: name of its class.
        file: the task's file.
        test: the file of its test.
        facts: what was read off the model.
        told: sentences about what was chosen.
        left_out: sentences about rows that the model cannot have.
        rows: how many rows its table has.
    """

    name: str
    class_name: str
    file: Path
    test: Path
    facts: RobotFacts
    told: tuple[str, ...]
    left_out: tuple[str, ...]
    rows: int


def write_new_task(
    name: str, model: Path, folder: Path, *, kind: str = "auto", overwrite: bool = False
) -> NewTask:
    """Writes NAME.py and test_NAME.py for the robot in a file.

    Args:
        name: name of the task, a Python name.
        model: its MJCF.
        folder: where the two files go.
        kind: "arm", "legged", or "auto" to choose from the model.
        overwrite: whether files that are there may be replaced.

    Raises:
        ParamError: a name that cannot be, or files that are there.
        ModelError: a model that cannot be read, or that no task can be written for.
    """
    file, test = folder / f"{name}.py", folder / f"test_{name}.py"
    _check_name(name, file)
    there = [str(path) for path in (file, test) if path.exists()]
    if there and not overwrite:
        raise ParamError(
            f"{' and '.join(there)} {'is' if len(there) == 1 else 'are'} there already; name "
            "another task, or say --overwrite"
        )
    loaded = load(model)
    facts = robot_facts(model, loaded.model, kind)
    if loaded.kind == "urdf":
        raise ModelError(
            f"{model} is a URDF, which has no actuators; `python -m train prepare {model}` writes "
            "an MJCF that has"
        )
    draft = _Draft(name, facts, file)
    rows, left_out = _rows_that_bind(draft, table_rows(facts, draft.end))
    folder.mkdir(parents=True, exist_ok=True)
    file.write_text(draft.task_code(rows))
    test.write_text(draft.test_code())
    return NewTask(
        name=name,
        class_name=draft.class_name,
        file=file,
        test=test,
        facts=facts,
        told=draft.told,
        left_out=tuple(left_out),
        rows=sum(row.count for row in rows),
    )


def _check_name(name: str, file: Path) -> None:
    """Refuses a name that Python cannot import as this file.

    Raises:
        ParamError: no Python name, or the name of another module or task.
    """
    from mjx_s2r.envs.registry import task_names

    if not name.isidentifier() or keyword.iskeyword(name) or name.startswith("_"):
        near = re.sub(r"\W+", "_", name).strip("_").lower()
        near = f"task_{near}" if not near.isidentifier() or keyword.iskeyword(near) else near
        raise ParamError(
            f"name {name!r} is no name of a Python module: letters, digits and underscores, no "
            f"digit or underscore first, no keyword; e.g. {near}"
        )
    if name in task_names():
        raise ParamError(f"name {name!r} is that of a task that is there; choose another")
    found = importlib.util.find_spec(name)
    origin = None if found is None else found.origin
    if found is not None and (origin is None or Path(origin).resolve() != file.resolve()):
        raise ParamError(
            f"name {name!r} is that of another Python module ({origin or 'a package'}), which "
            f"would be imported instead; choose another, e.g. my_{name}"
        )


class _Draft:
    """The text of a task in the making."""

    def __init__(self, name: str, facts: RobotFacts, file: Path) -> None:
        """Reads off the robot what the text says."""
        self.name, self.facts, self.file = name, facts, file
        self.class_name = "".join(word.capitalize() for word in name.split("_"))
        self.tip = find_tip(facts) if facts.kind == "arm" else None
        root = facts.model.body(facts.root).name
        self.end = self.tip.body if self.tip else root
        self.constants = constants_of(facts, self.end)
        self.words = self._arm(self.tip) if self.tip else self._legged()
        self.told = tuple(self._told())

    def task_code(self, rows: Sequence[TableRow]) -> str:
        """Returns the task's file with a table of ``rows``."""
        lines = [row.code() for row in rows]
        text = "\n".join(lines)
        constants = {n: v for n, v in self.constants.items() if self._is_used(n, text)}
        sources = {row.source for row in rows}
        words = self.words | {
            "told": self.told,
            "rows": lines,
            "constants": [
                f"{n} = {names_code(v, 0, len(n) + 3)}"
                if self._same(n) is None
                else f"{n} = {self._same(n)}"
                for n, v in constants.items()
            ],
            "sources": [f"{n} = {quoted(text)}" for n, text in SOURCES.items() if n in sources],
            "hinges": "HINGES" if "HINGES" in constants else "JOINTS",
        }
        return _render(f"{self.facts.kind}.py.j2", words)

    def test_code(self) -> str:
        """Returns the file of the task's test."""
        imports = sorted(
            (
                f"from {self.name} import MODEL, SPACE, {self.class_name}",
                "from mjx_s2r.contract import from_json, to_json",
                "from mjx_s2r.runtime import devices",
                "from mjx_s2r.sim.backends.physics_config import PhysicsConfig",
                "from mjx_s2r.sim.env import Env, make",
                "from mjx_s2r.sim.interface import State",
            ),
            key=lambda line: line.split()[1],
        )
        return _render("test.py.j2", self.words | {"imports": imports})

    def _same(self, name: str) -> str | None:
        """Returns the constant that holds the same names as the one called ``name``, if one did."""
        value = self.constants[name]
        return "JOINTS" if name != "JOINTS" and value == self.constants["JOINTS"] else None

    def _is_used(self, name: str, rows: str) -> bool:
        """Returns whether the file speaks of a constant."""
        return name in ("JOINTS", "TRUNK") or re.search(rf"\b{name}\b", rows) is not None

    def _common(self) -> dict[str, Any]:
        """Returns what both kinds of file say."""
        facts = self.facts
        hz = 25 if facts.kind == "arm" else 50
        return {
            "name": quoted(self.name),
            "plain": self.name,
            "class_name": self.class_name,
            "model_name": facts.path.name,
            "file": _path_code(facts.path, self.file.parent),
            "control_hz": hz,
            "camera": quoted(f"{facts.camera}:{PIXELS}x{PIXELS}@{hz}") if facts.camera else "",
            "has_floor": facts.floor is not None,
        }

    def _arm(self, tip: Tip) -> dict[str, Any]:
        """Returns what the file of an arm says."""
        facts, m = self.facts, self.facts.model
        site = tip.site or "tip"
        spec = mujoco.MjSpec.from_file(str(facts.path))
        if not tip.site:
            spec.body(tip.body).add_site(name=site, pos=tip.pos)
        model = spec.compile()
        points, lowest, seen = self._workspace(model, site)
        data = mujoco.MjData(m)
        mujoco.mj_resetData(m, data)
        if m.nkey:
            mujoco.mj_resetDataKeyframe(m, data, 0)
        mujoco.mj_kinematics(m, data)
        mujoco.mj_camlight(m, data)
        span = float(np.linalg.norm(points - data.xanchor[facts.drives.joints[0]], axis=1).max())
        arguments = ["MODEL", quoted(site), "JOINTS"]
        if seen:
            eye = data.cam_xpos[m.camera(facts.camera).id]
            bottom, top = widest_layer(points, LAYER * span, eye)
            lowest = round(bottom, 3)
            points = points[(points[:, 2] >= lowest) & (points[:, 2] <= top)]
            arguments += [f"lowest={lowest:g}", f"highest={round(top, 3):g}"]
            arguments += [f"camera={quoted(facts.camera)}"]
        elif lowest is not None:
            arguments += [f"lowest={lowest:g}"]
        return self._common() | {
            "title": f"{self.class_name}: an arm that brings its tip to a red ball.",
            "tip": tip,
            "tip_body": quoted(tip.body),
            "tip_site": quoted(site),
            "tolerance": two_digits(0.05 * span),
            "near": two_digits(0.1 * span),
            "far": two_digits(0.5 * span),
            "radius": two_digits(0.04 * span),
            "place": tuple(round(float(x), 3) for x in points.mean(0)),
            "reachable": arguments,
            "camera_sees": seen,
            "others": bool(m.nmocap),
        }

    def _workspace(self, model: mujoco.MjModel, site: str) -> tuple[np.ndarray, float | None, bool]:
        """Returns places of the tip, the height above which they lie, and whether they are seen.

        A condition that would leave few places is dropped.
        """
        facts = self.facts
        count = 400
        free = reachable_points(model, site, facts.drives.names, count=count)
        ground = self._ground(model)
        above = free[free[:, 2] >= ground]
        lowest = ground if len(above) >= ENOUGH * count else None
        least = -np.inf if lowest is None else lowest
        still = facts.camera and model.cam_bodyid[model.camera(facts.camera).id] == 0
        if still:
            try:
                seen = reachable_points(
                    model,
                    site,
                    facts.drives.names,
                    lowest=least,
                    camera=facts.camera,
                    count=count,
                )
            except ModelError:
                seen = free[:0]
            if len(seen) >= ENOUGH * count:
                return seen, lowest, True
        return (free if lowest is None else above), lowest, False

    def _ground(self, model: mujoco.MjModel) -> float:
        """Returns the least height of a target: over a floor and the robot's base, m."""
        data = mujoco.MjData(model)
        mujoco.mj_kinematics(model, data)
        planes = model.geom_type == int(mujoco.mjtGeom.mjGEOM_PLANE)
        base = int(model.body_rootid[model.jnt_bodyid[self.facts.drives.joints[0]]])
        heights = [*data.geom_xpos[planes, 2], data.xpos[base, 2]]
        return round(float(max(heights)) + CLEAR, 3)

    def _legged(self) -> dict[str, Any]:
        """Returns what the file of a robot that floats says."""
        return self._common() | {
            "title": f"{self.class_name}: a robot on legs that stands, or walks forwards.",
            "height": round(standing_height(self.facts), 4),
            "mode": quoted("position" if self.facts.servo else "effort"),
        }

    def _told(self) -> list[str]:
        """Returns sentences about what was chosen."""
        facts, m = self.facts, self.facts.model
        number = len(facts.drives.names)
        if self.tip:
            where = f"site {self.tip.site}" if self.tip.site else "a site added at its far end"
            found = [
                "Kind arm: its base stands fixed.",
                f"Tip: {where}, on body {self.tip.body}.",
            ]
        else:
            found = [f"Kind legged: body {m.body(facts.root).name} floats."]
        drive = "position servos" if facts.servo else "motors"
        found.append(f"Commands: {number} joints by {drive}.")
        found += [f"Not commanded: {why.split(';')[0]}." for why in facts.left_out]
        steps = substeps_of(m, self.words["control_hz"])
        found.append(f"Physics: {steps} steps of {m.opt.timestep:g} s for one of the policy.")
        if not facts.camera:
            found.append(
                "No camera in the model, so no student can be distilled; prepare adds one."
            )
        elif self.words.get("camera_sees") is False:
            found.append(f"Camera: {facts.camera}, which sees few of the targets; turn or move it.")
        else:
            found.append(f"Camera: {facts.camera}.")
        return found


def _rows_that_bind(draft: _Draft, rows: Sequence[TableRow]) -> tuple[list[TableRow], list[str]]:
    """Returns the rows that the model can have, and a sentence about each of the others.

    Raises:
        ParamError: a task that cannot be bound for another reason than a row.
        ModelError: likewise.
    """
    kept = list(rows)
    left_out: list[str] = []
    while True:
        try:
            _bind(draft, kept)
            return kept, left_out
        except (ParamError, ModelError) as error:
            found = ROW.search(str(error))
            guilty = [row for row in kept if found and found[1] in row.names]
            if not found or not guilty:
                raise
            place = kept.index(guilty[0])
            kept[place : place + 1] = guilty[0].without(found[1])
            left_out.append(str(error))


def _bind(draft: _Draft, rows: Sequence[TableRow]) -> None:
    """Binds the task as it would be written, to physics and to its camera."""
    module = ModuleType(draft.name)
    module.__file__ = str(draft.file.resolve())
    code = draft.task_code(rows)
    sys.modules[draft.name], before = module, sys.modules.get(draft.name)
    try:
        exec(compile(code, str(draft.file), "exec"), module.__dict__)
        task = getattr(module, draft.class_name)()
        make(task)
        if task.contract.cameras:
            bind_cameras(task.space, task.mj_model, task.contract, RenderConfig())
    finally:
        del sys.modules[draft.name]
        if before is not None:
            sys.modules[draft.name] = before


def _render(template: str, words: Mapping[str, Any]) -> str:
    """Returns a template with its words filled in."""
    loader = jinja2.FileSystemLoader(TEMPLATES)
    env = jinja2.Environment(
        loader=loader,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
        undefined=jinja2.StrictUndefined,
    )
    return env.get_template(template).render(words)


def _path_code(path: Path, folder: Path) -> str:
    """Returns the Python of a path as seen from the file that says it."""
    try:
        parts = Path(os.path.relpath(path.resolve(), folder.resolve())).parts
    except ValueError:  # another drive
        return f"Path({quoted(path.resolve().as_posix())})"
    word = quoted("/".join(parts))
    line = f"Path(__file__).parent / {word}"
    if len(f"FILE = {line}") <= WIDTH:
        return line
    return f"(\n    Path(__file__).parent\n    / {word}\n)"
