"""MuJoCo's own pictures of a model, and the camera of it that follows a robot."""

from collections.abc import Sequence

import mujoco
import numpy as np

from mjx_s2r.robot.drivers.sim_robot import choose_egl
from mjx_s2r.sim.physics import PhysicsState

_MODES = mujoco.mjtCamLight
FOLLOWS = (int(_MODES.mjCAMLIGHT_TRACK), int(_MODES.mjCAMLIGHT_TRACKCOM))


def following(mj_model: mujoco.MjModel) -> list[str]:
    """Returns the name of the first camera that follows a body; nothing where there is none."""
    cameras = [mj_model.camera(i) for i in range(mj_model.ncam)]
    return [c.name for c in cameras if c.name and int(c.mode[0]) in FOLLOWS][:1]


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
