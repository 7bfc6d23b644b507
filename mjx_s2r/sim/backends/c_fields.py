"""What C MuJoCo's Data says: fields by the names that they have in mjx.Data, and that it burst."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import mujoco
import numpy as np

# What C MuJoCo warns of where a world has become unstable
BURST = (
    mujoco.mjtWarning.mjWARN_BADQPOS,
    mujoco.mjtWarning.mjWARN_BADQVEL,
    mujoco.mjtWarning.mjWARN_BADQACC,
)


@contextmanager
def quiet_warnings() -> Iterator[None]:
    """Keeps MuJoCo from printing that worlds are unstable, where that is looked for."""
    heard: Any = mujoco.get_mju_user_warning()
    mujoco.set_mju_user_warning(lambda message: None)
    try:
        yield
    finally:
        mujoco.set_mju_user_warning(heard)


def compute_all(mj_model: mujoco.MjModel, data: mujoco.MjData) -> None:
    """Computes everything at the state of ``data``, as `mjx_s2r.sim.physics.forward_all` does.

    mj_forward, and what C computes only where a sensor asks for it.
    """
    mujoco.mj_forward(mj_model, data)
    mujoco.mj_subtreeVel(mj_model, data)
    mujoco.mj_rnePostConstraint(mj_model, data)


def field_of(mj_model: mujoco.MjModel, data: mujoco.MjData, name: str) -> np.ndarray:
    """Returns a field by its name in mjx.Data; actuator_moment (nu, nv), which C keeps sparse."""
    if name == "_impl.actuator_moment":
        dense = np.zeros((mj_model.nu, mj_model.nv))
        rows = (data.moment_rownnz, data.moment_rowadr, data.moment_colind)
        mujoco.mju_sparse2dense(dense, data.actuator_moment, *rows)
        return dense
    return np.asarray(getattr(data, name.removeprefix("_impl.")))


def burst(data: mujoco.MjData) -> list[str]:
    """Returns the names of the warnings, such as "BADQACC", that a world has become unstable."""
    return [kind.name.removeprefix("mjWARN_") for kind in BURST if data.warning[kind].number]
