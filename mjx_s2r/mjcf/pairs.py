"""Pairs of bodies whose contacts a model does not need, found by sampling the joints' ranges.

As the self-collision matrix of MoveIt's Setup Assistant has it: pairs that touch in the pose of
rest, that touch in every pose, and that never come near one another. What travels (a cube on a
table, a robot on legs) may come anywhere, so its contacts with all that is not part of it are kept.
"""

import copy
from dataclasses import dataclass
from typing import Literal

import mujoco
import numpy as np
from scipy.spatial.transform import Rotation

Reason = Literal["parent and child", "touches at rest", "always touches", "never touches", "kept"]
ALWAYS = 0.99  # share of poses in which a pair touches that is always in contact
# Joints of one number; an element of a MuJoCo array is never `in` a tuple of enums
BALL = int(mujoco.mjtJoint.mjJNT_BALL)
ONE_NUMBER = (int(mujoco.mjtJoint.mjJNT_HINGE), int(mujoco.mjtJoint.mjJNT_SLIDE))
TURN = np.pi  # range of a hinge without limits, both ways [rad]


@dataclass(frozen=True)
class Pair:
    """Two bodies that could touch.

    Attributes:
        bodies: their names.
        reason: why contacts between them are left out, or "kept".
        touching: share of the sampled poses in which they touch.
        rest_mm: distance in the pose of rest, negative where one is inside the other [mm]; None
            beyond the clearance.
        nearest_mm: least distance over the poses [mm]; None beyond the clearance.
    """

    bodies: tuple[str, str]
    reason: Reason
    touching: float
    rest_mm: float | None
    nearest_mm: float | None


def find_pairs(
    mj_model: mujoco.MjModel,
    rest: np.ndarray,
    poses: int,
    clearance: float,
    kept: tuple[tuple[str, str], ...] = (),
) -> list[Pair]:
    """Returns all pairs of the robot's bodies that MuJoCo would look at, with what to do.

    Contacts with the world itself, such as a floor, are not asked about.

    Args:
        mj_model: with all bodies named.
        rest: (nq,) the pose of rest.
        poses: how many random poses; the same ones each time.
        clearance: a pair that is never nearer than this never touches [m].
        kept: pairs to keep whatever is found.
    """
    wide = _with_margin(mj_model, clearance)
    data = mujoco.MjData(wide)
    at_rest = _distances(wide, data, rest)
    links, free = _links(mj_model), _travelling(mj_model)
    touched: dict[tuple[int, int], int] = {}
    nearest: dict[tuple[int, int], float] = {}
    for pose in random_poses(mj_model, rest, poses):
        for pair, gap in _distances(wide, data, pose).items():
            touched[pair] = touched.get(pair, 0) + (gap < 0)
            nearest[pair] = min(gap, nearest.get(pair, np.inf))
    found = []
    for a, b in candidates(mj_model):
        names = (mj_model.body(a).name, mj_model.body(b).name)
        share = touched.get((a, b), 0) / max(poses, 1)
        rest_gap, near = at_rest.get((a, b)), nearest.get((a, b))
        apart = free[a] != free[b]  # one travels, or they travel each by itself
        found.append(
            Pair(
                bodies=names,
                reason="kept"
                if apart or {names, names[::-1]} & set(kept)
                else _reason(links, a, b, share, rest_gap, near),
                touching=share,
                rest_mm=None if rest_gap is None else 1e3 * rest_gap,
                nearest_mm=None if near is None else 1e3 * near,
            )
        )
    return found


def candidates(m: mujoco.MjModel) -> list[tuple[int, int]]:
    """Returns the pairs of bodies, the world aside, between which MuJoCo looks for contacts.

    The rules are those of mj_collision (engine_collision_driver.c: filterBodyPair, filterBitmask).
    """
    solid = [
        range(m.body_geomadr[b], m.body_geomadr[b] + m.body_geomnum[b]) for b in range(m.nbody)
    ]
    excluded = set(m.exclude_signature.tolist())
    out = []
    for a in range(1, m.nbody):
        for b in range(a + 1, m.nbody):
            weld_a, weld_b = m.body_weldid[a], m.body_weldid[b]
            if weld_a == weld_b or (a << 16) + b in excluded:
                continue
            above_a, above_b = (m.body_weldid[m.body_parentid[w]] for w in (weld_a, weld_b))
            if weld_a and weld_b and (weld_a == above_b or weld_b == above_a):
                continue
            if any(
                m.geom_contype[g] & m.geom_conaffinity[h]
                or m.geom_contype[h] & m.geom_conaffinity[g]
                for g in solid[a]
                for h in solid[b]
            ):
                out.append((a, b))
    return out


def random_poses(m: mujoco.MjModel, rest: np.ndarray, count: int) -> np.ndarray:
    """Returns poses (N, nq) drawn over the joints' ranges, the same ones each time.

    Ball joints turn any way, within their limit where they have one. Free joints stay at rest, and
    so do slides without limits; joints that an equality ties to another one follow it.
    """
    rng = np.random.default_rng(0)
    poses = np.tile(rest, (count, 1))
    for j in range(m.njnt):
        at, kind = m.jnt_qposadr[j], m.jnt_type[j]
        if kind == BALL:
            poses[:, at : at + 4] = _turned(
                rng, count, m.jnt_range[j, 1] if m.jnt_limited[j] else 0
            )
        if kind not in ONE_NUMBER:
            continue
        if m.jnt_limited[j]:
            poses[:, at] = rng.uniform(m.jnt_range[j, 0], m.jnt_range[j, 1], count)
        elif kind == ONE_NUMBER[0]:
            poses[:, at] = rng.uniform(-TURN, TURN, count)
    for e in np.flatnonzero(m.eq_type == mujoco.mjtEq.mjEQ_JOINT):
        first, second = m.eq_obj1id[e], m.eq_obj2id[e]
        to = m.jnt_qposadr[first]
        away = np.zeros(count)
        if second >= 0:
            source = m.jnt_qposadr[second]
            away = poses[:, source] - m.qpos0[source]
        poses[:, to] = m.qpos0[to] + np.polynomial.polynomial.polyval(away, m.eq_data[e, :5])
    return poses


def _turned(rng: np.random.Generator, count: int, limit: float) -> np.ndarray:
    """Returns quaternions (N, 4) turned by at most ``limit`` [rad] about any axis; any way if 0."""
    if not limit:
        return np.asarray(Rotation.random(count, rng).as_quat(scalar_first=True))
    axes = rng.normal(size=(count, 3))
    axes *= rng.uniform(0, limit, (count, 1)) / np.linalg.norm(axes, axis=1, keepdims=True)
    return np.asarray(Rotation.from_rotvec(axes).as_quat(scalar_first=True))


def penetration(m: mujoco.MjModel, pose: np.ndarray) -> float:
    """Returns how deep the deepest contact of a pose is [m]; zero where nothing touches."""
    data = mujoco.MjData(m)
    gaps = _distances(m, data, pose, world=True)
    return max(0.0, *(-gap for gap in gaps.values())) if gaps else 0.0


def _with_margin(m: mujoco.MjModel, clearance: float) -> mujoco.MjModel:
    """Returns a copy in which contacts are found before geoms touch."""
    wide = copy.copy(m)
    wide.geom_margin[:] = clearance
    wide.geom_gap[:] = 0.0
    return wide


def _distances(
    m: mujoco.MjModel, data: mujoco.MjData, pose: np.ndarray, world: bool = False
) -> dict[tuple[int, int], float]:
    """Returns the least distance [m] of each pair of bodies in contact in a pose.

    Args:
        m: the model.
        data: scratch.
        pose: (nq,).
        world: also with the world's own geoms.
    """
    data.qpos[:] = pose
    mujoco.mj_kinematics(m, data)
    mujoco.mj_comPos(m, data)
    mujoco.mj_collision(m, data)
    out: dict[tuple[int, int], float] = {}
    if not data.ncon:
        return out
    bodies = np.sort(m.geom_bodyid[data.contact.geom], axis=1)
    for (a, b), gap in zip(bodies.tolist(), data.contact.dist.tolist(), strict=True):
        if (a or world) and a != b:
            out[a, b] = min(gap, out.get((a, b), np.inf))
    return out


def _links(m: mujoco.MjModel) -> list[tuple[int, int]]:
    """Returns the rigid part that each body belongs to, and the part that carries it.

    A part is called after its lowest body. What stands fixed in the world is one part for each
    body of the world, so that a table is not taken for the base of an arm.
    """
    part, above = [0] * m.nbody, [0] * m.nbody
    for b in range(1, m.nbody):
        parent = m.body_parentid[b]
        fixed = m.body_weldid[b] != b and parent > 0
        part[b] = part[parent] if fixed else b
        above[b] = above[parent] if fixed else part[parent]
    return list(zip(part, above, strict=True))


def _travelling(m: mujoco.MjModel) -> list[int]:
    """Returns per body the topmost one of its tree that goes anywhere; 0 where none does.

    That is one with a free joint, a slide without limits, or a place that a program sets (mocap).
    """
    free, slide = int(mujoco.mjtJoint.mjJNT_FREE), int(mujoco.mjtJoint.mjJNT_SLIDE)
    out = [0] * m.nbody
    for b in range(1, m.nbody):
        joints = range(m.body_jntadr[b], m.body_jntadr[b] + m.body_jntnum[b])
        goes = m.body_mocapid[b] >= 0 or any(
            m.jnt_type[j] == free or (m.jnt_type[j] == slide and not m.jnt_limited[j])
            for j in joints
        )
        out[b] = out[m.body_parentid[b]] or (b if goes else 0)
    return out


def _reason(
    links: list[tuple[int, int]],
    a: int,
    b: int,
    share: float,
    rest: float | None,
    near: float | None,
) -> Reason:
    """Returns why the contacts of bodies a and b are left out."""
    (part_a, above_a), (part_b, above_b) = links[a], links[b]
    if part_a in (part_b, above_b) or part_b == above_a:
        return "parent and child"
    if share >= ALWAYS:
        return "always touches"
    if rest is not None and rest < 0:
        return "touches at rest"
    return "never touches" if near is None and rest is None else "kept"
