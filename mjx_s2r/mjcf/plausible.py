"""Sizes and masses that no robot has: units gone wrong, told by the size of the whole.

MuJoCo works in metres and kilograms and takes any number. Meshes drawn in millimetres make a robot
a thousand times too large, and 10^9 times too heavy where masses follow from volumes.
"""

import mujoco
import numpy as np

from mjx_s2r.sim.backends.engine_fields import labelled
from mjx_s2r.sim.backends.physics_config import ModelError

LONGEST = 50.0  # m, a robot with its links; the largest bucket-wheel excavators apart
LOOSE = 100.0  # a mesh that is this many times as long as the robot's joints are apart
LARGE = 5.0  # m, below which such a mesh is no wonder
HEAVIEST = 1e5  # kg, one moving body
_MESH = int(mujoco.mjtGeom.mjGEOM_MESH)
FLAT = (int(mujoco.mjtGeom.mjGEOM_PLANE), int(mujoco.mjtGeom.mjGEOM_HFIELD))


def refuse_implausible(file: str, m: mujoco.MjModel) -> None:
    """Checks that a model's numbers can be metres and kilograms.

    Raises:
        ModelError: names what is too large, too heavy or no number, and the remedy.
    """
    _refuse_no_numbers(file, m)
    data = mujoco.MjData(m)
    mujoco.mj_kinematics(m, data)
    for root in np.flatnonzero((m.body_rootid == np.arange(m.nbody)) & (np.arange(m.nbody) > 0)):
        _refuse_size(file, m, data, int(root))
    moving = m.body_weldid != 0
    for body in np.flatnonzero(moving & (m.body_mass > HEAVIEST)):
        raise ModelError(
            f"{file}: {labelled(m, 'body', int(body))} weighs {m.body_mass[body]:.3g} kg; masses "
            "are in kg and densities in kg/m^3: correct its <inertial> or density"
        )


def _refuse_no_numbers(file: str, m: mujoco.MjModel) -> None:
    """Raises ModelError for a value that is not finite."""
    fields = {
        "body": ("body_mass", "body_inertia", "body_pos", "body_quat", "body_ipos"),
        "geom": ("geom_size", "geom_pos", "geom_friction"),
        "joint": ("jnt_range", "jnt_axis", "jnt_stiffness"),
        "actuator": ("actuator_gainprm", "actuator_biasprm", "actuator_gear"),
    }
    for kind, names in fields.items():
        for name in names:
            value = np.atleast_2d(np.asarray(getattr(m, name)).T).T  # (N,) as (N, 1)
            for index in np.flatnonzero(~np.isfinite(value).all(-1)):
                raise ModelError(
                    f"{file}: {labelled(m, kind, int(index))}: {name.partition('_')[2]} is not a "
                    "finite number; correct it"
                )


def box_of(m: mujoco.MjModel, data: mujoco.MjData, root: int) -> np.ndarray:
    """Returns the lengths (3,) m of the box about the geoms of a kinematic tree at qpos0."""
    mine = (m.body_rootid[m.geom_bodyid] == root) & ~np.isin(m.geom_type, FLAT)
    if not mine.any():
        return np.zeros(3)
    frame = data.geom_xmat[mine].reshape(-1, 3, 3)
    centre = data.geom_xpos[mine] + np.einsum("gij,gj->gi", frame, m.geom_aabb[mine, :3])
    half = np.einsum("gij,gj->gi", np.abs(frame), m.geom_aabb[mine, 3:])
    return np.asarray((centre + half).max(0) - (centre - half).min(0))


def _refuse_size(file: str, m: mujoco.MjModel, data: mujoco.MjData, root: int) -> None:
    """Raises ModelError for a tree of bodies that is too large, or whose meshes are."""
    bodies = np.flatnonzero(m.body_rootid == root)
    if not (m.body_weldid[bodies] != 0).any():
        return  # scenery may be as large as it likes
    longest = float(box_of(m, data, root).max())
    apart = float(np.ptp(data.xpos[bodies], axis=0).max())
    geoms = np.flatnonzero(np.isin(m.geom_bodyid, bodies) & (m.geom_type == _MESH))
    lengths = 2 * m.geom_aabb[geoms, 3:].max(-1)
    loose = geoms[lengths > max(LOOSE * apart, LARGE)] if apart > 0 else geoms[:0]
    if longest <= LONGEST and not loose.size:
        return
    body = labelled(m, "body", root)
    if geoms.size and lengths.max() > LARGE:
        big = m.geom_dataid[geoms[lengths > LARGE]]
        names = [m.mesh(int(i)).name for i in dict.fromkeys(big.tolist())]
        shown = ", ".join(names[:3]) + (f" and {len(names) - 3} more" if len(names) > 3 else "")
        raise ModelError(
            f"{file}: {body} is {longest:.4g} m long with meshes of up to {lengths.max():.4g} m "
            f'({shown}), so they are in millimetres; write scale="0.001 0.001 0.001" into <mesh>'
        )
    raise ModelError(
        f"{file}: {body} is {longest:.4g} m long; lengths are in metres: divide positions and "
        "sizes by 1000 where they are in millimetres"
    )
