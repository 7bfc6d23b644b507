"""Constants that follow from a model's masses and geometry, recomputed per world in pure JAX.

MJX has no mj_setConst: a changed mass would leave the solver's regularization at its old value.
The recipe follows MuJoCo's documentation of mj_setConst and engine_setconst.c, at qpos0:

    M                   joint-space inertia with armature (composite rigid body)
    dof_invweight0      diag(M^-1), averaged over the rotations of a ball and over the two halves of
                        a free joint
    body_invweight0     trace(J M^-1 J^T) / 3 of the translational and rotational Jacobian at the
                        body's centre of mass; zero for bodies fixed to the world
    tendon_invweight0   J M^-1 J^T of each tendon
    tendon_length0      length of each tendon; tendon equalities start from it
    actuator_acc0       |M^-1 r^T| with the moment arms r of each actuator; muscles scale with it
    eq_data             the anchor of a connect as its second body sees it; the relative pose of a
                        weld, where the model does not state one
    cam_pos0, _mat0     offset and orientation of tracking cameras
    body_subtreemass    sum of masses below a body

M carries the armature of joints and of tendons. What a model has no use for (muscles, connects,
tracking cameras) is not computed.

stat.meaninertia, which mj_setConst also moves, is left at its nominal value: MJX-JAX reads no model
statistics in a step (C uses it to scale the solver's stopping tolerance).

Checked against C in tests/sim/model/test_derived_constants.py.
"""

from collections.abc import Collection

import jax
import jax.numpy as jnp
import mujoco
import numpy as np
from mujoco import mjx

from mjx_s2r.sim.model.fields import mocap_bodies
from mjx_s2r.sim.physics import Leaves, Physics, positions, world_model

DERIVED_FROM = frozenset(
    (
        *("body_mass", "body_inertia", "body_ipos", "body_pos", "body_quat"),
        *("jnt_pos", "dof_armature", "qpos0"),
    )
)
WRAPPED = frozenset(("geom_pos", "geom_quat", "geom_size"))
"""Fields on which constants depend, too, where a tendon wraps around a geom."""


def follows(model: mjx.Model, fields: Collection[str]) -> bool:
    """Returns whether any constant depends on one of ``fields`` in this ``model``."""
    kind = mujoco.mjtWrap
    wraps = np.isin(model.wrap_type, [int(kind.mjWRAP_SPHERE), int(kind.mjWRAP_CYLINDER)]).any()
    known = DERIVED_FROM | WRAPPED if wraps else DERIVED_FROM
    return not known.isdisjoint(fields)


def derived_constants(physics: Physics, leaves: Leaves) -> Leaves:
    """Returns the dependent constants of one world whose other ``leaves`` are given.

    Where C MuJoCo takes the steps it recomputes them itself, but those of cameras, which are here.
    """
    model = world_model(physics, leaves)
    mocap = mocap_bodies(model)
    place = (model.qpos0, model.body_pos[mocap], model.body_quat[mocap])
    data = positions(physics, leaves, place)
    if physics.c is not None:
        return _cameras(model, data) if _tracks(model) else {}
    data = mjx.tendon(model, data)
    bodies = mjx.crb(model, data)
    inverse = jnp.linalg.inv(mjx.full_m(model, mjx.tendon_armature(model, bodies)))
    out = {
        "body_subtreemass": _subtree_mass(model),
        "dof_M0": jnp.diagonal(mjx.full_m(model, bodies)),
        "dof_invweight0": _dof_invweight(model, inverse),
        "body_invweight0": _body_invweight(model, data, inverse),
    }
    if model.ntendon:
        jac = data._impl.ten_J
        out["tendon_invweight0"] = jnp.einsum("ti,ij,tj->t", jac, inverse, jac)
        out["tendon_length0"] = data.ten_length
    if _has_muscles(model):
        moment = mjx.transmission(model, data)._impl.actuator_moment
        out["actuator_acc0"] = jnp.linalg.norm(moment @ inverse, axis=-1)
    held = (model.eq_objtype == mujoco.mjtObj.mjOBJ_BODY) & np.isin(model.eq_type, _HELD)
    if held.any():
        out["eq_data"] = _held(model, data, held)
    if _tracks(model):
        out |= _cameras(model, data)
    return out


def _has_muscles(model: mjx.Model) -> bool:
    """Returns whether a muscle's peak force may follow from actuator_acc0."""
    gain = model.actuator_gaintype == mujoco.mjtGain.mjGAIN_MUSCLE
    bias = model.actuator_biastype == mujoco.mjtBias.mjBIAS_MUSCLE
    return bool((gain | bias).any())


_HELD = [int(mujoco.mjtEq.mjEQ_CONNECT), int(mujoco.mjtEq.mjEQ_WELD)]
_TRACKING = [int(mujoco.mjtCamLight.mjCAMLIGHT_TRACK), int(mujoco.mjtCamLight.mjCAMLIGHT_TRACKCOM)]


def _held(model: mjx.Model, data: mjx.Data, held: np.ndarray) -> jax.Array:
    """Returns eq_data (neq, K) with what follows from the places of bodies.

    A connect's anchor in body 2 follows from that in body 1; a weld's anchor in body 1 and its
    relative orientation follow from its anchor in body 2, unless the model states them.
    """
    now = model.eq_data
    one, two = np.where(held, model.eq_obj1id, 0), np.where(held, model.eq_obj2id, 0)
    first, second = (_seen(data, *pair, now[:, :3]) for pair in ((one, two), (two, one)))
    relative = jax.vmap(_quaternion_between)(data.xquat[one], data.xquat[two])
    connected = jnp.concatenate([now[:, :3], first, now[:, 6:]], -1)
    welded = jnp.concatenate([now[:, :3], second, relative, now[:, 10:]], -1)
    stated = now[:, 11] == 0 if now.shape[1] > 11 else jnp.ones(len(now), bool)
    kind = mujoco.mjtEq
    connects = held & (model.eq_type == kind.mjEQ_CONNECT)
    welds = jnp.asarray(held & (model.eq_type == kind.mjEQ_WELD)) & ~stated
    return jnp.where(connects[:, None], connected, jnp.where(welds[:, None], welded, now))


def _seen(data: mjx.Data, owner: np.ndarray, seer: np.ndarray, place: jax.Array) -> jax.Array:
    """Returns (N, 3) where the ``seer`` bodies (N,) see ``place`` (N, 3) on their ``owner``."""
    point = data.xpos[owner] + jnp.einsum("nij,nj->ni", data.xmat[owner], place)
    return jnp.einsum("nji,nj->ni", data.xmat[seer], point - data.xpos[seer])


def _quaternion_between(one: jax.Array, two: jax.Array) -> jax.Array:
    """Returns the orientation ``two`` (4,) seen from ``one`` (4,), w x y z."""
    a, u, b, v = one[0], -one[1:], two[0], two[1:]
    return jnp.concatenate([(a * b - u @ v)[None], a * v + b * u + jnp.cross(u, v)])


def _tracks(model: mjx.Model) -> bool:
    """Returns whether any camera follows a body, by constants that depend on the model."""
    return bool(np.isin(model.cam_mode, _TRACKING).any())


def _cameras(model: mjx.Model, data: mjx.Data) -> Leaves:
    """Returns offsets (ncam, 3) and orientations (ncam, 3, 3) of all cameras, as if none moved."""
    bodies, targets = model.cam_bodyid, model.cam_targetbodyid
    fixed = model.replace(cam_mode=np.zeros_like(model.cam_mode))
    seen = mjx.camlight(fixed, data)
    centre = data.subtree_com[np.where(targets >= 0, targets, bodies)]
    return {
        "cam_pos0": seen.cam_xpos - data.xpos[bodies],
        "cam_poscom0": seen.cam_xpos - centre,
        "cam_mat0": seen.cam_xmat,
    }


def _subtree_mass(model: mjx.Model) -> jax.Array:
    """Returns (nbody,) the mass of each body and everything below it."""
    below = np.eye(model.nbody, dtype=np.float32)
    for body in range(model.nbody - 1, 0, -1):
        below[model.body_parentid[body]] += below[body]
    return jnp.asarray(below) @ model.body_mass


def _dof_invweight(model: mjx.Model, inverse: jax.Array) -> jax.Array:
    """Returns (nv,) diag(M^-1), averaged within the blocks of ball and free joints."""
    average = np.zeros((model.nv, model.nv), np.float32)
    for joint, kind in enumerate(model.jnt_type):
        first = int(model.jnt_dofadr[joint])
        blocks = {0: (3, 3), 1: (3,)}.get(int(kind), (1,))  # free, ball, slide or hinge
        for size in blocks:
            average[first : first + size, first : first + size] = 1 / size
            first += size
    return jnp.asarray(average) @ jnp.diagonal(inverse)


def _body_invweight(model: mjx.Model, data: mjx.Data, inverse: jax.Array) -> jax.Array:
    """Returns (nbody, 2) translational and rotational inverse weight at the centre of mass."""
    bodies = jnp.arange(model.nbody)
    linear, angular = jax.vmap(lambda b: mjx.jac(model, data, data.xipos[b], b))(bodies)
    pair = jnp.stack(
        [jnp.einsum("bik,ij,bjk->b", jac, inverse, jac) / 3 for jac in (linear, angular)], -1
    )
    return jnp.where(jnp.asarray(model.body_weldid > 0)[:, None], pair, 0.0)
