"""MuJoCo's own pictures of a model."""

from collections.abc import Sequence

import mujoco
import numpy as np

from mjx_s2r.robot.drivers.sim_robot import choose_egl
from mjx_s2r.sim.physics import PhysicsState


def mujoco_pictures(
    mj_model: mujoco.MjModel, name: str, px: int, cores: Sequence[PhysicsState]
) -> np.ndarray | None:
    """Returns (N, px, px, 3) uint8: MuJoCo's own pictures of worlds; None without OpenGL.

    One call for all of them: opening OpenGL takes as long as hundreds of pictures.
    """
    data = mujoco.MjData(mj_model)
    try:
        choose_egl()
        renderer = mujoco.Renderer(mj_model, px, px)
    except (RuntimeError, ImportError, AttributeError, mujoco.FatalError):
        return None
    out = []
    with renderer:
        for core in cores:
            data.qpos[:], data.mocap_pos[:], data.mocap_quat[:] = (
                np.asarray(x) for x in (core.qpos, core.mocap_pos, core.mocap_quat)
            )
            mujoco.mj_forward(mj_model, data)
            renderer.update_scene(data, name)
            out.append(renderer.render().copy())
    return np.stack(out)
