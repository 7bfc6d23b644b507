"""A task on a robot in C MuJoCo: where an episode begins, what is read, and whether the goal holds.

A task's functions are written for mjx.Data. Here they get one whose fields hold what C MuJoCo has
computed, taken over by the names of bodies, joints, geoms, sites, cameras and actuators; so the
stand-in's model may hold more than the task's, and in another order. They run compiled on this
machine's processor, once a control step. Rows of the table that are no numbers of the model act as
in training: those of sensors on what is read, those of actuators on what is commanded, those of the
world on the start and as pushes.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import cached_property, partial
from typing import Any

import jax
import jax.numpy as jnp
import mujoco
import numpy as np
from mujoco import mjx

from mjx_s2r.drives import resolve
from mjx_s2r.eval.reality_model import rows_alone
from mjx_s2r.eval.robot_episodes import GoalState
from mjx_s2r.params import ParamError, ParamSpace, unknown
from mjx_s2r.robot.drivers.mujoco_wiring import place_body
from mjx_s2r.sim import physics, task_calls
from mjx_s2r.sim.backends.c_fields import compute_all, field_of
from mjx_s2r.sim.backends.physics_config import ModelError, PhysicsConfig
from mjx_s2r.sim.effects import actuator, motor, sensor, world
from mjx_s2r.sim.effects.actuator import ActuatorSpec
from mjx_s2r.sim.effects.world import WorldSpec
from mjx_s2r.sim.model.fields import mocap_bodies
from mjx_s2r.sim.task import Task, TaskError

# Kind of element -> fields of mjx.Data whose first axis it is; "_impl." before those of MJX's own.
_FIELDS = {
    "body": (
        *("xpos", "xquat", "xmat", "xipos", "ximat", "subtree_com", "cvel", "xfrc_applied"),
        *("_impl.cinert", "_impl.crb", "_impl.subtree_linvel", "_impl.subtree_angmom"),
        *("_impl.cacc", "_impl.cfrc_int", "_impl.cfrc_ext"),
    ),
    "joint": ("xanchor", "xaxis"),
    "geom": ("geom_xpos", "geom_xmat"),
    "site": ("site_xpos", "site_xmat"),
    "camera": ("cam_xpos", "cam_xmat"),
    "qpos": ("qpos",),
    "dof": (
        *("qvel", "qacc", "qacc_smooth", "qacc_warmstart", "cdof", "cdof_dot", "qfrc_applied"),
        *("qfrc_bias", "qfrc_passive", "qfrc_gravcomp", "qfrc_actuator", "qfrc_smooth"),
        "qfrc_constraint",
    ),
    "actuator": ("ctrl", "actuator_force", "actuator_length", "_impl.actuator_velocity"),
    "act": ("act", "act_dot"),
    "tendon": ("ten_length", "_impl.ten_velocity"),
    "sensor": ("sensordata",),
    "equality": ("eq_active",),
}
_KIND = {field: kind for kind, fields in _FIELDS.items() for field in fields}
_MOCAP = {"mocap_pos": "xpos", "mocap_quat": "xquat"}  # what a mocap body is where it is free
_CONTACT, _OTHERS = "_impl.contact.", ("time", "userdata", "_impl.actuator_moment")
_WIDTHS = {0: (7, 6), 1: (4, 3), 2: (1, 1), 3: (1, 1)}  # of a joint's kind, in qpos and qvel


class TaskFunctions:
    """A task's functions on given fields, compiled once for all robots of an evaluation.

    Attributes:
        task: the task.
        read: fields of mjx.Data that its functions read.
        forces: whether any of them follows from more than positions.
        rows: rows of the table that the robots set.
    """

    def __init__(self, task: Task, rows: Sequence[str]) -> None:
        """Traces the task, and binds those of the ``rows`` that act on what is read and commanded.

        Raises:
            TaskError: a part of the task that is missing or wrong; a function that reads what has
                no counterpart in C MuJoCo.
            ParamError: a row that does not fit, or one that only training has.
        """
        task_calls.check_members(task)
        self.task, self.rows = task, tuple(rows)
        engine = _engine(task)
        self.read = task_calls.trace_task(task, engine)
        blank = jax.tree.map(np.asarray, engine.empty_data)
        self._physics = replace(engine, empty_data=blank)
        self.forces = task_calls.reads_forces(self.read)
        for name in sorted(self.read):
            known = name in _KIND or name in (*_MOCAP, *_OTHERS) or name.startswith(_CONTACT)
            if not known:
                raise TaskError(
                    f"task {task.name!r} reads data.{name}, which has another order in C MuJoCo; "
                    "read another field (docs/data_fields.md), or judge it in training"
                )
        for name in self.rows:
            row = task.space.rows[task.space.index(name)]
            if row.field == "actuator.adversary":
                raise ParamError(
                    f"rows.{name}: a network that bends actions is part of training and of no "
                    "robot; drop the row"
                )
        self._senders: dict[float, tuple[ActuatorSpec, Callable[..., Any]]] = {}
        self._pushers: dict[Any, tuple[WorldSpec, Callable[..., Any]]] = {}
        spec, table = task.contract, task.space
        self.control_dt = 1 / spec.control_hz
        self._sensor = sensor.bind_sensor(self._group("sensor"), spec.sensed, self.control_dt)
        self._scatter = world.bind_world(self._group("world"), task.mj_model, self.control_dt)
        self.actuator_rows, self.world_rows = self._group("actuator"), self._group("world")
        self._columns = {
            group: np.array([table.index(r.name) for r in self._group(group).rows], int)
            for group in ("sensor", "actuator", "world")
        }

    def _group(self, group: str) -> ParamSpace:
        """Returns the table of those rows of a group that the robots set."""
        rows = self.task.space.rows
        return rows_alone(
            self.task.space, [r.name for r in rows if r.name in self.rows and r.group == group]
        )

    def now(self, group: str, xi: jax.Array, key: jax.Array) -> jax.Array:
        """Returns the values of a group's rows in one control step; ``xi`` (D,) is the robot's."""
        space, values = self._group(group), jnp.asarray(xi)[self._columns[group]]
        count = int(space.where("resample", "step").sum())
        if not count:
            return values
        return space.resample_steps(jnp, values, jax.random.uniform(key, (count,)))

    @cached_property
    def blank(self) -> Mapping[str, np.ndarray]:
        """The fields that are read, empty, by name."""
        leaves = jax.tree_util.tree_leaves_with_path(self._physics.empty_data)
        named = {_name(path): np.asarray(leaf) for path, leaf in leaves}
        return {name: named[name] for name in self.read}

    @cached_property
    def start(self) -> Callable[[jax.Array, jax.Array], task_calls.Start]:
        """(xi (D,), key) -> where an episode begins, in the task's own model."""

        @jax.jit
        def draw(xi: jax.Array, key: jax.Array) -> task_calls.Start:
            """Draws a start, and spreads it as rows of the world say."""
            key_start, key_world = jax.random.split(jax.random.fold_in(key, 0))
            start = task_calls.draw_start(self.task, key=key_start)
            core = task_calls.placed(self._physics, start)
            spread = self.now("world", xi, key_world)
            core = world.scatter(self._scatter, core, spread, key=key_world)
            return replace(start, qpos=core.qpos, qvel=core.qvel, mocap_pos=core.mocap_pos)

        return _on_processor(draw)

    @cached_property
    def sense(self) -> Callable[..., Any]:
        """What is read at one moment, and the verdict on the step before it; compiled.

        Takes whether it is the first moment, true fields and encoded ones by name, memory
        (nuserdata,), action (J,), the sensors' state, xi (D,), the episode's key and the number of
        the reading. Returns signals by name,
        (on_goal, failed, reward, distance (1,) or (0,)), the memory from now on and the sensors'
        state.
        """
        return _on_processor(jax.jit(self._sense))

    def _sense(
        self, first: Any, true: Any, encoded: Any, memory: Any, action: Any, kept: Any, *more: Any
    ) -> Any:
        """See `sense`; ``more`` are xi, the key and the number."""
        task, (xi, key, number) = self.task, more
        key = jax.random.fold_in(key, 2 * number + 1)
        data = _filled(self._physics.empty_data, {**true, "userdata": memory})
        verdict = task_calls.reward(task, data, action)
        if verdict.memory is not None:
            memory = jnp.where(first, memory, verdict.memory)
        paid = jnp.where(first, 0.0, verdict.reward)
        far = task_calls.goal_distance(task, data)
        said = verdict.on_goal & ~first, verdict.failed & ~first, paid, far
        told = task_calls.signals(task, _filled(data, {**encoded, "userdata": memory}))
        if not self._sensor.edits:
            return told, said, memory, kept
        key_init, key_read, key_now = jax.random.split(key, 3)
        fresh = self._fresh_sensors(told, key_init)
        later = sensor.push(self._sensor, kept, told)
        kept = jax.tree.map(lambda a, b: jnp.where(first, a, b), fresh, later)
        values = self.now("sensor", xi, key_now)
        kept, told = sensor.read(self._sensor, kept, values, key=key_read)
        return told, said, memory, kept

    def sender(self, physics_dt: float, steps: int) -> tuple[ActuatorSpec, Callable[..., Any]]:
        """Returns the actuator rows bound to a time step, and what sends a command through them.

        The function is compiled; it takes commands on their way, xi (D,), a command (J,), the
        episode's key and the number of the reading, and returns commands on their way and the
        course (n, J) of the next control step.
        """
        if physics_dt not in self._senders:
            action = self.task.contract.action
            dts, effort = (self.control_dt, physics_dt), action.mode == "effort"
            spec = actuator.bind_actuator(self.actuator_rows, action.joints, *dts, effort)

            def send(sent: Any, xi: Any, command: Any, key: Any, number: Any) -> Any:
                """Sends a command."""
                key_now, key_issue = jax.random.split(jax.random.fold_in(key, 4 * number + 2))
                values = self.now("actuator", xi, key_now)
                sent = actuator.issue(spec, sent, values, command, key=key_issue)
                course = jax.vmap(lambda i: actuator.drive(spec, sent, values, i))
                return sent, course(jnp.arange(steps))

            self._senders[physics_dt] = spec, _on_processor(jax.jit(send))
        return self._senders[physics_dt]

    def pusher(self, model: mujoco.MjModel) -> tuple[WorldSpec, Callable[..., Any]]:
        """Returns the rows of the world bound to a model, and what moves a push on; compiled.

        The function takes the push, xi (D,), the episode's key and the number of the reading, and
        returns the push and its wrench (nbody, 6).
        """
        names = tuple(model.body(i).name for i in range(model.nbody))
        if names not in self._pushers:
            spec = world.bind_world(self.world_rows, model, self.control_dt)

            def blow(push: Any, xi: Any, key: Any, number: Any) -> Any:
                """Moves the push on by a control step."""
                key_now, key_push = jax.random.split(jax.random.fold_in(key, 4 * number + 4))
                values = self.now("world", xi, key_now)
                push = world.push(spec, push, values, key=key_push)
                return push, world.wrench(spec, push, values)

            self._pushers[names] = spec, _on_processor(jax.jit(blow))
        return self._pushers[names]

    def _fresh_sensors(self, told: Mapping[str, Any], key: jax.Array) -> sensor.SensorState:
        """Returns the state of sensors at the start of an episode."""
        return sensor.init(self._sensor, told, key=key)

    @cached_property
    def no_sensors(self) -> sensor.SensorState:
        """The state of the sensors before the first reading, which it does not act on."""
        told = {name: jnp.zeros(size) for name, size in self.task.contract.sensed.items()}
        return jax.tree.map(np.asarray, self._fresh_sensors(told, jax.random.key(0)))


def _on_processor(function: Callable[..., Any]) -> Callable[..., Any]:
    """Returns a compiled function that runs on the machine's processor, where C MuJoCo does."""
    try:
        device = jax.local_devices(backend="cpu")[0]
    except RuntimeError:  # jax was told to see nothing else than an accelerator
        return function

    def run(*given: Any) -> Any:
        """Calls it there."""
        with jax.default_device(device):
            return function(*given)

    return run


def _engine(task: Task) -> physics.Physics:
    """Returns physics that says which fields there are; C's where MJX cannot hold the model."""
    try:
        return physics.put_model(task.mj_model)
    except ModelError:
        return physics.put_model(task.mj_model, PhysicsConfig("c"))


class TaskJudge:
    """A task on one robot. Every call of `begin` starts another episode.

    Implements `robot_episodes.EpisodeJudge`.

    Attributes:
        sizes: signal name -> number of values.
        state: what the task says of the robot at the last reading.
        courses: whether a row changes what becomes of a command.
        loads: whether a row pushes the robot, or weakens its motors with speed.
    """

    def __init__(
        self, functions: TaskFunctions, model: mujoco.MjModel, values: Mapping[str, float]
    ) -> None:
        """Finds the task's elements in the robot's ``model``; ``values`` are its rows.

        Raises:
            ModelError: a joint or body of the task's start that the robot does not have.
            ParamError: a row that does not fit the robot.
        """
        self._functions, self._values = functions, dict(values)
        task = functions.task
        self.sizes, self.state = task.contract.sensed, GoalState()
        self._xi = jnp.asarray(task.space.values(values))
        self._places = _Places(task.mj_model, model)
        self._places.check_start(task.name)
        self._scratch = mujoco.MjData(model)
        self._steps = round(functions.control_dt / model.opt.timestep)
        contract = task.contract
        joints = contract.action.joints
        self._actuator, self._send = functions.sender(float(model.opt.timestep), self._steps)
        self._motor = motor.bind_motor(functions.actuator_rows, model, joints)
        self._world, self._blow = functions.pusher(model)
        self._stall: np.ndarray | None = None
        self._key = jax.random.key(0)
        self._count = 0
        self._memory: Any = np.zeros(task.mj_model.nuserdata, np.float32)
        self._action = np.zeros(len(joints), np.float32)
        self._sensors: Any = functions.no_sensors
        self._sent: Any = None
        self._push = world.calm(self._world)
        self._wrench: np.ndarray | None = None
        self.courses = bool(self._actuator.edits)
        self.loads = self._push is not None or self._motor is not None

    def begin(self, seed: int) -> Callable[[mujoco.MjModel, mujoco.MjData], None]:
        """Starts an episode; returns the function that puts the robot where it begins."""
        self._key = jax.random.key(seed)
        start = jax.device_get(self._functions.start(self._xi, self._key))
        self._count, self._sensors, self._sent = 0, self._functions.no_sensors, None
        self._memory, self.state = start.memory, GoalState()
        self._action = np.zeros_like(self._action)
        self._push, self._wrench = world.calm(self._world), None
        return partial(self._places.put, start)

    def note(self, action: np.ndarray) -> None:
        """Remembers the policy's action (J,) in [-1, 1]: the task is asked about it later."""
        self._action = np.clip(action, -1.0, 1.0).astype(np.float32)

    def read(
        self, model: mujoco.MjModel, data: mujoco.MjData, qpos: np.ndarray, qvel: np.ndarray
    ) -> Mapping[str, np.ndarray]:
        """Returns the task's signals, (size,) each; once a control step."""
        if self._count == 0 and self.courses:
            first, key = self._home(data), jax.random.fold_in(self._key, 0)
            self._sent = actuator.init(self._actuator, jnp.asarray(first), key=key)
        true = self._fields(model, data)
        encoded = {
            name: self._places.take(name, value, self._functions.blank[name])
            for name, value in (("qpos", qpos), ("qvel", qvel))
            if name in true
        }
        told, verdict, memory, self._sensors = self._functions.sense(
            np.array(self._count == 0),
            true,
            encoded,
            self._memory,
            self._action,
            self._sensors,
            self._xi,
            self._key,
            np.int32(self._count),
        )
        told, verdict, self._memory = jax.device_get((told, verdict, memory))
        self._refuse_missing(told)
        on_goal, failed, reward, far = verdict
        distance = float(far[0]) if far.size else None
        self.state = GoalState(bool(on_goal), bool(failed), float(reward), distance)
        self._count += 1
        self._gust()
        return {name: np.asarray(x) for name, x in told.items()}

    def course(self, command: np.ndarray) -> np.ndarray:
        """Returns (n, J) what the actuators are told in each physics step of a control step."""
        self._sent, course = self._send(
            self._sent, self._xi, command.astype(np.float32), self._key, np.int32(self._count)
        )
        return np.asarray(course, float)

    def load(self, model: mujoco.MjModel, data: mujoco.MjData) -> None:
        """Sets the push, and the forces that the motors have left at their speed."""
        if self._wrench is not None:
            data.xfrc_applied[:] = self._wrench
        if self._motor is not None:
            if self._stall is None:
                self._stall = model.actuator_forcerange.copy()
            model.actuator_forcerange[:] = motor.force_range(
                self._motor, np, self._stall, self._loss, data.qvel
            )

    @cached_property
    def _loss(self) -> np.ndarray:
        """(J,) share of the force that is lost per rad/s or m/s."""
        values = self._functions.now("actuator", self._xi, jax.random.key(0))
        return np.asarray(actuator.values(self._actuator, values)["speed_loss"])

    def _gust(self) -> None:
        """Draws the push of the next control step."""
        if self._push is None:
            return
        self._push, wrench = self._blow(self._push, self._xi, self._key, np.int32(self._count))
        self._wrench = np.asarray(wrench)

    def _home(self, data: mujoco.MjData) -> np.ndarray:
        """Returns (J,) the command at the start: where the joints are, or no effort."""
        action = self._functions.task.contract.action
        if action.mode == "effort":
            return np.zeros(len(action.joints), np.float32)
        drives = self._places.drives(action.joints)
        return np.clip(data.qpos[drives], action.low, action.high).astype(np.float32)

    def _fields(self, model: mujoco.MjModel, data: mujoco.MjData) -> dict[str, np.ndarray]:
        """Returns the fields that the task reads, by name, in the task's order."""
        if self._functions.forces:
            data = self._forward(model, data)
        blank = self._functions.blank
        found = {}
        for name, like in blank.items():
            if name == "userdata":
                continue
            if name.startswith(_CONTACT):
                found[name] = self._places.contacts(name.removeprefix(_CONTACT), data, like)
            else:
                found[name] = self._places.take(
                    name, field_of(model, data, _MOCAP.get(name, name)), like
                )
        return found

    def _forward(self, model: mujoco.MjModel, data: mujoco.MjData) -> mujoco.MjData:
        """Returns a copy of the state with forces and sensors; the robot's own is left alone."""
        kind = mujoco.mjtState.mjSTATE_INTEGRATION
        state = np.zeros(mujoco.mj_stateSize(model, kind))
        mujoco.mj_getState(model, data, state, kind)
        mujoco.mj_setState(model, self._scratch, state, kind)
        compute_all(model, self._scratch)
        return self._scratch

    def _refuse_missing(self, told: Mapping[str, np.ndarray]) -> None:
        """Raises ModelError where a signal at the start needs an element that the robot has not."""
        if self._count or not self._places.missing:
            return
        for name, value in told.items():
            if np.isnan(value).any():
                lacking = ", ".join(self._places.missing[:5])
                raise ModelError(
                    f"signal {name!r} of task {self._functions.task.name!r} cannot be read on the "
                    f"stand-in, whose model lacks {lacking}; name them there, or use another model"
                )


class _Places:
    """Where the elements of a task's model are in a robot's; -1 for those that it lacks."""

    def __init__(self, task: mujoco.MjModel, robot: mujoco.MjModel) -> None:
        """Compares the two models by name."""
        self._task, self._robot = task, robot
        self.missing: list[str] = []
        self._index: dict[str, np.ndarray] = {}
        keys = {kind: (_keys(task, kind), _keys(robot, kind)) for kind in _OWNERS}
        for kind, (mine, theirs) in keys.items():
            known = {key: i for i, key in enumerate(theirs)}
            found = np.array([known.get(key, -1) for key in mine], int)
            self._index[kind] = found
            self.missing += [f"{kind} {_word(mine[i])}" for i in np.flatnonzero(found < 0)]
        self._expand_joints()
        self._index["sensor"] = self._ranges(
            "sensor", task.sensor_adr, task.sensor_dim, robot.sensor_adr
        )
        self._index["act"] = self._ranges(
            "actuator", task.actuator_actadr, task.actuator_actnum, robot.actuator_actadr
        )
        self._back = np.full(max(1, robot.ngeom), -1)
        here = self._index["geom"] >= 0
        self._back[self._index["geom"][here]] = np.flatnonzero(here)

    def _expand_joints(self) -> None:
        """Finds the entries of qpos and qvel of every joint."""
        for kind, part, name in (("qpos", 0, "jnt_qposadr"), ("dof", 1, "jnt_dofadr")):
            widths = [_WIDTHS[int(t)][part] for t in self._task.jnt_type]
            self._index[kind] = self._ranges(
                "joint", getattr(self._task, name), widths, getattr(self._robot, name)
            )

    def _ranges(self, kind: str, mine: Any, widths: Any, theirs: Any) -> np.ndarray:
        """Returns an index of entries from that of the elements which own several of them."""
        out = np.full(int(sum(max(int(w), 0) for w in widths)), -1)
        for i, (start, width) in enumerate(zip(mine, widths, strict=True)):
            there = self._index[kind][i]
            if there >= 0 and width > 0:
                out[start : start + width] = theirs[there] + np.arange(width)
        return out

    def check_start(self, name: str) -> None:
        """Checks that an episode of the task can begin on the robot.

        Raises:
            ModelError: a joint or mocap body that it lacks, or has in another kind.
        """
        task, robot = self._task, self._robot
        for i, there in enumerate(self._index["joint"]):
            joint = task.joint(i).name or f"number {i}"
            if there < 0:
                known = [robot.joint(j).name for j in range(robot.njnt)]
                raise ModelError(
                    f"the stand-in of task {name!r}: {unknown('joint', joint, known)}; give its "
                    "model the joints of the task's"
                )
            if task.jnt_type[i] != robot.jnt_type[there]:
                raise ModelError(
                    f"the stand-in of task {name!r}: joint {joint!r} is of another type there; "
                    "make it one of the task's type"
                )
        for body in mocap_bodies(task):
            label, there = task.body(int(body)).name, int(self._index["body"][body])
            joint = robot.body_jntadr[there] if there >= 0 else -1
            free = joint >= 0 and robot.jnt_type[joint] == mujoco.mjtJoint.mjJNT_FREE
            if there < 0 or not (free or robot.body_mocapid[there] >= 0):
                raise ModelError(
                    f"the stand-in of task {name!r} has no mocap or free body {label!r}, which the "
                    "task puts somewhere; add one of that name"
                )

    def put(self, start: task_calls.Start, model: mujoco.MjModel, data: mujoco.MjData) -> None:
        """Puts the robot where an episode begins."""
        data.qpos[self._index["qpos"]] = start.qpos
        data.qvel[self._index["dof"]] = start.qvel
        for i, body in enumerate(mocap_bodies(self._task)):
            pose = np.asarray(start.mocap_pos[i]).tolist(), np.asarray(start.mocap_quat[i]).tolist()
            place_body(model, data, model.body(int(self._index["body"][body])).name, pose)
        mujoco.mj_normalizeQuat(model, data.qpos)

    def drives(self, joints: Sequence[str]) -> np.ndarray:
        """Returns (J,) places of commanded joints in the robot's qpos."""
        return resolve(self._robot, joints).qpos

    def take(self, name: str, value: np.ndarray, like: np.ndarray) -> np.ndarray:
        """Returns a field in the task's order; NaN for elements that the robot lacks."""
        if name == "time":
            return np.asarray(value, like.dtype)
        if name == "_impl.actuator_moment":
            value = self._pick(value.T, self._index["dof"]).T
        if name in _MOCAP:
            index = self._index["body"][mocap_bodies(self._task)]
        else:
            index = self._index[_KIND.get(name, "actuator")]
        found = self._pick(value, index)
        return found.reshape(like.shape).astype(like.dtype)

    def _pick(self, value: np.ndarray, index: np.ndarray) -> np.ndarray:
        """Returns the rows ``index`` of ``value``; NaN where it is -1."""
        if not len(value):
            return np.full((len(index), *value.shape[1:]), np.nan)
        out = np.array(value[index], float)
        out[index < 0] = np.nan
        return out

    def contacts(self, name: str, data: mujoco.MjData, like: np.ndarray) -> np.ndarray:
        """Returns a field of the contacts, nearest first, in as many places as MJX has.

        A place without a contact has a distance of one metre, and no geoms of the task.
        """
        contact, out = data.contact, np.zeros_like(like)
        order = np.argsort(contact.dist)[: len(like)]
        if name == "dist":
            out[:] = 1.0
        if name in ("geom", "geom1", "geom2"):
            out[:] = -1
            pairs = self._back[contact.geom[order]]
            out[: len(order)] = pairs if name == "geom" else pairs[:, int(name[-1]) - 1]
        elif len(order):
            out[: len(order)] = np.reshape(
                getattr(contact, name)[order], (len(order), *like.shape[1:])
            )
        return out


# Kind of element -> (count, owning body or None), of which a name is unique.
_OWNERS: Mapping[str, tuple[str, str | None]] = {
    "body": ("nbody", "body_parentid"),
    "joint": ("njnt", "jnt_bodyid"),
    "geom": ("ngeom", "geom_bodyid"),
    "site": ("nsite", "site_bodyid"),
    "camera": ("ncam", "cam_bodyid"),
    "actuator": ("nu", None),
    "tendon": ("ntendon", None),
    "sensor": ("nsensor", None),
    "equality": ("neq", None),
}


def _keys(model: mujoco.MjModel, kind: str) -> list[Any]:
    """Returns what elements are known by: their name, else owner and place among its nameless."""
    count, owner = _OWNERS[kind]
    code = getattr(mujoco.mjtObj, f"mjOBJ_{kind.upper()}")
    bodies = _keys(model, "body") if owner is not None and kind != "body" else []
    out: list[Any] = []
    nameless: dict[Any, int] = {}
    for i in range(getattr(model, count)):
        name = mujoco.mj_id2name(model, code, i)
        if name:
            out.append(name)
            continue
        parent = int(getattr(model, owner)[i]) if owner is not None else 0
        mine: Any = None if owner is None else out[parent] if kind == "body" else bodies[parent]
        nameless[mine] = nameless.get(mine, -1) + 1
        out.append((mine, nameless[mine]))
    return out


def _word(key: Any) -> str:
    """Returns what an element is called in messages."""
    return repr(key) if isinstance(key, str) else f"number {key[1]} of {key[0]!r}"


def _filled(data: mjx.Data, fields: Mapping[str, Any]) -> mjx.Data:
    """Returns ``data`` with other values of ``fields``, by name."""
    return jax.tree_util.tree_map_with_path(lambda path, x: fields.get(_name(path), x), data)


def _name(path: Any) -> str:
    """Returns the name of a field of Data."""
    return jax.tree_util.keystr(path).removeprefix(".")
