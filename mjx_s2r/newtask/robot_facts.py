"""What a new task needs to know of a robot, read off its model: kind, joints, links and places."""

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import mujoco
import numpy as np

from mjx_s2r.drives import Drives, called, resolve
from mjx_s2r.mjcf.surroundings import lowest_point
from mjx_s2r.sim.backends.physics_config import ModelError
from mjx_s2r.sim.model.model_contract import drive_kinds, home_qpos

Kind = Literal["arm", "legged"]
TIPS = r"tip|tcp|ee|eef|end_?eff|grip|pinch|grasp|tool|attach|flange|hand"  # names of such sites
PREPARE = "`python -m train prepare` writes them"
_GEOM = mujoco.mjtGeom


@dataclass(frozen=True, eq=False)
class RobotFacts:
    """A robot as a new task sees it.

    Attributes:
        path: its file.
        model: its model.
        kind: arm (it stands fixed) or legged (it floats and moves its joints).
        drives: the joints that a policy commands.
        servo: position servos; else motors.
        left_out: a sentence about every actuator that it does not command.
        links: moving bodies of the robot that have mass.
        root: body that floats, of a legged robot; else the first moving one.
        camera: name of the camera that a policy sees through; empty for none.
        floor: name of the first plane; None where the model has none.
    """

    path: Path
    model: mujoco.MjModel
    kind: Kind
    drives: Drives
    servo: bool
    left_out: tuple[str, ...]
    links: tuple[int, ...]
    root: int
    camera: str
    floor: str | None

    @property
    def mass(self) -> float:
        """Mass of the moving links, kg."""
        return float(self.model.body_mass[list(self.links)].sum())


@dataclass(frozen=True)
class Tip:
    """The end of an arm.

    Attributes:
        body: name of the body that it belongs to.
        site: name of the site that is there already; empty where the task adds one.
        pos: (3,) place in the body, m.
    """

    body: str
    site: str
    pos: tuple[float, float, float]


def robot_facts(path: Path, model: mujoco.MjModel, kind: str = "auto") -> RobotFacts:
    """Returns what a new task needs to know of a robot.

    Args:
        path: its file.
        model: its model.
        kind: "arm", "legged", or "auto" to choose by whether the robot floats.

    Raises:
        ModelError: no joints, no actuator that a policy can command, a part without a name, or a
            kind that the robot is not; each with its remedy.
    """
    if not model.njnt:
        raise ModelError(
            f"{path} has no joints, so nothing moves; give its <body>s a <joint> each, or name the "
            "file of the whole robot"
        )
    kinds, left_out = drive_kinds(model)
    servo = "position" in kinds.values()
    names = [n for n, k in kinds.items() if k == ("position" if servo else "effort")]
    if not names:
        why = left_out[0] if left_out else "it has none at all"
        raise ModelError(
            f"{path} has no actuator that a policy can command ({why}); write <position> servos, "
            f"or {PREPARE}"
        )
    idle = [f"joint {n!r}: a motor, beside servos" for n in kinds if n not in names]
    drives = resolve(model, names)
    roots = np.unique(model.body_rootid[model.jnt_bodyid[drives.joints]])
    moving = (model.body_weldid != 0) & np.isin(model.body_rootid, roots)
    links = tuple(int(i) for i in np.flatnonzero(moving & (model.body_mass > 0)))
    floats = [int(r) for r in roots if _floats(model, int(r))]
    chosen: Kind = "legged" if floats else "arm"
    if kind not in ("auto", chosen):
        what = "has a free joint" if floats else "stands fixed, without a free joint"
        raise ModelError(f"{path} is no {kind} robot: its base {what}; leave --kind at auto")
    facts = RobotFacts(
        path=path,
        model=model,
        kind=chosen,
        drives=drives,
        servo=servo,
        left_out=(*left_out, *idle),
        links=links,
        root=floats[0] if floats else int(model.jnt_bodyid[drives.joints[0]]),
        camera=_camera(model),
        floor=_floor(model),
    )
    _refuse_nameless(facts)
    return facts


def find_tip(facts: RobotFacts) -> Tip:
    """Returns the end of an arm: a site that is called so, or the far end of its last link."""
    m = facts.model
    depth = np.zeros(m.nbody, int)
    own = np.isin(np.arange(m.nbody), m.jnt_bodyid[facts.drives.joints])
    for body in range(1, m.nbody):
        depth[body] = depth[m.body_parentid[body]] + own[body]
    depth[~np.isin(np.arange(m.nbody), facts.links)] = 0
    far = int(depth.max())
    sites = [i for i in range(m.nsite) if depth[m.site_bodyid[i]] >= max(1, far - 1)]
    called_so = [i for i in sites if re.search(TIPS, m.site(i).name, re.I)]
    for site in called_so or [i for i in sites if m.site(i).name]:
        x, y, z = m.site_pos[site].tolist()
        return Tip(m.body(int(m.site_bodyid[site])).name, m.site(site).name, (x, y, z))
    last = [b for b in range(m.nbody) if depth[b] == far and own[b]]
    body = last[0] if len(last) == 1 else int(m.body_parentid[last[0]])  # two fingers: the palm
    return Tip(m.body(body).name, "", _far_end(m, body))


def standing_height(facts: RobotFacts) -> float:
    """Returns the height of a floating base over the ground on which its feet stand at home, m.

    Raises:
        ModelError: nothing of the robot can touch the ground.
    """
    m, data = facts.model, mujoco.MjData(facts.model)
    data.qpos[:] = home_qpos(m)
    mujoco.mj_kinematics(m, data)
    body = m.geom_bodyid
    touch = (m.geom_contype | m.geom_conaffinity) != 0
    mine = touch & (m.body_rootid[body] == facts.root)
    if not mine.any():
        raise ModelError(
            f"{facts.path}: no geom of {m.body(facts.root).name!r} collides, so it would fall "
            "through the ground; `python -m train prepare` fits collision geoms"
        )
    lowest = min(lowest_point(m, data, int(g)) for g in np.flatnonzero(mine))
    return float(data.xpos[facts.root, 2] - lowest)


def _floats(m: mujoco.MjModel, root: int) -> bool:
    """Returns whether a body has a free joint."""
    joint = int(m.body_jntadr[root])
    return joint >= 0 and m.jnt_type[joint] == int(mujoco.mjtJoint.mjJNT_FREE)


def _camera(m: mujoco.MjModel) -> str:
    """Returns the first camera with a name, one that stands still before those that ride along."""
    named = [i for i in range(m.ncam) if m.camera(i).name]
    still = [i for i in named if m.cam_bodyid[i] == 0]
    return str(m.camera((still or named)[0]).name) if named else ""


def _floor(m: mujoco.MjModel) -> str | None:
    """Returns the name of the first plane; None for none."""
    planes = np.flatnonzero(m.geom_type == int(_GEOM.mjGEOM_PLANE))
    return str(m.geom(int(planes[0])).name) if len(planes) else None


def _refuse_nameless(facts: RobotFacts) -> None:
    """Raises ModelError for a part that a row would have to name and that has no name."""
    m, drives = facts.model, facts.drives
    parts = [(f"joint number {j}", m.joint(int(j)).name) for j in drives.joints]
    parts += [(called(m, int(a)), m.actuator(int(a)).name) for a in drives.actuators]
    parts += [(f"body number {b}", m.body(b).name) for b in facts.links]
    nameless = [what for what, name in parts if not name]
    if nameless:
        raise ModelError(
            f"{facts.path}: {', '.join(nameless[:3])} {'has' if len(nameless) == 1 else 'have'} no "
            f"name, and the table finds everything by name; write name=..., or {PREPARE}"
        )


def _far_end(m: mujoco.MjModel, body: int) -> tuple[float, float, float]:
    """Returns the end of a body along the line from its frame to the middle of its geoms, m."""
    geoms = np.flatnonzero(m.geom_bodyid == body)
    if not len(geoms):
        return tuple(float(x) for x in m.body_ipos[body])  # type: ignore[return-value]
    corners = np.array(np.meshgrid(*[(-1, 1)] * 3)).reshape(3, -1).T
    points = []
    for geom in geoms:
        turn = np.zeros(9)
        mujoco.mju_quat2Mat(turn, m.geom_quat[geom])
        inside = m.geom_aabb[geom, :3] + corners * m.geom_aabb[geom, 3:]
        points.append(m.geom_pos[geom] + inside @ turn.reshape(3, 3).T)
    cloud = np.concatenate(points)
    middle = (cloud.min(0) + cloud.max(0)) / 2
    along = middle / max(float(np.linalg.norm(middle)), 1e-9)
    end = along * (cloud @ along).max()
    return tuple(round(float(x), 4) for x in end)  # type: ignore[return-value]
