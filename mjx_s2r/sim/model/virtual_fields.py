"""From touched arrays to MuJoCo fields: what virtual arrays such as link_length mean in the model.

body_mass           moves inertia with it: I' = I m'/m, so the pseudo-inertia stays positive
definite (Rucker and Wensing 2022, log-Cholesky parameters alpha)
body_shape          (3,) stretches the mass along the principal axes, mass and centre kept: the
second moments S_i = tr(I)/2 - I_i become s_i^2 S_i (the d_i of the same
paper), so the triangle inequality of the inertia holds
body_tilt           (3,) small rotation of a body in its parent, rad: a crooked mounting
link_length         makes a body a similar shape, s times as large about its own frame: joints,
children, geoms (places and sizes), sites, cameras and the centre of mass
move by s, inertia by s^2; the mass stays. Meshes keep their size
geom_restitution    sets the damping ratio of solref at the same contact stiffness, so that a
ball that drops leaves with that share of its speed
geom_tilt           (3,) small rotation of a geom in its body, rad: a slope
geom_size           moves geom_rbound with it; the mass stays
terrain_*           hfield_data (`mjx_s2r.sim.model.terrain`)
gravity, _tilt      opt.gravity; the direction turned about world x and y, rad
actuator_kp, _kd    the position loop: gainprm[0] and biasprm[1] = -kp, biasprm[2] = -kd
actuator_strength   all of an actuator's gain, bias and force range
actuator_force_limit    its force range alone
actuator_time_constant  dynprm[0] of an actuator that filters its control, s
"""

from collections.abc import Mapping
from dataclasses import dataclass
from types import ModuleType

import mujoco
import numpy as np

from mjx_s2r.params import Array
from mjx_s2r.sim.model.fields import SERVO

Arrays = Mapping[str, Array]


@dataclass(frozen=True)
class Anatomy:
    """Topology of a model: the body of every joint, geom, site and camera, parents, geom types.

    Attributes:
        parent: (nbody,) parent of each body; the world's is -1.
        owner: array name -> (E,) body that each element is placed in.
        geom_type: (ngeom,) MuJoCo's type of each geom.
        anchored: (neq, K) body whose frame each number of eq_data is a place in; -1 for others.
    """

    parent: np.ndarray
    owner: Mapping[str, np.ndarray]
    geom_type: np.ndarray
    anchored: np.ndarray


def anatomy(mj_model: mujoco.MjModel) -> Anatomy:
    """Reads what hangs on what from a model."""
    parent = np.array(mj_model.body_parentid)
    parent[0] = -1
    owner = {
        "body_pos": parent,
        "jnt_pos": np.array(mj_model.jnt_bodyid),
        "geom_pos": np.array(mj_model.geom_bodyid),
        "geom_size": np.array(mj_model.geom_bodyid),
        "site_pos": np.array(mj_model.site_bodyid),
        "cam_pos": np.array(mj_model.cam_bodyid),
        "body_ipos": np.arange(mj_model.nbody),
    }
    return Anatomy(parent, owner, np.array(mj_model.geom_type), _anchored(mj_model))


def _anchored(mj_model: mujoco.MjModel) -> np.ndarray:
    """Returns (neq, K) the body that each place in eq_data is given in; -1 for other numbers.

    A connect has its anchor in body 1, then in body 2; a weld the other way round (MuJoCo,
    engine_core_constraint.c). Those between sites use the places of their sites.
    """
    m = mj_model
    owner = np.full(m.eq_data.shape, -1)
    between = m.eq_objtype == mujoco.mjtObj.mjOBJ_BODY
    for kind, first in ((mujoco.mjtEq.mjEQ_CONNECT, 0), (mujoco.mjtEq.mjEQ_WELD, 3)):
        rows = np.flatnonzero((m.eq_type == kind) & between)
        owner[rows, first : first + 3] = m.eq_obj1id[rows, None]
        owner[rows, 3 - first : 6 - first] = m.eq_obj2id[rows, None]
    return owner


def bodies(xp: ModuleType, nominal: Arrays, base: Arrays, touched: Arrays) -> dict[str, Array]:
    """Returns inertia and orientation of bodies with mass, shape and tilt entered."""
    out = {}
    inertia = touched.get("body_inertia", base["body_inertia"])
    if "body_shape" in touched:
        moments = inertia.sum(-1, keepdims=True) / 2 - inertia
        moments = moments * touched["body_shape"] ** 2
        out["body_inertia"] = inertia = moments.sum(-1, keepdims=True) - moments
    if "body_mass" in touched:
        mass = nominal["body_mass"]
        ratio = xp.where(mass > 0, touched["body_mass"] / np.where(mass > 0, mass, 1), 1)
        out["body_inertia"] = inertia * ratio[:, None]
    if "body_tilt" in touched:
        quat = touched.get("body_quat", base["body_quat"])
        out["body_quat"] = _turned(xp, quat, touched["body_tilt"])
    return out


def links(
    xp: ModuleType, form: Anatomy, moved: np.ndarray, length: Array, now: Arrays
) -> dict[str, Array]:
    """Returns the arrays of bodies made ``length`` (nbody,) times as large.

    Args:
        xp: numpy or jax.numpy.
        form: what hangs on what.
        moved: (nbody,) bool, bodies that a row touches; arrays that hold nothing of them stay out.
        length: factor of each body.
        now: the arrays before, other rows entered.
    """
    out = {"body_inertia": now["body_inertia"] * length[:, None] ** 2}
    for name, owner in form.owner.items():
        inside = (owner >= 0) & moved[owner]
        if inside.any():
            factor = xp.where(inside, length[np.maximum(owner, 0)], 1.0)
            out[name] = now[name] * factor[:, None]
    held = (form.anchored >= 0) & moved[form.anchored]
    if held.any():
        factor = xp.where(held, length[np.maximum(form.anchored, 0)], 1.0)
        out["eq_data"] = now["eq_data"] * factor
    return out


def reach_of_geoms(xp: ModuleType, geom_type: np.ndarray, size: Array, nominal: Array) -> Array:
    """Returns geom_rbound (ngeom,): the radius of the sphere about each geom; meshes' are kept.

    The rules are those of MuJoCo's user_objects.cc, GetRBound.
    """
    kind = mujoco.mjtGeom
    radius, half = size[:, 0], size[:, 1]
    rules = {
        kind.mjGEOM_SPHERE: radius,
        kind.mjGEOM_CAPSULE: radius + half,
        kind.mjGEOM_CYLINDER: xp.sqrt(radius**2 + half**2),
        kind.mjGEOM_ELLIPSOID: size.max(-1),
        kind.mjGEOM_BOX: xp.sqrt((size**2).sum(-1)),
    }
    out = nominal
    for code, value in rules.items():
        out = xp.where(geom_type == int(code), value, out)
    return out


MOVES_BOXES = frozenset(("geom_size", "geom_pos", "geom_quat"))
"""Fields by which the boxes about geoms move: C's mid-phase, built by the compiler, is then off."""


def boxes_of_geoms(xp: ModuleType, geom_type: np.ndarray, size: Array, nominal: Array) -> Array:
    """Returns geom_aabb (ngeom, 6): centre and half sizes; those of planes and meshes are kept."""
    kind = mujoco.mjtGeom
    radius, half = size[:, 0], size[:, 1]
    rules = {
        kind.mjGEOM_SPHERE: xp.stack((radius, radius, radius), -1),
        kind.mjGEOM_CAPSULE: xp.stack((radius, radius, radius + half), -1),
        kind.mjGEOM_CYLINDER: xp.stack((radius, radius, half), -1),
        kind.mjGEOM_ELLIPSOID: size,
        kind.mjGEOM_BOX: size,
    }
    out = nominal[:, 3:]
    for code, value in rules.items():
        out = xp.where((geom_type == int(code))[:, None], value, out)
    return xp.concatenate([nominal[:, :3], out], -1)


def geoms(xp: ModuleType, base: Arrays, touched: Arrays) -> dict[str, Array]:
    """Returns orientation and contact softness of geoms with tilt and restitution entered."""
    out = {}
    if "geom_tilt" in touched:
        out["geom_quat"] = _turned(xp, base["geom_quat"], touched["geom_tilt"])
    if "geom_restitution" in touched:
        solref = touched.get("geom_solref", base["geom_solref"])
        wanted = touched["geom_restitution"]
        ratio = xp.where(wanted > 0, xp.interp(wanted, *_BOUNCE), solref[:, 1])
        time = solref[:, 0] * solref[:, 1] / xp.where(ratio > 0, ratio, 1.0)
        time = xp.where(wanted > 0, time, solref[:, 0])
        out["geom_solref"] = xp.stack((time, ratio), -1)
    return out


def rebound(ratio: np.ndarray) -> np.ndarray:
    """Returns the coefficient of restitution of a damped spring that pushes and never pulls.

    Schwager and Poeschel 2007, Coefficient of restitution and linear-dashpot model revisited, for
    a damping ``ratio`` (damping over critical damping). C MuJoCo agrees to 0.01 (see the tests).
    """
    z = np.asarray(ratio, float)
    slow, fast = np.minimum(z, 1 - 1e-9), np.maximum(z, 1 + 1e-9)
    w = np.sqrt(1 - slow**2)
    under = np.exp(-slow / w * (np.pi - np.arctan2(2 * slow * w, 1 - 2 * slow**2)))
    w = np.sqrt(fast**2 - 1)
    over = ((fast + w) / (fast - w)) ** (-fast / w)
    return np.where(z < 1, under, over)


_RATIOS = np.geomspace(5.0, 0.005, 257)
_BOUNCE = rebound(_RATIOS).astype(np.float32), _RATIOS.astype(np.float32)
MOST_BOUNCE = float(_BOUNCE[0][-1])


def gravity(xp: ModuleType, nominal: Arrays, touched: Arrays) -> dict[str, Array]:
    """Returns opt.gravity (3,) with size and direction entered."""
    pull = touched.get("gravity", nominal["gravity"])
    if "gravity_tilt" in touched:
        tilt = touched["gravity_tilt"]
        quat = _quaternion(xp, xp.concatenate([tilt, xp.zeros_like(tilt[:1])]))
        across = 2 * xp.cross(quat[1:], pull)
        pull = pull + quat[0] * across + xp.cross(quat[1:], across)
    return {"opt.gravity": pull}


def actuators(xp: ModuleType, nominal: Arrays, base: Arrays, touched: Arrays) -> dict[str, Array]:
    """Returns the gain, bias and force range of actuators that their rows change."""
    now = {name: touched.get(name, nominal[name]) for name in SERVO}
    gain, bias = base["actuator_gainprm"], base["actuator_biasprm"]
    strength = now["actuator_strength"][:, None]
    limit = now["actuator_force_limit"][:, None]
    out: dict[str, Array] = {}
    if touched.keys() & set(SERVO[:3]):
        first = now["actuator_kp"][:, None]
        stiffer = first - nominal["actuator_kp"][:, None]
        stiffness = bias[:, 1:2] - xp.where(bias[:, 1:2] != 0, stiffer, 0.0)
        damping = -now["actuator_kd"][:, None]
        gain = xp.concatenate([first, gain[:, 1:] + 0 * first], -1)
        bias = xp.concatenate(
            [bias[:, :1] + 0 * first, stiffness, damping, bias[:, 3:] + 0 * first], -1
        )
        out |= {"actuator_gainprm": gain * strength, "actuator_biasprm": bias * strength}
    return out | {"actuator_forcerange": base["actuator_forcerange"] * strength * limit}


def filters(xp: ModuleType, base: Arrays, touched: Arrays) -> dict[str, Array]:
    """Returns actuator_dynprm with the time constants of filters entered."""
    first = touched["actuator_time_constant"][:, None]
    return {
        "actuator_dynprm": xp.concatenate([first, base["actuator_dynprm"][:, 1:] + 0 * first], -1)
    }


def _quaternion(xp: ModuleType, vector: Array) -> Array:
    """Returns the quaternion (..., 4), w x y z, of a rotation ``vector`` (..., 3), rad."""
    angle = xp.sqrt((vector**2).sum(-1, keepdims=True))
    axis = 0.5 * xp.sinc(angle / (2 * np.pi)) * vector
    return xp.concatenate([xp.cos(angle / 2), axis], -1)


def _turned(xp: ModuleType, quat: Array, vector: Array) -> Array:
    """Returns ``quat`` (..., 4) turned by ``vector`` (..., 3) rad about the parent's axes."""
    left = _quaternion(xp, vector)
    a, u, b, v = left[..., :1], left[..., 1:], quat[..., :1], quat[..., 1:]
    real = a * b - (u * v).sum(-1, keepdims=True)
    return xp.concatenate([real, a * v + b * u + xp.cross(u, v)], -1)
