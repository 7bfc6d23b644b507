"""Rows of the "model" group that would do nothing, or nothing sound: refused before long work.

Every refusal names the row, the element and the remedy. What can be told from the model alone is
judged here and, for contacts, in `contact_rows`; what only a simulation tells, in `row_trial`.
Values that cannot be are refused where rows are bound (`mjx_s2r.params.bounds`).
"""

from collections.abc import Callable, Mapping, Sequence

import mujoco
import numpy as np

from mjx_s2r.drives import FILTERS
from mjx_s2r.params import Edit, ParamError, ParamSpace, bounds
from mjx_s2r.sim.model import contact_rows, terrain
from mjx_s2r.sim.model.fields import qpos_owner, sizes_used
from mjx_s2r.sim.model.row_case import Case
from mjx_s2r.sim.physics import ModelError


def check(
    space: ParamSpace,
    edits: Sequence[Edit],
    mj_model: mujoco.MjModel,
    nominal: Mapping[str, np.ndarray],
    names: Mapping[str, Sequence[str]],
) -> None:
    """Refuses rows that MJX would ignore or that no body could have.

    Raises:
        ModelError: a row without effect, or one that leaves an impossible model.
    """
    for edit in edits:
        judge = _JUDGES.get(edit.array)
        if judge is not None:
            array, known = nominal[edit.array], names.get(edit.array, ("the world",) * 3)
            mine = [other for other in edits if other.array == edit.array]
            judge(Case(mj_model, space, edit, mine, array, known))


def _friction_loss(case: Case) -> None:
    """Refuses a zero that MJX has compiled out, and what a flag switches off."""
    zero = np.flatnonzero(case.edit.mask & (case.nominal == 0))
    if zero.size:
        row, element = case.row, case.names[int(zero[0])]
        raise ModelError(
            f"parameter {row.name!r} randomizes dof_frictionloss of joint {element!r} from zero; "
            "MJX compiles a zero term out, so it would stay zero. Write a tiny value (1e-6) into "
            "the MuJoCo model"
        )
    _switched_off(case, _OFF.mjDSBL_FRICTIONLOSS, "frictionloss")
    _switched_off(case, _OFF.mjDSBL_CONSTRAINT, "constraint")


def _switched_off(case: Case, flag: mujoco.mjtDisableBit, name: str) -> None:
    """Refuses a row on what a flag of the model switches off."""
    if case.off(flag):
        raise case.error(
            case.first,
            f'the flag {name}="disable" switches it off. Remove the flag from the MuJoCo model, or '
            "drop the row",
        )


def _spring(case: Case) -> None:
    """Refuses stiffness where springs are off."""
    _switched_off(case, _OFF.mjDSBL_SPRING, "spring")


def _damper(case: Case) -> None:
    """Refuses damping where dampers are off."""
    _switched_off(case, _OFF.mjDSBL_DAMPER, "damper")


def _restitution(case: Case) -> None:
    """Refuses a bounce on contacts in direct form."""
    contact_rows.needs_contact(case)
    direct = np.flatnonzero(case.chosen & (case.mj_model.geom_solref <= 0).any(-1))
    if direct.size:
        raise case.error(
            int(direct[0]),
            "its solref is given as stiffness and damping; write it as time constant and damping "
            'ratio, e.g. solref="0.02 1"',
        )
    contact_rows.softness(case)


def _inertia(case: Case) -> None:
    """Refuses inertias that break the triangle inequality, or may: one axis by itself.

    The slack of the inequality, I_1 + I_2 - I_3, is scaled, shifted and set as the moments are, so
    its least value over all rows is exact.
    """
    if case.row.column is not None:
        raise case.error(
            case.first,
            "one axis alone may leave an inertia that no body has. Use 'model.body_shape', which "
            "stretches the mass along that axis, or drop the column",
        )
    _needs_motion(case)
    slack = case.nominal.sum(-1, keepdims=True) - 2 * case.nominal
    least = bounds.reach(slack, case.edits, case.space.rows)[0]
    allowed = np.minimum(slack, 0) - bounds.FLOAT * case.nominal.max(-1, keepdims=True)
    wrong = np.flatnonzero((least < allowed).any(-1) & case.chosen)
    if wrong.size:
        raise case.error(
            int(wrong[0]),
            f"within limits {case.row.limits} one moment becomes larger than the sum of the other "
            "two, which no body has. Use mode 'scale', or 'model.body_shape'",
        )


def _needs_motion(case: Case) -> None:
    """Refuses mass and inertia of bodies that are all fixed to the world."""
    fixed = case.mj_model.body_weldid == 0
    if fixed[case.chosen].all():
        raise case.error(
            case.first,
            "it is fixed to the world, where mass has no effect. Name a body that moves",
        )


def _centre(case: Case) -> None:
    """Refuses to shift a centre of mass which C took for the body's frame.

    The compiler gives such a body ("simple") a mass matrix without room for what then arises.
    """
    _needs_motion(case)
    simple = np.flatnonzero(case.chosen & (case.mj_model.body_simple != 0))
    if simple.size:
        name = case.names[int(simple[0])]
        raise ModelError(
            f"parameter {case.row.name!r} shifts the centre of mass of body {name!r}, which MuJoCo "
            "has compiled as one with its mass at its frame; write "
            f'<body name="{name}" simple="false"> into the MuJoCo model'
        )


def _fixed_pose(case: Case) -> None:
    """Refuses the place of bodies that stand where the start of an episode puts them."""
    m = case.mj_model
    free = np.zeros(m.nbody, bool)
    free[m.jnt_bodyid[m.jnt_type == mujoco.mjtJoint.mjJNT_FREE]] = True
    case.refuse(
        free,
        "it has a free joint, so its pose is that of the start and this has no effect. Draw it in "
        "the task's reset",
    )
    case.refuse(
        m.body_mocapid >= 0,
        "it is a mocap body, so its pose is that of the start and this has no effect. Use "
        "'world.mocap_shift', or draw it in the task's reset",
    )


def _zero_quat(case: Case) -> None:
    """Refuses orientations that do nothing or may vanish."""
    _fixed_pose(case)
    wrong = np.flatnonzero(bounds.may_vanish(case.reach()) & case.chosen)
    if wrong.size:
        raise case.error(
            int(wrong[0]),
            f"within limits {case.row.limits} all four parts of the quaternion may be zero, which "
            "is no orientation. Use 'model.body_tilt', a rotation vector",
        )


def _joint_zero(case: Case) -> None:
    """Refuses the reference of joints that have none: of free and ball joints."""
    kinds = case.mj_model.jnt_type[qpos_owner(case.mj_model)]
    case.refuse(
        np.isin(kinds, (mujoco.mjtJoint.mjJNT_FREE, mujoco.mjtJoint.mjJNT_BALL)),
        "it is a free or ball joint, whose pose is that of the start, so this has no effect. Draw "
        "it in the task's reset",
    )


def _size(case: Case) -> None:
    """Refuses sizes that are no sizes: of planes, meshes and height fields; unused columns."""
    used = sizes_used(case.mj_model)
    wrong = np.flatnonzero(case.chosen & ~used.any(-1))
    idle = np.flatnonzero(case.chosen & ~(case.edit.mask & used).any(-1))
    kinds = case.mj_model.geom_type
    name = {i: _kind(int(kinds[i])) for i in (*wrong, *idle)}
    if wrong.size:
        what = f"a {name[wrong[0]]} has no size that acts. Name other geoms"
        raise case.error(int(wrong[0]), what)
    if idle.size:
        most = int(used[idle[0]].sum())
        raise case.error(
            int(idle[0]),
            f"a {name[idle[0]]} has {most} size{'s' * (most > 1)}, so column {case.row.column} has "
            f"no effect. Use a column below {most}",
        )


def _kind(geom_type: int) -> str:
    """Returns the name of a type of geom."""
    return mujoco.mjtGeom(geom_type).name.removeprefix("mjGEOM_").lower()


def _length(case: Case) -> None:
    """Refuses to scale the world."""
    if case.chosen[0]:
        raise case.error(0, "the world has no length. Name bodies, e.g. elements=('upper_arm',)")


def _servo(case: Case) -> None:
    """Refuses rows on actuators that are switched off."""
    m = case.mj_model
    _switched_off(case, _OFF.mjDSBL_ACTUATION, "actuation")
    group = np.clip(m.actuator_group, 0, 31)
    case.refuse(
        (m.opt.disableactuator >> group & 1).astype(bool),
        "its group is switched off by actuatorgroupdisable. Remove that from the MuJoCo model, or "
        "drop the row",
    )


def _loops(m: mujoco.MjModel) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Returns (nu,) True for actuators with a linear bias, a position and a velocity loop.

    force = gain ctrl + b_0 + b_1 length + b_2 velocity (MuJoCo: actuator/general): a position
    servo has b_1 = -gain, a velocity servo b_1 = 0 and b_2 = -gain.
    """
    fixed = m.actuator_gaintype == mujoco.mjtGain.mjGAIN_FIXED
    linear = fixed & (m.actuator_biastype == mujoco.mjtBias.mjBIAS_AFFINE)
    gain, on_length, on_speed = (
        m.actuator_gainprm[:, 0],
        m.actuator_biasprm[:, 1],
        m.actuator_biasprm[:, 2],
    )
    position = linear & (on_length != 0)
    velocity = linear & (on_length == 0) & (on_speed != 0) & np.isclose(on_speed, -gain)
    return linear, position, velocity


def _kp(case: Case) -> None:
    """Refuses the stiffness of actuators without a position loop, whose gain it would change."""
    _servo(case)
    m = case.mj_model
    _, position, velocity = _loops(m)
    instead = "Use 'model.actuator_strength', or leave this actuator out"
    case.forbid(
        velocity,
        f"a velocity servo has no position loop, and its set point would move. {instead}",
    )
    case.forbid(~position, f"it has no position loop that kp could stiffen. {instead}")
    case.forbid(
        ~np.isclose(m.actuator_gainprm[:, 0], -m.actuator_biasprm[:, 1], rtol=1e-5),
        f"its gain is not its stiffness, so it is no position servo. {instead}",
    )


def _kd(case: Case) -> None:
    """Refuses the damping of actuators without a place for it, or whose set point it would move."""
    _servo(case)
    linear, _, velocity = _loops(case.mj_model)
    case.forbid(
        velocity,
        "kd alone would move a velocity servo's set point. Use 'model.actuator_strength', which "
        "scales both sides, or leave this actuator out",
    )
    case.refuse(
        ~linear,
        "it has no velocity loop, so kd has no effect. Use 'model.dof_damping' of its joint, or "
        "'model.actuator_strength'",
    )


def _force_limit(case: Case) -> None:
    """Refuses a force limit on actuators without one, or beyond what they can reach."""
    _servo(case)
    m = case.mj_model
    free = np.flatnonzero(case.chosen & (m.actuator_forcelimited == 0))
    if free.size:
        raise case.error(
            int(free[0]),
            'its force is not limited. Write forcerange="-3 3" (with numbers of the motor) into '
            "the MuJoCo model",
        )
    motor = (m.actuator_gaintype == mujoco.mjtGain.mjGAIN_FIXED) & (
        m.actuator_biastype == mujoco.mjtBias.mjBIAS_NONE
    )
    motor &= (m.actuator_dyntype == mujoco.mjtDyn.mjDYN_NONE) & (m.actuator_ctrllimited == 1)
    if case.off(_OFF.mjDSBL_CLAMPCTRL):
        return
    force = np.sort(m.actuator_gainprm[:, :1] * m.actuator_ctrlrange, -1)
    limit = m.actuator_forcerange * case.reach()[0][:, None]
    beyond = (limit[:, 0] <= force[:, 0]) & (limit[:, 1] >= force[:, 1])
    wrong = case.chosen & motor & beyond
    reached = float(np.abs(force[case.first]).max())
    case.refuse(
        wrong,
        f"its force reaches {reached:.4g} at most within its ctrlrange, and the limit never falls "
        "below that. Write a forcerange into the MuJoCo model that the motor reaches, or use "
        "'model.actuator_strength'",
    )


def _time_constant(case: Case) -> None:
    """Refuses the lag of an actuator that has none."""
    _servo(case)
    case.refuse(
        ~np.isin(case.mj_model.actuator_dyntype, FILTERS),
        'it does not filter its control. Write dyntype="filterexact" and dynprm="0.05" (s) into '
        "the MuJoCo model, or drop the row",
    )


def _gravity(case: Case) -> None:
    """Refuses gravity that is switched off."""
    _switched_off(case, _OFF.mjDSBL_GRAVITY, "gravity")


def _tilt(case: Case) -> None:
    """Refuses a direction of gravity where there is none."""
    _gravity(case)
    touched = any(row.field == "model.gravity" for row in case.space.rows)
    if not case.mj_model.opt.gravity.any() and not touched:
        raise case.error(0, "gravity is zero, so its direction has no effect. Drop the row")


def _terrain(case: Case) -> None:
    """Refuses ground that no geom has, or that is level."""
    m = case.mj_model
    used = [i for i, kind in zip(m.geom_dataid, m.geom_type, strict=True) if kind == _HFIELD]
    case.refuse(
        ~np.isin(np.arange(m.nhfield), used),
        'no geom has this height field. Write <geom type="hfield" hfield="..."/> into the MuJoCo '
        "model, or drop the row",
    )
    fields = terrain.fields_of(m)
    case.refuse(
        np.array([f.hill <= 0 and f.hole <= 0 for f in fields]),
        "it is level as written, and random ground has its hills. Write a field with the highest "
        "hill that may come, or drop the row",
    )


_HFIELD = mujoco.mjtGeom.mjGEOM_HFIELD
_OFF = mujoco.mjtDisableBit
_JUDGES: dict[str, Callable[[Case], None]] = {
    "dof_frictionloss": _friction_loss,
    "dof_damping": _damper,
    "jnt_stiffness": _spring,
    "geom_friction": contact_rows.friction,
    "geom_solref": contact_rows.softness,
    "geom_solimp": contact_rows.softness,
    "geom_restitution": _restitution,
    "geom_size": _size,
    "body_mass": _needs_motion,
    "body_ipos": _centre,
    "body_shape": _needs_motion,
    "body_inertia": _inertia,
    "body_pos": _fixed_pose,
    "body_tilt": _fixed_pose,
    "body_quat": _zero_quat,
    "link_length": _length,
    "qpos0": _joint_zero,
    "actuator_kp": _kp,
    "actuator_kd": _kd,
    "actuator_strength": _servo,
    "actuator_force_limit": _force_limit,
    "actuator_time_constant": _time_constant,
    "gravity": _gravity,
    "gravity_tilt": _tilt,
    **dict.fromkeys(terrain.ARRAYS, _terrain),
}


def closed_rows(space: ParamSpace) -> None:
    """Refuses a row whose limits are one value.

    Raises:
        ParamError: names the row; a number that never differs belongs into the model.
    """
    for row in space.rows:
        if row.limits[0] == row.limits[1]:
            raise ParamError(
                f"parameter {row.name!r}: its limits {row.limits} leave nothing to draw; widen "
                "them, or write the value into the model and drop the row"
            )
