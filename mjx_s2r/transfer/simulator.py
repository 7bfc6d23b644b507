"""Open-loop replay of recordings in C MuJoCo: every candidate in every window, in one batch.

A candidate is a vector of row values. Its windows start from given states, follow the recorded
commands through delay, play and offset, and are read where the robot was read. Everything is in
double precision and a continuous function of the rows, so that finite differences hold: a command
acts by its mean over a time step (else a delay would move the result in jumps of a whole step), and
readings are interpolated between steps.

MuJoCo's semi-implicit Euler step is a leapfrog (Hairer, Lubich and Wanner 2003, Acta Numerica 12):
the force of step k stands for the time from half a step before t_k to half a step after it, and the
velocity after it for t_k plus half a step. The means are taken there and velocities are read there,
so that a delay comes out as it is and not half a step longer.

A start state is read like everything after it: late by the sensor's delay and with its gain. So a
window begins that much earlier than its first reading was logged, and a log tells only the sum of
the delays of commands and of readings, which is all that acts on a policy's loop, too.

The model's own time step and integrator are used; what a step's damping adds to the inertia is
taken off the armature, and what it takes off is added where the step takes it explicitly (Euler,
with a servo's kv), so that rows come out as they are in continuous time; a problem that asks what
the simulation does, as the measured gap does, keeps what steps add. RK4 needs none of this:
means over whole steps from t_k on, velocities and inertia as they are. The model's constraint
solver is run until it has converged: what a solver with few iterations leaves open changes with
every row, and differences would take that for information. C MuJoCo is the engine of the robot
stand-in too; a training by MJX that follows takes the same fields.
"""

import copy
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import mujoco
import numpy as np
from mujoco import batch

from mjx_s2r import drives
from mjx_s2r.params import apply, bind, bounds
from mjx_s2r.sim.backends.c_fields import quiet_warnings
from mjx_s2r.sim.effects.actuator import bind_actuator
from mjx_s2r.sim.effects.motor import MotorSpec, bind_motor, force_range
from mjx_s2r.sim.model.leaves import ModelBinding, bind_model, expand
from mjx_s2r.sim.model.virtual_fields import MOVES_BOXES
from mjx_s2r.transfer.problem import IdentifyProblem, with_constants
from mjx_s2r.transfer.recording import Recording, held_commands
from mjx_s2r.transfer.unread_joints import follow_ties, read_hinges
from mjx_s2r.transfer.windows import Windows

MOST_VALUES = 3e7  # doubles that one call of the engine may record
FAR = 1e6  # what a prediction that is not finite counts as
IMPLICIT = (
    int(mujoco.mjtIntegrator.mjINT_IMPLICIT),
    int(mujoco.mjtIntegrator.mjINT_IMPLICITFAST),
)
RK4 = int(mujoco.mjtIntegrator.mjINT_RK4)
LEAST_ARMATURE = 0.1  # of the armature, what is left of it after that of a step is taken off
CONVERGED = 50, 20  # iterations of the constraint solver and of its line search, at most


@dataclass(frozen=True, eq=False)
class _Group:
    """Windows that share a model: the numbers of their logs' heads, and whether servos are on.

    Attributes:
        model: with those numbers written in.
        binding: the model rows bound to it.
        motor: the torque-speed curve, where a row asks for it.
        windows: (G,) numbers of the windows.
        driven: whether the actuators are on.
        worlds: the engine by number of worlds.
    """

    model: mujoco.MjModel
    binding: ModelBinding
    motor: MotorSpec | None
    windows: np.ndarray
    driven: bool
    worlds: dict[int, batch.Batch] = field(default_factory=dict)


class ReplaySimulator:
    """Simulates windows of recordings for many candidates at once."""

    def __init__(self, problem: IdentifyProblem, windows: Windows) -> None:
        """Binds the rows to the model of every recording.

        Raises:
            ParamError, ModelError: a row that does not fit the model.
        """
        self.space, self.windows, self._problem = problem.space, windows, problem
        self._longer: dict[int, ReplaySimulator] = {}
        first = problem.recordings[0]
        self._drives = drives.resolve(problem.mj_model, first.joints)
        model = problem.mj_model
        self.dt_s = float(model.opt.timestep)
        # The share of a step that positions and velocities are apart.
        self._half = 0.0 if model.opt.integrator == RK4 else 0.5
        steps = [float(np.median(np.diff(r.time_s))) for r in problem.recordings]
        self._actuator = bind_actuator(
            self.space, first.joints, max(steps), self.dt_s, first.mode == "effort"
        )
        kinds = {c.element if c.kind == "sensor" else c.kind: 1 for c in first.channels}
        self._sensed = tuple(kinds)
        self._sensor_nominal = {
            "gain": np.ones(len(kinds), np.float32),
            "delay_s": np.zeros((), np.float32),
        }
        self._sensor_edits = bind(
            self.space, "sensor", self._sensor_nominal, {"gain": self._sensed}, bounds.SENSOR
        )
        self._qpos = np.array([int(model.joint(j).qposadr[0]) for j in windows.joints])
        self._qvel = np.array([int(model.joint(j).dofadr[0]) for j in windows.joints])
        self._read_joints = read_hinges(model, windows.joints)
        self._columns = [_column(model, c.kind, c.element, c.column) for c in first.channels]
        self._integrals = [_integral(r) for r in problem.recordings]
        self._groups = self._grouped(problem)
        longest = np.nanmax(windows.time_s)
        self.steps = max(1, int(np.ceil(longest / self.dt_s + 1e-9)))

    def _grouped(self, problem: IdentifyProblem) -> list[_Group]:
        """Returns the windows by what their model is."""
        groups, windows = [], self.windows
        heads = [tuple(sorted(r.constants.items())) for r in problem.recordings]
        for head in dict.fromkeys(heads):
            model = copy.copy(with_constants(problem.mj_model, dict(head)))
            model.opt.disableflags |= mujoco.mjtDisableBit.mjDSBL_AUTORESET
            model.opt.disableflags |= mujoco.mjtDisableBit.mjDSBL_ISLAND  # small models gain none
            model.opt.iterations = max(CONVERGED[0], model.opt.iterations)
            model.opt.ls_iterations = max(CONVERGED[1], model.opt.ls_iterations)
            binding = bind_model(self.space, model)
            motor = bind_motor(self.space, model, problem.recordings[0].joints)
            if any(edit.array in MOVES_BOXES for edit in binding.edits):
                model.opt.disableflags |= mujoco.mjtDisableBit.mjDSBL_MIDPHASE
            of_head = np.array([heads[r] == head for r in windows.recording])
            for driven in (True, False):
                mine = np.flatnonzero(of_head & (windows.driven == driven))
                if len(mine):
                    groups.append(_Group(model, binding, motor, mine, driven))
        return groups

    def with_longer_steps(self, factor: int) -> "ReplaySimulator":
        """Returns the same replay by time steps that are ``factor`` times as long."""
        if factor not in self._longer:
            model = copy.copy(self._problem.mj_model)
            model.opt.timestep *= factor
            longer = replace(self._problem, mj_model=model)
            self._longer[factor] = ReplaySimulator(longer, self.windows)
        return self._longer[factor]

    def shortest_lag_s(self, xi: np.ndarray) -> float:
        """Returns the shortest time constant of the actuators' filters, s; inf without filters.

        Args:
            xi: (D,) row values.
        """
        shortest = np.inf
        for group in self._groups:
            filters = np.isin(group.model.actuator_dyntype, drives.FILTERS)
            binding = group.binding
            fields = expand(np, binding, apply(np, binding.nominal, binding.edits, xi))
            constants = np.asarray(fields.get("actuator_dynprm", group.model.actuator_dynprm))
            shortest = float(np.min(constants[filters, 0], initial=shortest))
        return shortest

    def predict(
        self, xi: np.ndarray, start: np.ndarray | None = None, which: np.ndarray | None = None
    ) -> np.ndarray:
        """Returns (P, W, K, C) the readings that candidates predict; NaN where there is no time.

        Args:
            xi: (P, D) row values.
            start: (W, S) or (P, W, S) start states of all windows; None for the estimated ones.
            which: (W,) True for the windows to simulate; the others are NaN.
        """
        xi = np.atleast_2d(np.asarray(xi, float))
        windows, count = self.windows, len(xi)
        begin = windows.start if start is None else start
        begin = np.broadcast_to(begin, (count, *windows.start.shape))
        out = np.full((count, *windows.readings.shape), np.nan)
        for group in self._groups:
            mine = group.windows if which is None else group.windows[which[group.windows]]
            if not len(mine):
                continue
            width = sum(getattr(group.model, n) for n in ("nq", "nv", "nsensordata"))
            chunk = max(1, int(MOST_VALUES / (len(mine) * self.steps * max(width, 1))))
            for a in range(0, count, chunk):
                part = slice(a, a + chunk)
                out[part, mine] = self._simulate(group, mine, xi[part], begin[part][:, mine])
        return out

    def _simulate(
        self, group: _Group, mine: np.ndarray, xi: np.ndarray, start: np.ndarray
    ) -> np.ndarray:
        """Returns (P, G, K, C) what P candidates predict in G windows of one group."""
        count, each = len(xi), len(mine)
        worlds = self._worlds(group, count * each)
        self._write(group, worlds, xi, each)
        now = [apply(np, self._actuator.nominal, self._actuator.edits, x) for x in xi]
        acting: list[dict[str, Any]] = [{**self._actuator.nominal, **n} for n in now]
        sensing = [
            {**self._sensor_nominal, **apply(np, self._sensor_nominal, self._sensor_edits, x)}
            for x in xi
        ]
        late = [
            float(s["delay_s"]) + float(a["delay_s"]) for s, a in zip(sensing, acting, strict=True)
        ]
        ctrl = self._controls(acting, late, mine)
        begun = self._begin(group, worlds, self._true_start(start, sensing), acting, late, mine)
        full = np.tile(drives.rest_controls(group.model)[0], (count * each, self.steps, 1))
        full[:, :, self._drives.actuators] = ctrl.reshape(count * each, self.steps, -1)
        losses = [a["speed_loss"] for a in acting]
        with quiet_warnings():
            track = self._track(group, worlds, full, np.repeat(losses, each, axis=0))
        return self._read(track, sensing, begun, mine)

    def _worlds(self, group: _Group, count: int) -> batch.Batch:
        """Returns an engine with ``count`` worlds of a group's model."""
        if count not in group.worlds:
            if len(group.worlds) > 6:
                group.worlds.pop(next(iter(group.worlds)))
            group.worlds[count] = batch.Batch(group.model, count)
        return group.worlds[count]

    def _write(self, group: _Group, worlds: batch.Batch, xi: np.ndarray, each: int) -> None:
        """Writes the model fields of every candidate into its windows' worlds."""
        binding, derived = group.binding, False
        fields = [expand(np, binding, apply(np, binding.nominal, binding.edits, x)) for x in xi]
        for one in fields:
            one["dof_armature"] = self._without_step(group, one)
        names = dict.fromkeys(fields[0])
        if not group.driven:
            names |= dict.fromkeys(("actuator_gainprm", "actuator_biasprm"))
        for name in names:
            if name in fields[0]:
                values = np.stack([np.asarray(f[name], float) for f in fields])
            else:
                values = np.repeat(np.array(getattr(group.model, name))[None], len(xi), axis=0)
            if not group.driven and name in ("actuator_gainprm", "actuator_biasprm"):
                values[:, self._drives.actuators] = 0.0
            worlds.expand(name)[:] = np.repeat(values, each, axis=0)
            derived |= name in mujoco.MjModel._setconst_inputs
        if derived:
            worlds.set_const()

    def _without_step(self, group: _Group, fields: Mapping[str, Any]) -> np.ndarray:
        """Returns (nv,) the armature with which steps do what the given one does without steps.

        A semi-implicit step, v' = v + h (F - D v' - E v) / M and q' = q + h v', has the transfer
        function of (M + h (D - E) / 2) q'' + (D + E) q' = F up to second order in h: damping that
        is taken at the step's end adds to the inertia, that at its begin takes from it. Euler takes
        joints' damping implicitly and that of actuators explicitly.
        """
        model, driven = group.model, self._drives
        armature = np.array(fields.get("dof_armature", model.dof_armature), float)
        damping = np.array(fields.get("dof_damping", model.dof_damping), float)
        damping = damping.reshape(len(armature), -1)[:, 0].copy()
        if model.opt.integrator == RK4 or self._problem.as_simulated:
            return armature
        implicit = model.opt.integrator in IMPLICIT
        if model.opt.disableflags & mujoco.mjtDisableBit.mjDSBL_DAMPER:
            damping[:] = 0.0
        if model.opt.disableflags & mujoco.mjtDisableBit.mjDSBL_EULERDAMP and not implicit:
            damping = -damping
        if group.driven:
            bias = np.array(fields.get("actuator_biasprm", model.actuator_biasprm), float)
            gear = model.actuator_gear[driven.actuators, 0]
            sign = 1.0 if implicit else -1.0
            damping[driven.dof] -= sign * bias[driven.actuators, 2] * gear**2
        return np.maximum(armature - 0.5 * self.dt_s * damping, LEAST_ARMATURE * armature)

    def _true_start(self, start: np.ndarray, sensing: list[dict[str, Any]]) -> np.ndarray:
        """Returns (P, G, S) where the robot was, of start states (P, G, S) as its readings say."""
        if "joint_pos" not in self._sensed:
            return start
        gain = [float(s["gain"][self._sensed.index("joint_pos")]) for s in sensing]
        return start / np.array(gain)[:, None, None]

    def _controls(
        self, acting: list[dict[str, Any]], late: list[float], mine: np.ndarray
    ) -> np.ndarray:
        """Returns (P, G, N, J) the mean control of every physics step.

        Args:
            acting: of each candidate, the values of the actuator rows.
            late: of each, by how much its commands come late for its readings, s.
            mine: (G,) numbers of the windows.
        """
        grid = (np.arange(self.steps + 1) - self._half) * self.dt_s
        out = np.empty((len(acting), len(mine), self.steps, len(self._drives.names)))
        made: dict[Any, np.ndarray] = {}
        for p, values in enumerate(acting):
            key = (late[p], tuple(np.ravel(values["backlash"]).tolist()))
            if key not in made:
                found = np.empty(out.shape[1:])
                recordings = self.windows.recording[mine].tolist()
                played = {r: self._played(r, key[1]) for r in dict.fromkeys(recordings)}
                for g, (w, r) in enumerate(zip(mine, recordings, strict=True)):
                    times, area = played[r]
                    when = grid + self.windows.start_s[w] - key[0]
                    for j in range(found.shape[-1]):
                        found[g, :, j] = np.diff(np.interp(when, times, area[:, j])) / self.dt_s
                made[key] = found
            out[p] = made[key] + values["offset"]
        return out

    def _played(self, r: int, half: tuple[float, ...]) -> tuple[np.ndarray, np.ndarray]:
        """Returns the integral of one recording's commands after play of half width ``half``."""
        times, area, commands = self._integrals[r]
        if not any(half):
            return times, area
        moved, low, high = commands.copy(), commands - np.array(half), commands + np.array(half)
        for t in range(1, len(moved)):
            moved[t] = np.minimum(np.maximum(moved[t - 1], low[t]), high[t])
        return times, _area(times, moved)

    def _begin(
        self,
        group: _Group,
        worlds: batch.Batch,
        start: np.ndarray,
        acting: list[dict[str, Any]],
        late: list[float],
        mine: np.ndarray,
    ) -> dict[str, np.ndarray]:
        """Puts every world into its start state; filters hold what came before the window.

        Returns:
            "qpos" (B, nq) and "qvel" (B, nv) of that state.
        """
        m, count = group.model, start.shape[0] * start.shape[1]
        joints = len(self.windows.joints)
        qpos, qvel = np.tile(m.qpos0, (count, 1)), np.zeros((count, m.nv))
        flat = start.reshape(count, -1)
        qpos[:, self._qpos], qvel[:, self._qvel] = flat[:, :joints], flat[:, joints:]
        shifted = any(edit.array == "qpos0" for edit in group.binding.edits)
        rest = np.array(worlds.expand("qpos0")) if shifted else m.qpos0
        follow_ties(m, self._read_joints, qpos, qvel, rest)
        worlds.bind("qpos")[:], worlds.bind("qvel")[:] = qpos, qvel
        worlds.bind("time")[:], worlds.bind("qacc_warmstart")[:] = 0.0, 0.0
        begun = {"qpos": qpos, "qvel": qvel}
        if not m.na:
            return begun
        act = np.tile(drives.rest_controls(m)[1], (count, 1))
        constants = worlds.expand("actuator_dynprm") if count else None
        for j, address in enumerate(self._drives.act):
            if address < 0:
                continue
            actuator = int(self._drives.actuators[j])
            for p, values in enumerate(acting):
                for g, w in enumerate(mine):
                    world = p * len(mine) + g
                    assert constants is not None
                    lag = max(float(constants[world, actuator, 0]), 1e-6)
                    act[world, address] = self._filtered(int(w), j, lag, values, late[p])
        worlds.bind("act")[:] = act
        return begun

    def _filtered(
        self, w: int, j: int, lag: float, values: Mapping[str, Any], late: float
    ) -> float:
        """Returns a first-order filter's state at a window's begin, after all commands before.

        For commands u_i held from s_i to s_(i+1): sum u_i (exp(-(t - s_(i+1))/lag) -
        exp(-(t - s_i)/lag)).
        """
        times, _, commands = self._integrals[int(self.windows.recording[w])]
        at = self.windows.start_s[w] - late
        edges = np.minimum(times, at)
        gone = np.exp((edges - at) / lag)
        gone[0] = 0.0
        share = np.diff(np.append(gone, 1.0))
        return float(share @ commands[:, j]) + float(np.ravel(values["offset"])[j])

    def _track(
        self, group: _Group, worlds: batch.Batch, ctrl: np.ndarray, loss: np.ndarray
    ) -> dict[str, np.ndarray]:
        """Returns the states after every physics step, "qpos" (B, N, nq) and so on."""
        wanted = ["qpos", "qvel"]
        if any(name == "sensordata" for name, _ in self._columns):
            wanted.append("sensordata")
        if group.motor is None:
            found: dict[str, np.ndarray] = worlds.rollout(
                self.steps, ctrl, mujoco.mjtState.mjSTATE_CTRL, record=wanted
            )
            return found
        stall = np.array(worlds.expand("actuator_forcerange"))
        limits, now = worlds.expand("actuator_forcerange"), worlds.bind("ctrl")
        kept: dict[str, list[np.ndarray]] = {name: [] for name in wanted}
        for step in range(self.steps):
            now[:] = ctrl[:, step]
            limits[:] = force_range(group.motor, np, stall, loss, worlds.bind("qvel"))
            worlds.step()
            for name in wanted:
                kept[name].append(np.array(worlds.bind(name)))
        limits[:] = stall
        return {name: np.stack(values, 1) for name, values in kept.items()}

    def _read(
        self,
        track: Mapping[str, np.ndarray],
        sensing: list[dict[str, Any]],
        begun: Mapping[str, np.ndarray],
        mine: np.ndarray,
    ) -> np.ndarray:
        """Returns (P, G, K, C) readings interpolated between physics steps."""
        count, each = len(sensing), len(mine)
        since = self.windows.time_s[mine]
        out = np.full((count, each, *self.windows.readings.shape[1:]), np.nan)
        place = {n: i for i, n in enumerate(self._sensed)}
        for p in range(count):
            rows = slice(p * each, (p + 1) * each)
            for c, (name, address) in enumerate(self._columns):
                when = since / self.dt_s + (self._half if name == "qvel" else 0.0)
                step = np.clip(np.nan_to_num(np.floor(when)), 0, self.steps - 1).astype(int)
                share = np.minimum(when - step, 1.0)
                after = track[name][rows, :, address]
                before = np.empty_like(after)
                before[:, 1:] = after[:, :-1]
                if name == "sensordata":  # a sensor is read before the step that it is recorded in
                    before, after = after, np.concatenate([after[:, 1:], after[:, -1:]], 1)
                else:
                    before[:, 0] = begun[name][rows, address]
                low = np.take_along_axis(before, step, 1)
                high = np.take_along_axis(after, step, 1)
                channel = self.windows.channels[c]
                key = channel.element if channel.kind == "sensor" else channel.kind
                out[p, :, :, c] = sensing[p]["gain"][place[key]] * (low + share * (high - low))
        late_rows = np.isnan(since)
        wild = ~np.isfinite(out) | (np.abs(out) > FAR)
        out[wild & ~late_rows[None, :, :, None]] = FAR
        return out


def _column(model: mujoco.MjModel, kind: str, element: str, column: int) -> tuple[str, int]:
    """Returns the array of Data that a channel reads, and the place in it."""
    if kind == "joint_pos":
        return "qpos", int(model.joint(element).qposadr[0])
    if kind == "joint_vel":
        return "qvel", int(model.joint(element).dofadr[0])
    return "sensordata", int(model.sensor(element).adr[0]) + column


def _integral(r: Recording) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Returns times (T + 1,), the integral of the commands up to them, and the commands (T + 1, J).

    A command holds until the next one; the first one has held for ever, and where nothing was
    commanded the last one does, or the first that comes.
    """
    commands = held_commands(np.array(r.commands, float))
    for column in commands.T:
        known = column[np.isfinite(column)]
        column[~np.isfinite(column)] = known[0] if len(known) else 0.0
    long = 1e3
    times = np.concatenate([[r.time_s[0] - long], r.time_s, [r.time_s[-1] + long]])
    held = np.concatenate([commands[:1], commands, commands[-1:]])
    return times, _area(times, held), held


def _area(times: np.ndarray, held: np.ndarray) -> np.ndarray:
    """Returns (T, J) the integral of commands that hold from one time to the next."""
    pieces = held[:-1] * np.diff(times)[:, None]
    return np.concatenate([np.zeros((1, held.shape[1])), np.cumsum(pieces, axis=0)])
