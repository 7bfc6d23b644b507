"""Detail that a picture can show: how far a drawn mesh may be from the real one.

Half a pixel at the distance of the camera. The distance is looked up in the model's start, its
keyframes and some poses drawn within the limits of its joints; poses that bring a geom nearer than
all but a tenth of them do are not counted.
"""

from collections.abc import Sequence

import mujoco
import numpy as np

ONE_NUMBER = (int(mujoco.mjtJoint.mjJNT_HINGE), int(mujoco.mjtJoint.mjJNT_SLIDE))
SHARE = 0.5  # of a pixel
POSES = 32  # drawn within the limits of the joints
NEARER = 0.1  # share of the poses that may bring a geom nearer
INSIDE = 0.25  # of a geom's radius: the distance that counts where the camera is inside of it


def tolerances(
    mj_model: mujoco.MjModel, geoms: Sequence[int], camera: int, height: int
) -> np.ndarray:
    """Returns (N,) how far [m] the surface of each of some geoms may be from the real one.

    Args:
        mj_model: the model.
        geoms: ids of the N geoms.
        camera: id of the camera.
        height: [px] of the picture.
    """
    if not len(geoms):
        return np.zeros(0)
    data = mujoco.MjData(mj_model)
    ids, away = list(geoms), []
    for qpos in _poses(mj_model):
        data.qpos[:] = qpos
        mujoco.mj_kinematics(mj_model, data)
        mujoco.mj_comPos(mj_model, data)
        mujoco.mj_camlight(mj_model, data)
        away.append(np.linalg.norm(data.geom_xpos[ids] - data.cam_xpos[camera], axis=1))
    radius = mj_model.geom_rbound[ids]
    distance = np.quantile(np.array(away), NEARER, axis=0) - radius
    distance = np.maximum(distance, INSIDE * radius)
    pixel = 2 * np.tan(np.deg2rad(mj_model.cam_fovy[camera]) / 2) / height
    return SHARE * pixel * distance


def _poses(mj_model: mujoco.MjModel) -> list[np.ndarray]:
    """Returns joint positions (nq,): the start, keyframes, and some within the joints' limits."""
    out = [mj_model.qpos0, *mj_model.key_qpos]
    moving = [
        j
        for j in range(mj_model.njnt)
        if mj_model.jnt_limited[j] and int(mj_model.jnt_type[j]) in ONE_NUMBER
    ]
    rng = np.random.default_rng(0)
    low, high = mj_model.jnt_range[moving].T
    for _ in range(POSES if moving else 0):
        qpos = mj_model.qpos0.copy()
        qpos[mj_model.jnt_qposadr[moving]] = rng.uniform(low, high)
        out.append(qpos)
    return out
