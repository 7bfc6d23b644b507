"""Servos that are stiffer than their own force, or than the time step, lets them be.

A position servo with stiffness K, damping D and inertia I at its joint, limited to a force F:

    saturated   all its force is given at an error of F/K. Beyond that the servo is a relay: it
                pushes with F until K e = D v. In the phase plane a step A gets there at a speed v
                with v^2 I/(2 F) = A - (D/K) v, and -F can stop it in time if v^2 I/(2 F) is no
                more than (D/K) v. So steps above A = 4 F D^2/(K^2 I) = 16 z^2 F/K, z the damping
                ratio, overshoot whatever the gains promise. It is the argument of time-optimal
                servos: G. F. Franklin, J. D. Powell, M. L. Workman, "Digital Control of Dynamic
                Systems", on disk drives. A servo damped as much as z = 5 may saturate at a third
                of a degree and is sound.
    unstable    MuJoCo takes stiffness explicitly, damping of joints implicitly, and that of servos
                so by its implicit integrators alone. One joint is then stepped stably if
                (w dt)^2 < 4 (1 + z w dt) (all damping implicit) or (w dt)^2 + 4 z w dt < 4 (all
                explicit); without damping both say w dt < 2, as E. Hairer, C. Lubich, G. Wanner,
                "Geometric Numerical Integration", have it for symplectic Euler. Joints move each
                other, so the largest eigenvalue of a step of all joints is asked instead.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import mujoco
import numpy as np

from mjx_s2r.mjcf.finding import ModelFinding
from mjx_s2r.sim.backends.engine_fields import labelled

SMALL = {"rad": np.radians(1.0), "m": 1e-3}  # errors and steps that any command exceeds
GROWS = 1.01  # of an eigenvalue in a step, from which on it is told
SOFT = {"rad": 0.1, "m": 0.01}  # error at which the remedy gives all force
_EXPLICIT = int(mujoco.mjtIntegrator.mjINT_EULER)
_RK4 = int(mujoco.mjtIntegrator.mjINT_RK4)
_HINGE, _SLIDE = int(mujoco.mjtJoint.mjJNT_HINGE), int(mujoco.mjtJoint.mjJNT_SLIDE)


@dataclass(frozen=True)
class ServoGains:
    """A position servo as its joint feels it.

    Attributes:
        actuator: its index.
        dof: of the joint that it drives.
        unit: of the position, rad or m.
        stiffness: K [N m/rad or N/m].
        damping: D of the servo alone [N m s/rad or N s/m].
        joint_damping: of the joint [the same].
        force: F, the largest at the joint; infinite without a limit [N m or N].
        inertia: I, the joint's entry of the mass matrix, armature included [kg m^2 or kg].
    """

    actuator: int
    dof: int
    unit: str
    stiffness: float
    damping: float
    joint_damping: float
    force: float
    inertia: float

    @property
    def full_at(self) -> float:
        """Error at which it gives all its force, F/K [rad or m]."""
        return self.force / self.stiffness

    @property
    def largest_step(self) -> float:
        """Largest step that it follows without overshooting for want of force [rad or m]."""
        damping = self.damping + self.joint_damping
        return 4 * self.full_at * damping**2 / (self.stiffness * self.inertia)

    @property
    def rate_hz(self) -> float:
        """Natural frequency [Hz]."""
        return float(np.sqrt(self.stiffness / self.inertia)) / (2 * np.pi)


def servo_gains(m: mujoco.MjModel, data: mujoco.MjData) -> list[ServoGains]:
    """Returns the position servos that drive a hinge or a slide; ``data`` holds a pose."""
    mass = np.zeros((m.nv, m.nv))
    mujoco.mj_fullM(m, data, mass)
    out = []
    for i in range(m.nu):
        joint = int(m.actuator_trnid[i, 0])
        kp, gear = float(m.actuator_gainprm[i, 0]), float(m.actuator_gear[i, 0])
        if (
            m.actuator_trntype[i] != int(mujoco.mjtTrn.mjTRN_JOINT)
            or m.actuator_gaintype[i] != int(mujoco.mjtGain.mjGAIN_FIXED)
            or m.actuator_biastype[i] != int(mujoco.mjtBias.mjBIAS_AFFINE)
            or m.jnt_type[joint] not in (_HINGE, _SLIDE)
            or not (kp > 0 > m.actuator_biasprm[i, 1] and gear)
        ):
            continue
        dof = int(m.jnt_dofadr[joint])
        limits = [np.inf]
        if m.actuator_forcelimited[i]:
            limits.append(float(np.abs(m.actuator_forcerange[i]).max()) * abs(gear))
        if m.jnt_actfrclimited[joint]:
            limits.append(float(np.abs(m.jnt_actfrcrange[joint]).max()))
        out.append(
            ServoGains(
                actuator=i,
                dof=dof,
                unit="rad" if m.jnt_type[joint] == _HINGE else "m",
                stiffness=-float(m.actuator_biasprm[i, 1]) * gear**2,
                damping=max(0.0, -float(m.actuator_biasprm[i, 2])) * gear**2,
                joint_damping=float(m.dof_damping[dof]),
                force=min(limits),
                inertia=float(mass[dof, dof]),
            )
        )
    return out


def check_gains(m: mujoco.MjModel, data: mujoco.MjData) -> Iterator[ModelFinding]:
    """Yields servos that saturate at tiny errors, and those that a step cannot follow.

    Args:
        m: the model.
        data: its start, with everything computed.
    """
    servos = servo_gains(m, data)
    yield from _saturated(m, [one for one in servos if np.isfinite(one.force)])
    yield from _unstable(m, data, servos)


def _saturated(m: mujoco.MjModel, servos: list[ServoGains]) -> Iterator[ModelFinding]:
    """Yields one finding about all servos that are relays."""
    relays = [s for s in servos if max(s.full_at, s.largest_step) < SMALL[s.unit]]
    if not relays:
        return
    worst = min(relays, key=lambda s: s.full_at / SMALL[s.unit])
    kp = worst.force / SOFT[worst.unit]
    kv = 2 * float(np.sqrt(kp * worst.inertia))
    gear = float(m.actuator_gear[worst.actuator, 0]) ** 2
    more = f" and {len(relays) - 1} more" if len(relays) > 1 else ""
    yield ModelFinding(
        "note", "", labelled(m, "actuator", worst.actuator) + more,
        f"kp {worst.stiffness / gear:.4g} gives all the force there is, {_short(worst)}, at an "
        f"error of {_length(worst.full_at, worst.unit)} already, and steps of more than "
        f"{_length(worst.largest_step, worst.unit)} overshoot: the servo pushes fully one "
        "way or the other, as few real ones do",
        f"measure the servo (`python -m train identify` fits kp and kv to flight logs); until then "
        f'kp="{kp / gear:.3g}" kv="{kv / gear:.3g}" give all force at '
        f"{_length(SOFT[worst.unit], worst.unit)}, critically damped",
    )  # fmt: skip


def _unstable(
    m: mujoco.MjModel, data: mujoco.MjData, servos: list[ServoGains]
) -> Iterator[ModelFinding]:
    """Yields the servo that makes the joints' own step grow, if any does."""
    tied = m.eq_type == int(mujoco.mjtEq.mjEQ_JOINT)  # such joints move others' inertia, too
    joints = m.jnt_dofadr[np.concatenate((m.eq_obj1id[tied], m.eq_obj2id[tied])).astype(int)]
    servos = [one for one in servos if one.dof not in joints]
    if not servos or m.opt.integrator == _RK4:
        return
    growth, motion = _growth(m, data, servos)
    if growth < GROWS:
        return
    driven = {one.dof: one for one in servos}
    worst = driven[max(driven, key=lambda dof: float(motion[dof]))]
    dt = m.opt.timestep
    fast = 2 * np.pi * worst.rate_hz * dt
    braked = (worst.damping + worst.joint_damping) * dt / worst.inertia
    yield ModelFinding(
        "differs", "", labelled(m, "actuator", worst.actuator),
        f"is too stiff for steps of {dt:g} s: with the inertia of its joint, {worst.inertia:.3g} "
        f"{'kg m^2' if worst.unit == 'rad' else 'kg'}, w dt = {fast:.2g} and D dt/I = "
        f"{braked:.2g}, so that a deviation grows {growth:.3g} times in each",
        "write a smaller kp (or kv), the rotor's inertia as the joint's armature, "
        'integrator="implicitfast", or a smaller timestep',
    )  # fmt: skip


def _growth(
    m: mujoco.MjModel, data: mujoco.MjData, servos: list[ServoGains]
) -> tuple[float, np.ndarray]:
    """Returns by how much a deviation grows in a step at most, and its motion (nv,) by joint.

    Gravity, contacts and limits aside: v' = v - dt A^-1 (K q + D v), q' = q + dt v', with A the
    mass matrix plus dt times the damping that the integrator takes implicitly.
    """
    mass, dt = np.zeros((m.nv, m.nv)), m.opt.timestep
    mujoco.mj_fullM(m, data, mass)
    stiff, of_servos = np.zeros(m.nv), np.zeros(m.nv)
    for one in servos:
        stiff[one.dof] += one.stiffness
        of_servos[one.dof] += one.damping
    damping = m.dof_damping + of_servos
    no_implicit = m.opt.disableflags & mujoco.mjtDisableBit.mjDSBL_EULERDAMP
    implicit = damping
    if m.opt.integrator == _EXPLICIT:
        implicit = np.zeros(m.nv) if no_implicit else m.dof_damping
    solved = np.linalg.inv(mass + dt * np.diag(implicit))
    by_place, by_speed = -dt * solved * stiff, np.eye(m.nv) - dt * solved * damping
    step = np.block([[np.eye(m.nv) + dt * by_place, dt * by_speed], [by_place, by_speed]])
    values, vectors = np.linalg.eig(step)
    fastest = int(np.abs(values).argmax())
    return float(np.abs(values[fastest])), np.abs(vectors[: m.nv, fastest])


def _length(value: float, unit: str) -> str:
    """Returns an angle in degrees, or a way in millimetres."""
    return f"{np.degrees(value):.2g} deg" if unit == "rad" else f"{1e3 * value:.2g} mm"


def _short(servo: ServoGains) -> str:
    """Returns a force with its unit."""
    return f"{servo.force:.3g} {'N m' if servo.unit == 'rad' else 'N'}"
