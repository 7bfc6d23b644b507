"""The physics step of MJX on jax, with servos at their limits as in C MuJoCo.

The integrator "implicitfast" adds to the inertia how forces fall with velocity. C leaves an
actuator out of this while its force range holds it (engine_derivative.c), and takes controls as
clamped. MJX does neither: a servo that is pushed against its limit would move as if it were
heavier.
"""

import jax
import jax.numpy as jnp
import mujoco
from mujoco import mjx


def step(model: mjx.Model, data: mjx.Data) -> mjx.Data:
    """Returns ``data`` one physics step later; see mjx.step."""
    implicit = model.opt.integrator == mujoco.mjtIntegrator.mjINT_IMPLICITFAST
    if not (implicit and model.impl.value == "jax" and _has_limits(model)):
        return mjx.step(model, data)
    data = mjx.forward(model, data)
    after = mjx.implicit(_free_of_limits(model, data), data.replace(ctrl=_clamped(model, data)))
    return after.replace(ctrl=data.ctrl)


def _has_limits(model: mjx.Model) -> bool:
    """Returns whether controls or forces of any actuator are limited."""
    return bool(model.actuator_forcelimited.any() or model.actuator_ctrllimited.any())


def _free_of_limits(model: mjx.Model, data: mjx.Data) -> mjx.Model:
    """Returns the model with no damping in actuators whose force range holds them."""
    least, most = model.actuator_forcerange.T
    inside = (data.actuator_force > least) & (data.actuator_force < most)
    free = jnp.where(model.actuator_forcelimited, inside, True)[:, None]
    damping = jnp.arange(model.actuator_biasprm.shape[1]) == 2
    keep = jnp.where(damping, free, True)
    return model.replace(
        actuator_biasprm=model.actuator_biasprm * keep,
        actuator_gainprm=model.actuator_gainprm * keep,
    )


def _clamped(model: mjx.Model, data: mjx.Data) -> jax.Array:
    """Returns the controls (nu,) within their ranges, where these hold."""
    if model.opt.disableflags & mujoco.mjtDisableBit.mjDSBL_CLAMPCTRL:
        return data.ctrl
    least, most = model.actuator_ctrlrange.T
    return jnp.where(model.actuator_ctrllimited, jnp.clip(data.ctrl, least, most), data.ctrl)
