"""A robot's kinematic tree for its contract, from the MuJoCo model.

The robot's side keeps points of the robot inside a workspace, without MuJoCo. What it needs is
written here: the bodies that the commanded joints move, and balls that hold their shapes in.
"""

import mujoco
import numpy as np

from mjx_s2r.contract import Chain, ChainLink, ChainPoint, JointKind
from mjx_s2r.drives import resolve

CORNERS = np.array([(x, y, z) for x in (-1, 1) for y in (-1, 1) for z in (-1, 1)], float)
KINDS: dict[int, JointKind] = {
    int(mujoco.mjtJoint.mjJNT_HINGE): "hinge",
    int(mujoco.mjtJoint.mjJNT_SLIDE): "slide",
}
ENDLESS = (int(mujoco.mjtGeom.mjGEOM_PLANE), int(mujoco.mjtGeom.mjGEOM_HFIELD))
SPHERE, CAPSULE = int(mujoco.mjtGeom.mjGEOM_SPHERE), int(mujoco.mjtGeom.mjGEOM_CAPSULE)


def chain_of(mj_model: mujoco.MjModel, joints: tuple[str, ...]) -> Chain:
    """Returns the kinematic tree that some joints move, with the points to watch.

    The base is the body on the world that carries all of them, fixed or free; the world where
    there is no such body. Joints in the tree that are not commanded stay as the model is written.
    Points are the sites of what moves, and balls and corners that hold its geoms in: the colliding
    ones of a body that has such, else all.

    Args:
        mj_model: the model.
        joints: names of what is commanded, as a contract has them; also the order of "joint_pos".

    Raises:
        ParamError: a joint that does not exist.
    """
    drives = resolve(mj_model, joints)
    names = {int(joint): name for joint, name in zip(drives.joints, joints, strict=True)}
    base = _base(mj_model, drives.joints)
    links: list[ChainLink] = []
    last = {base: -1}  # body -> the link that its geoms are on
    moving = set()
    for body in range(1, mj_model.nbody):
        parent = int(mj_model.body_parentid[body])
        if body == base or parent not in last:
            continue
        made = _links(mj_model, body, last[parent], names, len(links))
        last[body] = len(links) + len(made) - 1
        if parent in moving or any(link.kind != "fixed" for link in made):
            moving.add(body)
        links += made
    links, last = _pruned(links, {body: last[body] for body in moving})
    points = [point for body, link in last.items() for point in _points(mj_model, body, link)]
    return Chain(joints=joints, links=tuple(links), points=tuple(points))


def _base(mj_model: mujoco.MjModel, joints: np.ndarray) -> int:
    """Returns the body whose frame the tree begins in: the robot's own, or the world."""
    bodies = mj_model.jnt_bodyid[joints]
    roots = {int(mj_model.body_rootid[body]) for body in bodies}
    root = roots.pop()
    return 0 if roots or root in bodies else root


def _links(
    mj_model: mujoco.MjModel, body: int, parent: int, names: dict[int, str], index: int
) -> list[ChainLink]:
    """Returns the links of one body: one for each of its commanded joints, at least one.

    Args:
        mj_model: the model.
        body: the body.
        parent: link of the body's parent.
        names: commanded joint -> its name.
        index: of the first link.
    """
    called = mj_model.body(body).name or f"body {body}"
    pos, quat = _tuple(mj_model.body_pos[body]), _tuple(mj_model.body_quat[body])
    first = int(mj_model.body_jntadr[body])
    joints = [j for j in range(first, first + int(mj_model.body_jntnum[body])) if j in names]
    if not joints:
        return [ChainLink(called, parent, pos, quat)]
    links = []
    for number, joint in enumerate(joints):
        links.append(
            ChainLink(
                name=called if not number else f"{called} {number + 1}",
                parent=parent if not number else index + number - 1,
                pos=pos if not number else (0.0, 0.0, 0.0),
                quat=quat if not number else (1.0, 0.0, 0.0, 0.0),
                kind=KINDS[int(mj_model.jnt_type[joint])],
                joint=names[joint],
                axis=_tuple(mj_model.jnt_axis[joint]),
                anchor=_tuple(mj_model.jnt_pos[joint]),
                zero=float(mj_model.qpos0[mj_model.jnt_qposadr[joint]]),
            )
        )
    return links


def _pruned(links: list[ChainLink], last: dict[int, int]) -> tuple[list[ChainLink], dict[int, int]]:
    """Returns the links that move, and those on the way to them, with the bodies' new indices."""
    needed: set[int] = set()
    for index in last.values():
        while index >= 0 and index not in needed:
            needed.add(index)
            index = links[index].parent
    order = sorted(needed)
    new = {-1: -1} | {index: place for place, index in enumerate(order)}
    kept = [
        ChainLink(**{**vars(links[index]), "parent": new[links[index].parent]}) for index in order
    ]
    return kept, {body: new[index] for body, index in last.items()}


def _points(mj_model: mujoco.MjModel, body: int, link: int) -> list[ChainPoint]:
    """Returns the points on one body."""
    points = [
        ChainPoint(
            mj_model.site(site).name or f"site {site}", link, _tuple(mj_model.site_pos[site])
        )
        for site in np.flatnonzero(mj_model.site_bodyid == body)
    ]
    name = mj_model.body(body).name or f"body {body}"
    geoms = np.flatnonzero((mj_model.geom_bodyid == body) & ~np.isin(mj_model.geom_type, ENDLESS))
    collides = (mj_model.geom_contype[geoms] | mj_model.geom_conaffinity[geoms]) != 0
    for geom in geoms[collides] if collides.any() else geoms:
        called = mj_model.geom(geom).name or f"{name} geom {geom - mj_model.body_geomadr[body]}"
        centres, radius = _balls(mj_model, int(geom))
        turn = np.zeros(9)
        mujoco.mju_quat2Mat(turn, mj_model.geom_quat[geom])
        places = mj_model.geom_pos[geom] + centres @ turn.reshape(3, 3).T
        points += [ChainPoint(called, link, _tuple(place), radius) for place in places]
    return points


def _balls(mj_model: mujoco.MjModel, geom: int) -> tuple[np.ndarray, float]:
    """Returns (K, 3) centres and the radius of balls whose hull holds a geom in, its own frame."""
    kind, size = int(mj_model.geom_type[geom]), mj_model.geom_size[geom]
    if kind == SPHERE:
        return np.zeros((1, 3)), float(size[0])
    if kind == CAPSULE:
        return np.array([(0, 0, -size[1]), (0, 0, size[1])]), float(size[0])
    middle, half = mj_model.geom_aabb[geom, :3], mj_model.geom_aabb[geom, 3:]
    return middle + CORNERS * half, 0.0


def _tuple(values: np.ndarray) -> tuple[float, ...]:
    """Returns numbers as a contract holds them, to a nanometre or nanoradian."""
    return tuple(round(float(x), 9) for x in values)
