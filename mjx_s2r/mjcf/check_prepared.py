"""A prepared model measured against its original in C MuJoCo: masses, inertias, motion."""

import copy
from dataclasses import dataclass

import mujoco
import numpy as np

SECONDS = 0.5  # of motion that is compared
SHARE = 0.3  # of their ranges that commands swing over


@dataclass(frozen=True)
class Check:
    """One comparison.

    Attributes:
        what: is compared.
        value: the largest difference.
        limit: that it may have.
        unit: of both.
    """

    what: str
    value: float
    limit: float
    unit: str

    @property
    def holds(self) -> bool:
        """Whether the difference is within the limit."""
        return self.value <= self.limit


def compare(original: mujoco.MjModel, prepared: mujoco.MjModel, home: np.ndarray) -> list[Check]:
    """Returns masses, mass matrix and motion of two models side by side.

    A mass matrix, and a motion without contacts, can be compared where the degrees of freedom are
    the same; the motion, where the actuators are, too. The original is stepped with the solver and
    the time step of the prepared model.

    Args:
        original: with every body named.
        prepared: the same robot.
        home: (nq,) a pose of the prepared model.
    """
    bodies = [(b, prepared.body(original.body(b).name).id) for b in range(1, original.nbody)]
    a, b = (np.array(side) for side in zip(*bodies, strict=True)) if bodies else ([], [])
    out = [
        Check(
            "total mass",
            float(abs(original.body_mass.sum() - prepared.body_mass.sum())),
            1e-6 * float(original.body_mass.sum()),
            "kg",
        ),
        Check(
            "masses and inertias of bodies",
            max(
                _apart(original.body_mass[a], prepared.body_mass[b]),
                _apart(original.body_inertia[a], prepared.body_inertia[b]),
            ),
            1e-6,
            "of the largest",
        ),
    ]
    if original.nv == prepared.nv and np.array_equal(original.dof_armature, prepared.dof_armature):
        out.append(
            Check(
                "mass matrix at home",
                _apart(_mass_matrix(original, home), _mass_matrix(prepared, home)),
                1e-6,
                "of the largest",
            )
        )
    if original.nv == prepared.nv and original.nu == prepared.nu and original.nv:
        out.append(
            Check(
                f"motion without contacts over {SECONDS:g} s",
                float(np.abs(_motion(original, prepared, home)).max()),
                1e-4,
                "rad or m",
            )
        )
    return out


def _apart(a: np.ndarray, b: np.ndarray) -> float:
    """Returns the largest difference, as a share of the largest value."""
    return float(np.abs(a - b).max() / max(np.abs(a).max(), 1e-30)) if np.size(a) else 0.0


def _mass_matrix(m: mujoco.MjModel, pose: np.ndarray) -> np.ndarray:
    data = mujoco.MjData(m)
    data.qpos[:] = pose
    mujoco.mj_forward(m, data)
    mass = np.zeros((m.nv, m.nv))
    mujoco.mj_fullM(m, data, mass)
    return mass


def _motion(original: mujoco.MjModel, prepared: mujoco.MjModel, home: np.ndarray) -> np.ndarray:
    """Returns the differences of positions (T, nq) under the same swinging commands."""
    paths = []
    for m in (original, prepared):
        free = copy.copy(m)
        free.opt.disableflags |= mujoco.mjtDisableBit.mjDSBL_CONTACT
        free.opt.timestep, free.opt.integrator = prepared.opt.timestep, prepared.opt.integrator
        free.opt.iterations, free.opt.ls_iterations = 100, 50
        data = mujoco.MjData(free)
        data.qpos[:] = home
        low, high = np.where(free.actuator_ctrllimited[:, None], free.actuator_ctrlrange, (-1, 1)).T
        path = []
        for _ in range(int(SECONDS / free.opt.timestep)):
            swing = np.sin(4 * data.time + np.arange(free.nu))
            data.ctrl[:] = (low + high) / 2 + SHARE * swing * (high - low) / 2
            mujoco.mj_step(free, data)
            path.append(data.qpos.copy())
        paths.append(np.stack(path))
    return np.asarray(paths[0] - paths[1])
