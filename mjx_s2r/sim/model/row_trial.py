"""Whether a row of the "model" group acts, found by trying it in C MuJoCo.

Two worlds, the row at its low end in one and at its high end in the other, start alike and get the
same commands and pushes. They may be told apart by where bodies, geoms, sites and cameras are, by
the sizes of geoms that can be seen or touched, and by qpos and qvel after some steps. A row that no
start tells apart does nothing on this model. The first difference ends the trial.

Rows that act in contacts alone, and those on the ground, are judged from the model (`contact_rows`,
`row_checks`): a trial may miss the touch. What contacts do to a body, a random force and torque on
all bodies that can touch stands in for, and random speeds for what sets passive joints in motion.
"""

import copy
import fnmatch
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import cast

import jax
import mujoco
import numpy as np

from mjx_s2r.params import Edit, Param, ParamSpace
from mjx_s2r.sim.backends.c_fields import quiet_warnings
from mjx_s2r.sim.model import terrain
from mjx_s2r.sim.model.contact_rows import contact_dimensions
from mjx_s2r.sim.model.fields import ELEMENTS, element_names
from mjx_s2r.sim.model.leaves import ModelBinding, write
from mjx_s2r.sim.physics import ModelError
from mjx_s2r.sim.task import Task
from mjx_s2r.sim.task_calls import Start, draw_start

STARTS = 4
DIFFERENT = 1e-6  # m, rad, m/s or rad/s that tell two worlds apart
TRIAL_S, MOST_STEPS = 0.3, 150
QUICK = {"xla_backend_optimization_level": 0, "xla_llvm_disable_expensive_passes": True}
ENDLESS = 3.0  # rad or N m, the command in the place of an infinite limit
IN_CONTACT = frozenset(("geom_friction", "geom_solref", "geom_solimp", "geom_restitution"))
PUSHES = ("world.push", "world.push_torque")
POSES = (
    *("xpos", "xquat", "site_xpos", "site_xmat", "cam_xpos", "cam_xmat"),
    *("geom_xpos", "geom_xmat"),
)


def draw_starts(task: Task, count: int = STARTS) -> Start:
    """Returns ``count`` starts of a task, every array (count, ...), as numpy arrays.

    A program that runs once is compiled without optimization, in a third of the time.
    """

    def draw(seed: jax.Array) -> Start:  # known here, the compiler would draw
        keys = jax.random.split(jax.random.key(seed), count)
        return jax.vmap(lambda key: draw_start(task, key=key))(keys)

    options = QUICK if jax.default_backend() == "cpu" else None
    with jax.ensure_compile_time_eval():  # a caller may be tracing
        starts = jax.jit(draw, compiler_options=options)(np.uint32(0))
        return cast(Start, jax.tree.map(np.asarray, starts))


def ends_of_rows(
    space: ParamSpace, edits: Sequence[Edit]
) -> Iterator[tuple[int, np.ndarray, np.ndarray]]:
    """Yields each bound row with the two xi (D,) that hold it at an end, all others nominal."""
    for edit in edits:
        ends = space.nominal, space.nominal
        for xi, value in zip(ends, space.rows[edit.row].limits, strict=True):
            xi[edit.row] = value
        yield edit.row, *ends


@dataclass(frozen=True, eq=False)
class _Bench:
    """Two worlds that differ in one row, and what happens to both.

    Attributes:
        models: the two models.
        data: their states.
        shown: (ngeom,) geoms that can be seen or touched.
        round: (ngeom,) geoms that are the same from all sides.
        ctrl: (K, T, nu) commands.
        wrench: (K, nbody, 6) force and torque from outside.
        kick: (K, nv) speeds added to a start's.
    """

    models: tuple[mujoco.MjModel, mujoco.MjModel]
    data: tuple[mujoco.MjData, mujoco.MjData]
    shown: np.ndarray
    round: np.ndarray
    ctrl: np.ndarray
    wrench: np.ndarray
    kick: np.ndarray

    def differ(self, starts: Start) -> bool:
        """Returns whether the two models, as they are now, can be told apart."""
        if _apart(*(m.geom_size[self.shown] for m in self.models)):
            return True
        count = len(starts.qpos)
        return any(self._placed(starts, k) for k in range(count)) or any(
            self._moved(starts, k) for k in range(count)
        )

    def _put(self, starts: Start, k: int) -> None:
        """Puts both worlds into start ``k``."""
        for m, d in zip(self.models, self.data, strict=True):
            mujoco.mj_resetData(m, d)
            d.qpos[:], d.qvel[:] = starts.qpos[k], starts.qvel[k] + self.kick[k]
            d.mocap_pos[:], d.mocap_quat[:] = starts.mocap_pos[k], starts.mocap_quat[k]
            d.xfrc_applied[:] = self.wrench[k]

    def _placed(self, starts: Start, k: int) -> bool:
        """Returns whether anything is elsewhere in start ``k``."""
        self._put(starts, k)
        for m, d in zip(self.models, self.data, strict=True):
            mujoco.mj_kinematics(m, d)
            mujoco.mj_comPos(m, d)
            mujoco.mj_camlight(m, d)
        one, two = self.data
        seen = {"geom_xpos": self.shown, "geom_xmat": self.shown & ~self.round}
        return any(
            _apart(*(getattr(d, name)[seen.get(name, ...)] for d in (one, two))) for name in POSES
        )

    def _moved(self, starts: Start, k: int) -> bool:
        """Returns whether the two worlds part after start ``k``."""
        self._put(starts, k)
        one, two = self.data
        for ctrl in self.ctrl[k]:
            for m, d in zip(self.models, self.data, strict=True):
                d.ctrl[:] = ctrl
                mujoco.mj_step(m, d)
            if _apart(one.qpos, two.qpos) or _apart(one.qvel, two.qvel):
                return True
        return False


def _apart(one: np.ndarray, two: np.ndarray) -> bool:
    """Returns whether two arrays differ; what is no number is as different as can be."""
    return one.size > 0 and not np.abs(one - two).max() <= DIFFERENT


def _bench(
    mj_model: mujoco.MjModel,
    pushed: np.ndarray,
    count: int,
    ctrl_index: Sequence[int],
    limits: tuple[np.ndarray, np.ndarray],
) -> _Bench:
    """Returns two worlds and ``count`` courses of events: from all that are at their limits, ...

    Commands are at their high or low limits, change at random or jump between the two; every other
    start has speeds added, and every other pair of starts pushes.
    """
    models = tuple(copy.copy(mj_model) for _ in range(2))
    rng = np.random.default_rng(0)
    steps = int(np.clip(np.ceil(TRIAL_S / mj_model.opt.timestep), 10, MOST_STEPS))
    low, high = limits
    beat = (np.arange(steps) // max(steps // 10, 1))[:, None]
    courses = (
        np.broadcast_to(high, (steps, len(high))),
        np.broadcast_to(low, (steps, len(low))),
        np.where(beat % 2 == 0, high, low),
        (low + (high - low) * rng.uniform(size=(int(beat[-1, 0]) + 1, len(low))))[beat[:, 0]],
    )
    ctrl = np.zeros((count, steps, mj_model.nu))
    for k in range(count):
        ctrl[k][:, list(ctrl_index)] = courses[k % len(courses)]
    kick = rng.normal(size=(count, mj_model.nv)) * (np.arange(count) % 2 == 1)[:, None]
    weight = np.maximum(mj_model.body_mass, 0.0)[None, :, None]
    wrench = rng.normal(size=(count, mj_model.nbody, 6)) * weight * pushed[None, :, None]
    wrench *= np.array((5.0, 5.0, 5.0, 0.1, 0.1, 0.1))  # m/s^2; N m on a lever of a few cm
    wrench[np.arange(count) % 4 < 2] = 0.0
    data = tuple(mujoco.MjData(m) for m in models)
    opaque = mj_model.geom_rgba[:, 3] > 0
    shown = opaque | _can_touch(mj_model)
    ball = (mj_model.geom_type == mujoco.mjtGeom.mjGEOM_SPHERE) & (mj_model.geom_matid < 0)
    return _Bench((models[0], models[1]), (data[0], data[1]), shown, ball, ctrl, wrench, kick)


def _can_touch(mj_model: mujoco.MjModel) -> np.ndarray:
    """Returns (ngeom,) True for geoms that can have contacts, by their own numbers or as pairs."""
    touch = contact_dimensions(mj_model) > 0
    off = mujoco.mjtDisableBit.mjDSBL_CONTACT | mujoco.mjtDisableBit.mjDSBL_CONSTRAINT
    if not mj_model.opt.disableflags & off:
        touch[mj_model.pair_geom1] = touch[mj_model.pair_geom2] = True
    return np.asarray(touch)


def _pushed(space: ParamSpace, mj_model: mujoco.MjModel) -> np.ndarray:
    """Returns (nbody,) True for bodies that contacts, or rows of the table, push."""
    out = np.zeros(mj_model.nbody, bool)
    out[mj_model.geom_bodyid[_can_touch(mj_model)]] = True
    names = element_names(mj_model, "body")
    for row in space.rows:
        if row.field in PUSHES:
            out |= [_named(row, name) for name in names]
    return out & (mj_model.body_weldid != 0)


def refuse_rows_without_effect(
    space: ParamSpace,
    binding: ModelBinding,
    mj_model: mujoco.MjModel,
    starts: Start,
    *,
    ctrl_index: Sequence[int],
    ctrl_low: Sequence[float],
    ctrl_high: Sequence[float],
) -> None:
    """Refuses rows of the model that change nothing, in C MuJoCo, at either end of their limits.

    Pushes that meet no freedom to move are refused, too.

    Args:
        space: the table.
        binding: its model rows, bound to ``mj_model``.
        mj_model: the nominal model.
        starts: K starts of the task, every array (K, ...); see `draw_starts`.
        ctrl_index: (J,) actuators that the contract drives; the others are at zero.
        ctrl_low: (J,) least command of each.
        ctrl_high: (J,) greatest.

    Raises:
        ModelError: names the row, its elements and the remedy.
    """
    _refuse_idle_pushes(space, mj_model, starts)
    outside = {*IN_CONTACT, *terrain.ARRAYS}
    if any(row.field == "actuator.speed_loss" for row in space.rows):
        outside.add(
            "actuator_force_limit"
        )  # the curve, which C knows nothing of, lowers it further
    tried = [edit for edit in binding.edits if edit.array not in outside]
    if not tried:
        return
    low, high = (np.nan_to_num(x, posinf=ENDLESS, neginf=-ENDLESS) for x in (ctrl_low, ctrl_high))
    pushed = _pushed(space, mj_model)
    bench = _bench(mj_model, pushed, len(starts.qpos), ctrl_index, (low, high))
    with quiet_warnings():  # an end of a range may well be unstable
        for edit, (row, low_end, high_end) in zip(tried, ends_of_rows(space, tried), strict=True):
            for one, two in _pairs(space, row, low_end, high_end):
                for model, xi in zip(bench.models, (one, two), strict=True):
                    write(model, binding, xi)
                if bench.differ(starts):
                    break
            else:
                raise _error(space, edit, mj_model, ctrl_index)


def _pairs(
    space: ParamSpace, row: int, low: np.ndarray, high: np.ndarray
) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Yields pairs of xi (D,) that differ in one row: at its ends, or an end and nominal.

    All others are nominal, then at the lower and at the upper end of their limits: a row may act
    only where another has gone far.
    """
    yield low, high
    yield low, space.nominal  # both ends may do the same
    for others in space.limits:
        one, two = others.copy(), others.copy()
        one[row], two[row] = low[row], high[row]
        yield one, two


def _refuse_idle_pushes(space: ParamSpace, mj_model: mujoco.MjModel, starts: Start) -> None:
    """Refuses forces and torques on bodies that cannot give way to them in any start."""
    rows = [row for row in space.rows if row.field in PUSHES]
    names = element_names(mj_model, "body")
    data = mujoco.MjData(mj_model)
    able = {field: np.zeros(mj_model.nbody, bool) for field in PUSHES}
    jac = np.zeros((2, 3, mj_model.nv))
    for k in range(len(starts.qpos) if rows else 0):
        data.qpos[:] = starts.qpos[k]
        data.mocap_pos[:], data.mocap_quat[:] = starts.mocap_pos[k], starts.mocap_quat[k]
        mujoco.mj_kinematics(mj_model, data)
        mujoco.mj_comPos(mj_model, data)
        for body in range(mj_model.nbody):
            mujoco.mj_jacBodyCom(mj_model, data, jac[0], jac[1], body)
            for field, part in zip(PUSHES, jac, strict=True):
                able[field][body] |= bool((np.abs(part) > DIFFERENT).any())
    for row in rows:
        touched = [i for i, name in enumerate(names) if _named(row, name)]
        if touched and not able[row.field][touched].any():
            what = "turn" if row.field == "world.push_torque" else "move"
            other = PUSHES[row.field == PUSHES[0]]
            raise ModelError(
                f"parameter {row.name!r}: {row.field} on body {names[touched[0]]!r} changes "
                f"nothing, since its joints do not let it {what}; use {other!r}, or name a body "
                f"that can {what}"
            )


def _named(row: Param, name: str) -> bool:
    """Returns whether a row touches the element called ``name``."""
    return any(name == x or fnmatch.fnmatchcase(name, x) for x in row.elements)


def _error(
    space: ParamSpace, edit: Edit, mj_model: mujoco.MjModel, ctrl_index: Sequence[int]
) -> ModelError:
    """Returns the error of a row that did nothing."""
    row, kind = space.rows[edit.row], ELEMENTS[edit.array]
    chosen = np.flatnonzero(edit.mask.reshape(edit.mask.shape[0], -1).any(-1))
    names = ["the world"] if kind is None else element_names(mj_model, kind)
    touched = list(dict.fromkeys(repr(names[i]) for i in chosen)) if kind else names
    where = ", ".join(touched[:3]) + (", ..." if len(touched) > 3 else "")
    if kind == "actuator" and not set(chosen) & set(ctrl_index):
        remedy = "the contract drives none of them. Name actuators of the contract's joints"
    elif edit.array == "actuator_force_limit":
        remedy = (
            "no command of the contract reaches the limit. Write the motor's forcerange into the "
            "MuJoCo model, or use 'model.actuator_strength'"
        )
    else:
        remedy = "name what acts on this model, or another array"
    return ModelError(
        f"parameter {row.name!r} randomizes {edit.array} of {where}: it changes nothing. At the "
        f"two ends of its limits {row.limits}, from {STARTS} starts and under the largest "
        f"commands, no body, joint or picture differs; {remedy}, or drop the row"
    )
