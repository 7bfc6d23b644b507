"""Constants that follow from a model's masses and geometry, recomputed per world in pure JAX.

MJX has no mj_setConst: a changed mass would leave the solver's regularization at its old value.
The recipe follows MuJoCo's documentation of mj_setConst and engine_setconst.c, at qpos0:

    M                   joint-space inertia with armature (composite rigid body)
    dof_invweight0      diag(M^-1), averaged over the rotations of a ball and over the two halves of
                        a free joint
    body_invweight0     trace(J M^-1 J^T) / 3 of the translational and rotational Jacobian at the
                        body's centre of mass; zero for bodies fixed to the world
    tendon_invweight0   J M^-1 J^T of each tendon
    body_subtreemass    sum of masses below a body

stat.meaninertia, which mj_setConst also moves, is left at its nominal value: MJX-JAX reads no model
statistics in a step (C uses it to scale the solver's stopping tolerance).

Checked against C in tests/sim/model/test_derived_constants.py.
"""

import jax
import jax.numpy as jnp
import numpy as np
from mujoco import mjx

from mjx_s2r.sim.physics import Leaves, Physics, positions, world_model

DERIVED_FROM = frozenset(
    (
        *("body_mass", "body_inertia", "body_ipos", "body_pos", "body_quat"),
        *("jnt_pos", "dof_armature", "qpos0"),
    )
)


def derived_constants(physics: Physics, leaves: Leaves) -> Leaves:
    """Returns the dependent constants of one world whose other ``leaves`` are given."""
    model = world_model(physics, leaves)
    place = (model.qpos0, physics.empty_data.mocap_pos, physics.empty_data.mocap_quat)
    data = mjx.crb(model, positions(physics, leaves, place))
    mass_matrix = mjx.full_m(model, data)
    inverse = jnp.linalg.inv(mass_matrix)
    out = {
        "body_subtreemass": _subtree_mass(model),
        "dof_M0": jnp.diagonal(mass_matrix),
        "dof_invweight0": _dof_invweight(model, inverse),
        "body_invweight0": _body_invweight(model, data, inverse),
    }
    if model.ntendon:
        jac = mjx.tendon(model, data)._impl.ten_J
        out["tendon_invweight0"] = jnp.einsum("ti,ij,tj->t", jac, inverse, jac)
    return out


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
