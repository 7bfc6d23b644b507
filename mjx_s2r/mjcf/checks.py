"""Checks of a model itself, whatever engine: names, masses, joints, actuators, contacts at start.

Each yields findings; none changes the model. What no model can have is refused when it is read
(`mjx_s2r.mjcf.plausible`); here is what may be so, and seldom is.
"""

from collections.abc import Iterator

import mujoco
import numpy as np

from mjx_s2r.mjcf.finding import ModelFinding, listed
from mjx_s2r.mjcf.gains import check_gains
from mjx_s2r.mjcf.plausible import FLAT, box_of
from mjx_s2r.mjcf.surroundings import extremes
from mjx_s2r.sim.backends.c_fields import burst
from mjx_s2r.sim.backends.engine_fields import labelled
from mjx_s2r.sim.backends.step_cost import described_geom

PREPARE = "`python -m train prepare`"
HEAVY = 1000.0  # kg, more than most robots weigh
LIGHT = 1e-4  # kg, less than a screw
TURNS = 4 * np.pi  # rad; a wider range is a continuous joint, or degrees taken for radians
DEEP_M = 5e-3  # geoms that overlap by more push each other apart at the first step
LOOK_S = 0.2
SMALL = 0.1  # length of a part over that of the whole, below which it need not collide
SWOLLEN = 1.5  # volume of a hull over that of its mesh, from which on it is told
_HINGE, _SLIDE = int(mujoco.mjtJoint.mjJNT_HINGE), int(mujoco.mjtJoint.mjJNT_SLIDE)
_FREE = int(mujoco.mjtJoint.mjJNT_FREE)
_MESH = int(mujoco.mjtGeom.mjGEOM_MESH)
NAMED = {
    "joint": ("njnt", "a table of parameters and the contract name joints"),
    "actuator": ("nu", "a table of parameters and the contract name actuators"),
    "body": ("nbody", "masses and pushes are randomized by the name of the body"),
    "geom": ("ngeom", "friction and sizes are randomized by the name of the geom"),
    "camera": ("ncam", "a policy that sees names its camera"),
}


def check_model(m: mujoco.MjModel, kind: str) -> Iterator[ModelFinding]:
    """Yields all findings about a model of a ``kind``, "mjcf" or "urdf"."""
    yield from _names(m)
    yield from _masses(m)
    yield from _joints(m)
    yield from _actuators(m, kind)
    yield from _base(m, kind)
    data = start_data(m)
    yield from check_gains(m, data)
    yield from _untouchable(m, data)
    yield from _start(m, data)
    yield from _hulls(m)
    yield from _timing(m)


def colliding(m: mujoco.MjModel) -> np.ndarray:
    """Returns (ngeom,) bool: geoms that can touch another, also by an explicit pair."""
    can = (m.geom_contype != 0) | (m.geom_conaffinity != 0)
    can[np.concatenate([m.pair_geom1, m.pair_geom2]).astype(int)] = True
    return np.asarray(can)


def _names(m: mujoco.MjModel) -> Iterator[ModelFinding]:
    """Yields what a table would want to name; geoms that cannot touch need no name."""
    touching = colliding(m)
    for kind, (count, why) in NAMED.items():
        ids = range(1 if kind == "body" else 0, getattr(m, count))
        bare = [i for i in ids if not getattr(m, kind)(i).name]
        if kind == "geom":
            bare = [i for i in bare if touching[i]]
        if bare:
            places = _places(m, kind, bare)
            yield ModelFinding(
                "note",
                "",
                f"{len(bare)} of {len(ids)} {kind if len(ids) == 1 else _plural(kind)}",
                f"without a name{places}: {why}",
                f'write name="...", or let {PREPARE} do it',
            )


def _plural(kind: str) -> str:
    """Returns a kind of element in the plural."""
    return "bodies" if kind == "body" else f"{kind}s"


def _places(m: mujoco.MjModel, kind: str, ids: list[int]) -> str:
    """Returns where unnamed joints, geoms and cameras are."""
    field = {"joint": "jnt_bodyid", "geom": "geom_bodyid", "camera": "cam_bodyid"}.get(kind)
    if field is None:
        return ""
    owners = dict.fromkeys(m.body(int(getattr(m, field)[i])).name or "?" for i in ids)
    return f" (of body {listed(owners)})"


def _masses(m: mujoco.MjModel) -> Iterator[ModelFinding]:
    """Yields masses and inertias that hardly can be, by body."""
    moving = np.flatnonzero(m.body_weldid != 0)
    reach = _reach(m)
    for body in moving:
        name, mass = labelled(m, "body", int(body)), float(m.body_mass[body])
        if mass > HEAVY:
            yield ModelFinding("differs", "", name, f"weighs {mass:.4g} kg", "check the unit: kg")
        if 0 < mass < LIGHT and not (m.body_parentid == body).any():
            yield ModelFinding(
                "note", "", name, f"weighs {mass:.2g} kg, and nothing hangs on it",
                "give it its mass, or armature to its joint: so light a body shakes",
            )  # fmt: skip
        if mass <= 0 or reach[body] <= 0:
            continue
        gyration = float(np.sqrt(m.body_inertia[body].max() / mass))
        if gyration > 2 * reach[body]:
            yield ModelFinding(
                "note", "", name,
                f"has the inertia of a mass {gyration:.3g} m from its centre, and its geoms reach "
                f"{reach[body]:.3g} m",
                "check <inertial>: kg m^2 about the centre of mass",
            )  # fmt: skip
        elif gyration < reach[body] / 200:
            yield ModelFinding(
                "note", "", name,
                f"has an inertia of {m.body_inertia[body].max():.2g} kg m^2, that of a ball of "
                f"{1.6 * gyration:.2g} m, and its geoms reach {reach[body]:.3g} m",
                "check <inertial>: kg m^2 about the centre of mass",
            )  # fmt: skip


def _reach(m: mujoco.MjModel) -> np.ndarray:
    """Returns (nbody,) m, how far the geoms of each body reach from its centre of mass."""
    reach = np.zeros(m.nbody)
    for geom in range(m.ngeom):
        body = int(m.geom_bodyid[geom])
        away = float(np.linalg.norm(m.geom_pos[geom] - m.body_ipos[body]))
        reach[body] = max(reach[body], away + float(m.geom_rbound[geom]))
    return reach


def _joints(m: mujoco.MjModel) -> Iterator[ModelFinding]:
    """Yields joints without limits, damping or armature, and limits that are no radians."""
    scalar = np.isin(m.jnt_type, (_HINGE, _SLIDE))
    dofs = m.jnt_dofadr
    driven = np.zeros(m.njnt, bool)
    on_joints = m.actuator_trntype == int(mujoco.mjtTrn.mjTRN_JOINT)
    driven[m.actuator_trnid[on_joints, 0]] = True
    loss = m.dof_damping[dofs] + m.dof_frictionloss[dofs] if m.njnt else np.zeros(0)
    servo = np.zeros(m.njnt, bool)
    braked = on_joints & (m.actuator_biasprm[:, 2] < 0)
    servo[m.actuator_trnid[braked, 0]] = True
    for mask, what, remedy in (
        (scalar & (m.jnt_limited == 0), "no limits", 'write range="LOW HIGH", where it has any'),
        (
            scalar & (loss == 0) & ~servo,
            "no damping or friction",
            'write damping="..." (N m s/rad), frictionloss="..." (N m), or the kv of its servo',
        ),
        (
            driven & scalar & (m.dof_armature[dofs] == 0) if m.njnt else scalar,
            "no armature",
            'write armature="..." (kg m^2, rotor inertia times gear ratio squared); without it '
            "small links need small steps",
        ),
    ):
        yield from _lacking(m, "joint", mask, what, remedy)
    wide = (m.jnt_type == _HINGE) & (m.jnt_limited != 0) & (np.abs(m.jnt_range).max(-1) > TURNS)
    for i in np.flatnonzero(wide):
        yield ModelFinding(
            "differs", "", labelled(m, "joint", int(i)),
            f"turns {m.jnt_range[i, 0]:.4g} to {m.jnt_range[i, 1]:.4g} rad, which may be degrees",
            'write angle="degree" into <compiler>, or the range in radians',
        )  # fmt: skip
    start = m.qpos0[m.jnt_qposadr]
    out = scalar & (m.jnt_limited != 0)
    out &= (start < m.jnt_range[:, 0] - 1e-3) | (start > m.jnt_range[:, 1] + 1e-3)
    for i in np.flatnonzero(out):
        low, high = m.jnt_range[i]
        yield ModelFinding(
            "note", "", labelled(m, "joint", int(i)),
            f"is at {start[i]:.3g} in the zero pose, outside its range {low:.3g} to {high:.3g}",
            "start from a keyframe within the limits",
        )  # fmt: skip


def _lacking(
    m: mujoco.MjModel, kind: str, mask: np.ndarray, what: str, remedy: str
) -> Iterator[ModelFinding]:
    """Yields one note about those joints or actuators (N,) that lack something."""
    ids = np.flatnonzero(mask)
    if ids.size:
        names = listed(labelled(m, kind, int(i)).removeprefix(f"{kind} ") for i in ids)
        yield ModelFinding(
            "note", "", f"{ids.size} of {len(mask)} {kind}s", f"{what}: {names}", remedy
        )


def _actuators(m: mujoco.MjModel, kind: str) -> Iterator[ModelFinding]:
    """Yields missing actuators and limits."""
    if not m.nu and (m.jnt_type != _FREE).any():
        why = ", as in every URDF" if kind == "urdf" else ""
        yield ModelFinding(
            "note", "", "actuators", f"there are none for {m.njnt} joints{why}",
            f"let {PREPARE} add position servos, or write <actuator> in MJCF",
        )  # fmt: skip
    for mask, what, remedy in (
        (m.actuator_ctrllimited == 0, "no ctrlrange", 'write ctrlrange="LOW HIGH"'),
        (
            (m.actuator_forcelimited == 0) & (m.actuator_biastype != 0) & ~_joint_limited(m),
            "no limit of force",
            'write forcerange="-MAX MAX": a servo without one is stronger than any motor',
        ),
    ):
        yield from _lacking(m, "actuator", mask, what, remedy)


def _joint_limited(m: mujoco.MjModel) -> np.ndarray:
    """Returns (nu,) bool: the joint that an actuator drives limits the force itself."""
    on_joint = m.actuator_trntype == int(mujoco.mjtTrn.mjTRN_JOINT)
    joint = np.where(on_joint, m.actuator_trnid[:, 0], 0).astype(int)
    limited = m.jnt_actfrclimited[joint] if m.njnt else np.zeros(m.nu)
    return np.asarray(on_joint & (limited != 0))


def _base(m: mujoco.MjModel, kind: str) -> Iterator[ModelFinding]:
    """Yields a root that stands fixed where it may walk, and one that would fall for ever."""
    free = np.flatnonzero(m.jnt_type == _FREE)
    if not m.njnt:
        yield ModelFinding(
            "refused", "", "joints", "there are none, so nothing moves",
            "write <joint> into the bodies, or name the file of the whole robot",
        )  # fmt: skip
    if kind == "urdf" and not free.size and m.njnt:
        yield ModelFinding(
            "note", "", labelled(m, "body", 1) if m.nbody > 1 else "the root",
            "is fixed in the world, as MuJoCo reads a URDF",
            'a robot that walks, drives or flies needs <freejoint/> in the MJCF, or a joint of '
            'type "floating" in the URDF',
        )  # fmt: skip
    if free.size and not colliding(m).any() and np.any(m.opt.gravity):
        yield ModelFinding(
            "note", "", labelled(m, "joint", int(free[0])),
            "is free and no geom can touch, so its body falls for ever",
            "write contype and conaffinity, or <pair>, for feet and floor",
        )  # fmt: skip


def _untouchable(m: mujoco.MjModel, data: mujoco.MjData) -> Iterator[ModelFinding]:
    """Yields links that are drawn with meshes and collide with nothing, where others do collide.

    A link is what no joint parts. Small parts (a screw, a lens) are left out, and so are bodies
    that the task itself places, such as markers.
    """
    touching, drawn = colliding(m), (m.geom_group <= 2) & (m.geom_rgba[:, 3] > 0)
    if not touching[~np.isin(m.geom_type, FLAT)].any():
        return  # nothing of it is meant to touch
    links = np.stack((m.body_weldid, m.body_rootid), 1)
    for weld, root in np.unique(links, axis=0):
        if root == 0:
            continue
        mine = (links[m.geom_bodyid] == (weld, root)).all(1)
        seen = np.flatnonzero(mine & drawn & (m.geom_type == _MESH))
        if (mine & touching).any() or not seen.size or (m.body_mocapid[root] >= 0):
            continue
        whole = np.flatnonzero((m.body_rootid[m.geom_bodyid] == root) & drawn)
        own, all_of_it = (np.ptp(_corners(m, data, g), axis=0).max() for g in (seen, whole))
        if own < SMALL * all_of_it:
            continue
        body = int(m.geom_bodyid[seen[0]])
        turn = data.xmat[body].reshape(3, 3)
        inside = (_corners(m, data, seen) - data.xpos[body]) @ turn
        size, pos = np.ptp(inside, axis=0) / 2, (inside.max(0) + inside.min(0)) / 2
        many = f"{seen.size} meshes" if seen.size > 1 else "a mesh"
        yield ModelFinding(
            "note", "", labelled(m, "body", body),
            f"is drawn with {many} and has no geom that collides: things fall through it",
            f'write one into it, such as <geom type="box" size="{_numbers(size)}" '
            f'pos="{_numbers(pos)}" group="3"/>, and let {PREPARE} exclude what overlaps',
        )  # fmt: skip


def _corners(m: mujoco.MjModel, data: mujoco.MjData, geoms: np.ndarray) -> np.ndarray:
    """Returns the corners (N, 3) of the boxes about geoms in the world [m]."""
    return np.concatenate([extremes(m, data, int(g)) for g in geoms])


def _numbers(values: np.ndarray) -> str:
    """Returns numbers as an attribute of MJCF, to a tenth of a millimetre."""
    return " ".join(f"{x:.4f}".rstrip("0").rstrip(".") for x in values + 0.0)


def _start(m: mujoco.MjModel, data: mujoco.MjData) -> Iterator[ModelFinding]:
    """Yields geoms that overlap at the start, and a model that bursts in C MuJoCo itself."""
    where = "the first keyframe" if m.nkey else "the zero pose"
    deep = sorted((float(c.dist), int(c.geom1), int(c.geom2)) for c in data.contact[: data.ncon])
    if deep and deep[0][0] < -DEEP_M:
        distance, one, two = deep[0]
        count = sum(d < -DEEP_M for d, _, _ in deep)
        more = f"; so do {count - 1} other contacts" if count > 1 else ""
        yield ModelFinding(
            "note", "", f"{described_geom(m, one)} and {described_geom(m, two)}",
            f"overlap by {-1000 * distance:.3g} mm in {where}{more}",
            "exclude the pair by <exclude/>, or start from a keyframe without contact",
        )  # fmt: skip
    steps = max(int(LOOK_S / m.opt.timestep), 1)
    mujoco.mj_step(m, data, min(steps, 400))
    if burst(data) or not np.isfinite(data.qpos).all():
        yield ModelFinding(
            "differs", "", "the model",
            f"becomes unstable in C MuJoCo itself, within {LOOK_S} s from {where} without controls",
            "write a smaller timestep, armature and damping, or mend masses and overlaps",
        )  # fmt: skip


def start_data(m: mujoco.MjModel) -> mujoco.MjData:
    """Returns a state at the first keyframe, or in the zero pose, with everything computed."""
    data = mujoco.MjData(m)
    if m.nkey:
        mujoco.mj_resetDataKeyframe(m, data, 0)
    mujoco.mj_forward(m, data)
    return data


def _hulls(m: mujoco.MjModel) -> Iterator[ModelFinding]:
    """Yields meshes that collide as a convex hull much larger than themselves."""
    ids = np.unique(m.geom_dataid[colliding(m) & (m.geom_type == _MESH)])
    swollen = {}
    for mesh in ids:
        own, hull = _volumes(m, int(mesh))
        if own > 0 and hull > SWOLLEN * own:
            swollen[m.mesh(int(mesh)).name] = hull / own
    if swollen:
        names = sorted(swollen, key=lambda name: -swollen[name])
        yield ModelFinding(
            "note", "", f"{len(swollen)} of {len(ids)} colliding meshes",
            "collide as their convex hull, far larger than themselves: "
            + listed(f"{name!r} {swollen[name]:.1f} times" for name in names),
            f"let {PREPARE} fit primitives, or cut them into convex pieces",
        )  # fmt: skip


def _volumes(m: mujoco.MjModel, mesh: int) -> tuple[float, float]:
    """Returns the volumes of a mesh and of its convex hull, m^3 (divergence theorem)."""
    first, count = int(m.mesh_vertadr[mesh]), int(m.mesh_vertnum[mesh])
    vertices = m.mesh_vert[first : first + count].astype(float)
    start, faces = int(m.mesh_faceadr[mesh]), int(m.mesh_facenum[mesh])
    own = _volume(vertices, m.mesh_face[start : start + faces])
    if m.mesh_graphadr[mesh] < 0:
        return own, own
    graph = m.mesh_graph[int(m.mesh_graphadr[mesh]) :]
    corners, hull = int(graph[0]), int(graph[1])
    at = 2 + 3 * corners + 3 * hull
    return own, _volume(vertices, graph[at : at + 3 * hull].reshape(-1, 3))


def _volume(vertices: np.ndarray, faces: np.ndarray) -> float:
    """Returns the volume that triangles (F, 3) enclose."""
    a, b, c = vertices[faces.T]
    return abs(float(np.einsum("fi,fi->", a, np.cross(b, c))) / 6)


def _timing(m: mujoco.MjModel) -> Iterator[ModelFinding]:
    """Yields time steps that are long or short, and solvers that run for long in MJX."""
    step = m.opt.timestep
    if step > 0.01 or step < 2e-4:
        size = "long: servos and contacts may burst" if step > 0.01 else "short: training is slow"
        yield ModelFinding(
            "note", "", "option timestep", f"{step:g} s is {size}", "write 0.002 to 0.005"
        )  # fmt: skip
    if m.opt.iterations > 20 and m.njmax != 0:
        yield ModelFinding(
            "note", "jax", "option iterations",
            f"{m.opt.iterations}, and ls_iterations {m.opt.ls_iterations}: all worlds wait for the "
            "slowest",
            'write iterations="4" ls_iterations="8", and compare with `python -m train check`',
        )  # fmt: skip


def size_of(m: mujoco.MjModel) -> np.ndarray:
    """Returns the lengths (3,) m of the largest box about one robot of the model at qpos0."""
    data = mujoco.MjData(m)
    mujoco.mj_kinematics(m, data)
    roots = [int(r) for r in np.unique(m.body_rootid) if r > 0]
    boxes = [box_of(m, data, root) for root in roots] or [np.zeros(3)]
    return max(boxes, key=lambda box: float(box.max()))
