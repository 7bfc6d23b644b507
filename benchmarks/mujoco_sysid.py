"""MuJoCo's own identification (`mujoco.sysid`) on a problem of ours: the same log, rows and limits.

Its way is kept: every fitted stretch is simulated as one trajectory from its first state, all
differences in one threaded rollout, and a box-constrained least squares from the nominal values
(`optimizer="mujoco"`, columns scaled by the Jacobian, which its documentation recommends for
parameters of different sizes). Commands come at the simulation's rate and hold between two of the
log, since its interpolation is linear; positions are compared as states, whose time is exact.
"""

from collections.abc import Callable
from dataclasses import dataclass
from importlib.util import find_spec
from typing import Any

import mujoco
import numpy as np

from mjx_s2r.drives import resolve
from mjx_s2r.transfer.problem import IdentifyProblem
from mjx_s2r.transfer.windows import Windows

NEEDED = ("absl", "colorama", "tabulate", "yaml")  # its extras


def sysid_lacks() -> str:
    """Returns why `mujoco.sysid` cannot run here; empty if it can."""
    lacking = [name for name in NEEDED if find_spec(name) is None]
    return f"{', '.join(lacking)} not installed; pip install 'mujoco[sysid]'" if lacking else ""


@dataclass(frozen=True, eq=False)
class SysidFit:
    """What `mujoco.sysid` found.

    Attributes:
        values: (D,) of the rows.
        half_width: (D,) of its 95 % intervals.
    """

    values: np.ndarray
    half_width: np.ndarray


def fit_by_sysid(problem: IdentifyProblem, windows: Windows, xml: str) -> SysidFit:
    """Fits a problem whose rows scale fields of joints, gains and masses.

    Args:
        problem: rows, model and one recording.
        windows: of the recording; the ones that are fitted must be its first.
        xml: MJCF of the model.
    """
    from absl import logging
    from mujoco import sysid

    logging.set_verbosity(logging.ERROR)  # it warns of readings that are no sensors of the model
    spec = mujoco.MjSpec.from_string(xml)
    params = sysid.ParameterDict()
    for row in problem.space.rows:
        low, high = row.limits
        write = _modifier(spec, row.array, row.elements[0])
        params.add(sysid.Parameter(row.name, row.nominal, low, high, modifier=write))
    sequences = [_sequence(sysid, problem, windows, spec)]
    residual = sysid.build_residual_fn(models_sequences=sequences)
    best, found = sysid.optimize(
        initial_params=params,
        residual_fn=residual,
        optimizer="mujoco",
        verbose=False,
        x_scale="jac",
    )
    left, _, _ = residual(found.x, best)
    _, half = sysid.calculate_intervals(left, found.jac)
    return SysidFit(np.asarray(found.x, float).reshape(-1), np.asarray(half, float))


def _modifier(spec: mujoco.MjSpec, array: str, element: str) -> Callable[[Any, Any], None]:
    """Returns what writes a factor into a field of a model's specification."""
    if array == "body_mass":
        geoms = [geom.name for geom in spec.body(element).geoms]
        masses = [float(geom.mass) for geom in spec.body(element).geoms]

        def weigh(into: mujoco.MjSpec, factor: Any) -> None:
            """Scales the masses of a body's geoms and, with them, its inertia."""
            for name, mass in zip(geoms, masses, strict=True):
                into.geom(name).mass = float(factor.value[0]) * mass

        return weigh
    if array == "actuator_kp":
        gain = float(spec.actuator(element).gainprm[0])

        def stiffen(into: mujoco.MjSpec, factor: Any) -> None:
            """Scales a position servo's gain."""
            by = float(factor.value[0])
            into.actuator(element).gainprm[0] = by * gain
            into.actuator(element).biasprm[1] = -by * gain

        return stiffen
    name = array.removeprefix("dof_")
    nominal = np.array(getattr(spec.joint(element), name), float)

    def change(into: mujoco.MjSpec, factor: Any) -> None:
        """Scales a joint's field."""
        by = float(factor.value[0])
        if nominal.ndim:
            getattr(into.joint(element), name)[:] = by * nominal
        else:
            setattr(into.joint(element), name, by * float(nominal))

    return change


def _sequence(sysid: Any, problem: IdentifyProblem, windows: Windows, spec: mujoco.MjSpec) -> Any:
    """Returns the fitted stretch of the one recording, as its trajectory."""
    (recording,) = problem.recordings
    model, dt = problem.mj_model, float(problem.mj_model.opt.timestep)
    found = resolve(model, recording.joints)
    held = windows.start_s[windows.held_out]
    begin, end = float(windows.start_s[0]), float(held.min()) if len(held) else np.inf
    rows = (recording.time_s >= begin - 1e-9) & (recording.time_s <= end + 1e-9)
    times = recording.time_s[rows] - begin
    grid = np.arange(round(float(times[-1]) / dt) + 1) * dt
    newest = np.searchsorted(recording.time_s - begin, grid + 1e-9, side="right") - 1
    control = np.zeros((len(grid), model.nu))
    control[:, found.actuators] = recording.commands[newest]
    joints = windows.joints
    columns = [i for i, c in enumerate(recording.channels) if c.kind == "joint_pos"]
    state, half = np.zeros((2, model.nq)), len(joints)
    for i, joint in enumerate(joints):
        state[0, model.joint(joint).qposadr[0]] = windows.start[0, i]
        state[1, model.joint(joint).dofadr[0]] = windows.start[0, half + i]
    qpos, *_ = sysid.TimeSeries.compute_all_state_mappings(model)
    kind = sysid.SignalType.MjStateQPos
    names = [name for joint in joints for name in qpos if name.startswith(joint)]
    mapping = {name: (kind, np.array([i])) for i, name in enumerate(names)}
    return sysid.ModelSequences(
        "robot",
        spec,
        "log",
        sysid.create_initial_state(model, state[0], state[1]),
        sysid.TimeSeries(grid, control),
        sysid.TimeSeries(times, recording.readings[rows][:, columns], mapping),
        allow_missing_sensors=True,
    )
