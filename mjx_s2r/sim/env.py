"""The environment of one world: reset and step. Vectorize with jax.vmap.

`State` has Brax's fields (obs, reward, done, metrics, info and pipeline_state), so environments of
that shape can be trained here and ours there. Termination and truncation are kept apart:

    info["terminated"]  the task failed or is done; the future is worth nothing
    info["truncated"]   time ran out: the future goes on, bootstrap it
    done                either of the two

`step` never resets. `auto_reset` swaps finished worlds for fresh ones, and the state before it
still holds the last observation. A world is ended, its observations are zero and it is counted
(metrics["nan"]) when a number that a learner reads (state, observations, reward, label) is not
finite or beyond `interface.LARGEST`; one that begins so is ended by its first step. A step that
had no room for more contacts is counted where they can be dropped (metrics["full"]).

What the task's functions read of mjx.Data is right at the present state, on every engine: fields
that nothing reads are not computed, and fields that the engine cannot give are refused by `make`.

Rows of the table come in three periods. A row per episode takes its value at reset. A row per world
keeps the value of the world's first episode: hand the draws for fresh worlds through
`keep_per_env_rows`. A row per step has its value in `Env.current_params`, which follows from the
world's random key.
"""

from dataclasses import dataclass, replace
from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
from flax import struct
from mujoco import mjx

from mjx_s2r.contract import ContractError, assemble, next_command
from mjx_s2r.drives import Drives, rest_controls
from mjx_s2r.params import ParamError, ParamSpace
from mjx_s2r.params.bounds import VISUAL, check_unbound
from mjx_s2r.sim import physics, task_calls
from mjx_s2r.sim.backends.contacts import warn_of_lost_contacts
from mjx_s2r.sim.backends.mjx_gaps import warn_of_gaps
from mjx_s2r.sim.backends.physics_config import ModelError, PhysicsConfig, faster_in_c
from mjx_s2r.sim.backends.step_cost import refuse_too_large
from mjx_s2r.sim.contract_probe import check_order, warn_of_pulling_servos
from mjx_s2r.sim.effects import actuator, adversary, motor, sensor, world
from mjx_s2r.sim.effects.actuator import ActuatorSpec, ActuatorState
from mjx_s2r.sim.effects.adversary import Adversary
from mjx_s2r.sim.effects.motor import MotorSpec
from mjx_s2r.sim.effects.sensor import SensorSpec, SensorState
from mjx_s2r.sim.effects.world import Push, WorldSpec
from mjx_s2r.sim.interface import Environment, EpisodeParams, State, all_finite, nominal_params
from mjx_s2r.sim.model.contract_checks import check_contract, refuse_clipped_rows
from mjx_s2r.sim.model.leaves import ModelBinding, bind_model, leaves, refuse_shared
from mjx_s2r.sim.model.row_checks import closed_rows
from mjx_s2r.sim.model.row_trial import draw_starts, refuse_rows_without_effect
from mjx_s2r.sim.physics import Leaves, Physics, PhysicsState
from mjx_s2r.sim.task import Task, TaskError


@struct.dataclass
class EnvState:
    """Everything that one world carries from step to step.

    Attributes:
        physics_state: physics state.
        leaves: model fields of this world.
        episode_params: the episode's parameters and kind.
        actuator: commands on their way.
        sensor: readings kept.
        command: (J,) last command.
        steps: () int32 control steps so far.
        goal_steps: () int32 control steps for which the goal has held.
        success: () bool the goal has been goal_steps long enough in this episode.
        episode_return: () return so far.
        key: random key of the world.
        invalid: () bool the episode began with numbers that are not finite.
        push: the push under way; None where no row pushes.
        adversary: the network that bends actions; None where no row asks for it.
    """

    physics_state: PhysicsState
    leaves: Leaves
    episode_params: EpisodeParams
    actuator: ActuatorState
    sensor: SensorState
    command: jax.Array
    steps: jax.Array
    goal_steps: jax.Array
    success: jax.Array
    episode_return: jax.Array
    key: jax.Array
    invalid: jax.Array
    push: Push | None = None
    adversary: Adversary | None = None


class StepKeys(NamedTuple):
    """The random keys of one control step of a world: one split, each for one thing.

    A key taken from the world's by another call, as `jax.random.fold_in` of a small number, may
    equal one of these.

    Attributes:
        next: the world's key from the next step on.
        issue: what becomes of the command.
        read: errors of the sensors.
        push: pushes from outside.
        rows: values of the rows per step.
    """

    next: jax.Array
    issue: jax.Array
    read: jax.Array
    push: jax.Array
    rows: jax.Array


def step_keys(key: jax.Array) -> StepKeys:
    """Returns the keys of the step that a world of ``key`` takes next."""
    return StepKeys(*jax.random.split(key, len(StepKeys._fields)))


@dataclass(frozen=True, eq=False)
class Env:
    """A task bound to physics, actuators and sensors. Build it with `make`."""

    task: Task
    physics: Physics
    binding: ModelBinding
    actuator: ActuatorSpec
    sensor: SensorSpec
    world: WorldSpec
    motor: MotorSpec | None
    drives: Drives
    reads_forces: bool

    @property
    def action_size(self) -> int:
        """Number of action components, J."""
        return len(self.task.contract.action.joints)

    @property
    def space(self) -> ParamSpace:
        """The task's table of parameters."""
        return self.task.space

    @property
    def episode_steps(self) -> int:
        """Longest episode, control steps."""
        return round(self.task.episode_s * self.task.contract.control_hz)

    @property
    def hold_steps(self) -> int:
        """Control steps for which the goal must hold; at least the one at which it holds."""
        return max(1, round(self.task.hold_s * self.task.contract.control_hz))

    def reset(self, key: jax.Array, draw: EpisodeParams | None = None) -> State:
        """Starts an episode in a new place, with the parameters of ``draw`` (nominal if absent)."""
        key_start, key_sensor, key_read, key_next, key_world = jax.random.split(key, 5)
        key_scatter, key_drift, key_network = jax.random.split(key_world, 3)
        draw = nominal_params(self.space) if draw is None else draw
        draw = replace(draw, xi=self.task.space.snap_discrete(jnp, draw.xi))
        start = task_calls.draw_start(self.task, key=key_start)
        model = leaves(self.physics, self.binding, draw.xi)
        core = task_calls.placed(self.physics, start)
        core = world.scatter(self.world, core, draw.xi, key=key_scatter)
        data = physics.forward_positions(self.physics, model, core)
        core, data = physics.with_memory(core, data, start.memory)
        command = jnp.asarray(self._home(data))
        sim = EnvState(
            physics_state=core,
            leaves=model,
            episode_params=draw,
            actuator=actuator.init(self.actuator, command, key=key_drift),
            sensor=SensorState(jnp.zeros((self.sensor.depth, 0))),  # what is read comes below
            command=command,
            steps=jnp.int32(0),
            goal_steps=jnp.int32(0),
            success=jnp.zeros((), bool),
            episode_return=jnp.float32(0),
            key=key_next,
            invalid=jnp.zeros((), bool),
            push=world.calm(self.world),
            adversary=self._sample_adversary(key_network),
        )
        ctrl = self._loads(sim, self._current_params(sim), jnp.int32(0))[0]
        core = replace(core, ctrl=ctrl, act=self._settled(core.act, ctrl))
        sim = replace(sim, physics_state=core)
        data = self._task_data(sim, self._current_params(sim))
        true = task_calls.signals(self.task, data)
        sim = replace(sim, sensor=sensor.init(self.sensor, true, key=key_sensor))
        sim, obs = self._observe(sim, data, key_read)
        invalid = ~self._finite(sim, data, obs)
        no, zero = jnp.zeros((), bool), jnp.float32(0)
        metrics = {"success": zero, "return": zero, "length": zero, "nan": jnp.float32(invalid)}
        return State(
            pipeline_state=replace(sim, invalid=invalid),
            obs=jax.tree.map(lambda x: jnp.where(invalid, 0.0, x), obs),
            reward=zero,
            done=zero,
            metrics=metrics | _full(core),
            info={"terminated": no, "truncated": no},
        )

    def step(self, state: State, action: jax.Array) -> State:
        """Returns the state one control step later under ``action`` (J,) in [-1, 1]."""
        sim, task = state.pipeline_state, self.task
        keys = step_keys(sim.key)
        xi, action = self._current_params(sim), jnp.clip(action, -1.0, 1.0)
        output = self._perturb_action(sim, xi, action, state.obs["state"])
        output = output * jnp.asarray(task.contract.action.scale)
        command = next_command(jnp, task.contract.action, sim.command, output)
        moving = actuator.issue(self.actuator, sim.actuator, xi, command, key=keys.issue)
        pushed = None if sim.push is None else world.push(self.world, sim.push, xi, key=keys.push)
        sim = replace(sim, actuator=moving, push=pushed, command=command)
        sim = replace(sim, physics_state=self._simulate(sim, xi))
        data = self._task_data(sim, xi)
        verdict = task_calls.reward(task, data, action)
        core, data = physics.with_memory(sim.physics_state, data, verdict.memory)
        kept = sensor.push(self.sensor, sim.sensor, task_calls.signals(task, data))
        sim = replace(sim, physics_state=core, sensor=kept, key=keys.next)
        sim, obs = self._observe(sim, data, keys.read)
        nan = sim.invalid | ~self._finite(sim, data, obs, verdict.reward)
        goal_steps = jnp.where(verdict.on_goal & ~nan, sim.goal_steps + 1, 0)
        steps = sim.steps + 1
        success = sim.success | (goal_steps >= self.hold_steps)
        reward = verdict.reward + task.success_reward * (success & ~sim.success)
        reward = jnp.where(nan, 0.0, reward)
        terminated = verdict.failed | nan | (success & task.ends_on_success)
        truncated = (steps >= self.episode_steps) & ~terminated
        sim = replace(
            sim,
            steps=steps,
            goal_steps=goal_steps,
            success=success,
            episode_return=sim.episode_return + reward,
        )
        metrics = {"success": success, "return": sim.episode_return, "length": steps, "nan": nan}
        return State(
            pipeline_state=sim,
            obs=jax.tree.map(lambda x: jnp.where(nan, 0.0, x), obs),
            reward=jnp.asarray(reward, jnp.float32),
            done=(terminated | truncated).astype(jnp.float32),
            metrics={n: jnp.asarray(v, jnp.float32) for n, v in (metrics | _full(core)).items()},
            info={"terminated": terminated, "truncated": truncated},
        )

    def view(self, state: State) -> mjx.Data:
        """Returns Data of one world in which every field that the engine can give is right."""
        sim = state.pipeline_state
        return self._forward(sim, self._current_params(sim))

    def positions(self, state: State) -> mjx.Data:
        """Returns Data with positions of bodies, geoms, sites and cameras of one world alone."""
        sim = state.pipeline_state
        return physics.forward_positions(self.physics, sim.leaves, sim.physics_state)

    def label(self, state: State) -> jax.Array:
        """Returns (L,) the task's label of one world."""
        return task_calls.label(self.task, self.task_data(state))

    def keypoints(self, state: State) -> jax.Array:
        """Returns (K, 3) the points of one world that a student should find in pictures, m."""
        return task_calls.keypoints(self.task, self.task_data(state))

    def task_data(self, state: State) -> mjx.Data:
        """Returns the Data that the task's functions are given of one world."""
        sim = state.pipeline_state
        return self._task_data(sim, self._current_params(sim))

    def with_privileged_params(
        self, obs: dict[str, jax.Array], xi: jax.Array
    ) -> dict[str, jax.Array]:
        """Returns observations that hold ``xi`` (D,) where they show a world's parameters."""
        hidden = ~self.task.space.in_group("visual")
        shown = self.task.space.normalize(jnp, xi)[hidden]
        own = obs["privileged"][: obs["privileged"].shape[0] - int(hidden.sum())]
        return {**obs, "privileged": jnp.concatenate((own, shown))}

    def _home(self, data: mjx.Data) -> jax.Array:
        """Returns (J,) the command at the start: where the joints are, or zero effort."""
        spec = self.task.contract.action
        if spec.mode == "effort":
            return jnp.zeros(self.action_size)
        return jnp.clip(data.qpos[self.drives.qpos], jnp.array(spec.low), jnp.array(spec.high))

    def _settled(self, act: jax.Array, ctrl: jax.Array) -> jax.Array:
        """Returns ``act`` (na,) with the filters of the contract's actuators at ``ctrl`` (nu,)."""
        filters = self.drives.act >= 0
        index = jnp.array(self.drives.act[filters], int)
        return act.at[index].set(ctrl[jnp.array(self.drives.actuators[filters], int)])

    def current_params(self, state: State) -> jax.Array:
        """Returns the xi (D,) that holds now: rows per step have another value at every step."""
        return self._current_params(state.pipeline_state)

    def _current_params(self, sim: EnvState) -> jax.Array:
        """Returns (D,) the parameters of this control step."""
        count = int(self.task.space.where("resample", "step").sum())
        if not count:
            return sim.episode_params.xi
        unit = jax.random.uniform(step_keys(sim.key).rows, (count,))
        return self.task.space.resample_steps(jnp, sim.episode_params.xi, unit)

    def _sample_adversary(self, key: jax.Array) -> Adversary | None:
        """Returns the random network of an episode, if a row asks for one."""
        asked = self.actuator.touches("adversary")
        return adversary.sample(self.action_size, key=key) if asked else None

    def _perturb_action(
        self, sim: EnvState, xi: jax.Array, action: jax.Array, obs: jax.Array
    ) -> jax.Array:
        """Returns ``action`` (J,) with the adversary's share mixed in."""
        if sim.adversary is None:
            return action
        alpha = actuator.values(self.actuator, xi)["adversary"]
        return adversary.mix(alpha, action, adversary.forward(sim.adversary, obs))

    def _simulate(self, sim: EnvState, xi: jax.Array) -> PhysicsState:
        """Runs the physics steps of one control step."""
        if self.physics.c is not None:
            return self._simulate_together(sim, xi)

        def one(core: PhysicsState, step: jax.Array) -> tuple[PhysicsState, None]:
            ctrl, model, outside = self._loads(replace(sim, physics_state=core), xi, step)
            return physics.advance(self.physics, model, core, ctrl, outside), None

        return jax.lax.scan(one, _cleared(sim.physics_state), jnp.arange(self.task.substeps))[0]

    def _simulate_together(self, sim: EnvState, xi: jax.Array) -> PhysicsState:
        """Runs the physics steps of one control step as one call."""
        ctrl = jax.vmap(lambda step: self._ctrl(sim, xi, step))(jnp.arange(self.task.substeps))
        outside = None if sim.push is None else world.wrench(self.world, sim.push, xi)
        curve = None
        if self.motor is not None:
            curve = partial(motor.force_range, self.motor), self._stall(sim, xi)
        return physics.advance_together(
            self.physics, sim.leaves, sim.physics_state, ctrl, outside, curve
        )

    def _loads(
        self, sim: EnvState, xi: jax.Array, step: jax.Array
    ) -> tuple[jax.Array, Leaves, jax.Array | None]:
        """Returns what acts on the world at a physics ``step`` () of the control step.

        That is ctrl (nu,), the model's fields, and a wrench (nbody, 6) from outside or None.
        """
        outside = None if sim.push is None else world.wrench(self.world, sim.push, xi)
        model = sim.leaves
        if self.motor is not None:
            qvel = sim.physics_state.qvel
            force = motor.force_range(self.motor, jnp, *self._stall(sim, xi), qvel)
            model = {**model, motor.FIELD: force}
        return self._ctrl(sim, xi, step), model, outside

    def _ctrl(self, sim: EnvState, xi: jax.Array, step: jax.Array) -> jax.Array:
        """Returns ctrl (nu,) at a physics ``step`` () of the control step."""
        drive = actuator.drive(self.actuator, sim.actuator, xi, step)
        return self.physics.empty_data.ctrl.at[jnp.array(self.drives.actuators)].set(drive)

    def _stall(self, sim: EnvState, xi: jax.Array) -> tuple[jax.Array, jax.Array]:
        """Returns the force range (nu, 2) at rest, and its loss (J,) by speed."""
        assert self.motor is not None
        stall = sim.leaves.get(motor.FIELD, jnp.asarray(self.motor.stall))
        return stall, actuator.values(self.actuator, xi)["speed_loss"]

    def _task_data(self, sim: EnvState, xi: jax.Array) -> mjx.Data:
        """Returns Data in which what the task's functions read is right."""
        if self.reads_forces:
            return self._forward(sim, xi)
        return physics.forward_positions(self.physics, sim.leaves, sim.physics_state)

    def _forward(self, sim: EnvState, xi: jax.Array) -> mjx.Data:
        """Returns Data with forces and sensors, under the controls of the last physics step."""
        _, model, outside = self._loads(sim, xi, jnp.int32(self.task.substeps - 1))
        return physics.forward_all(self.physics, model, sim.physics_state, outside)

    def _observe(
        self, sim: EnvState, data: mjx.Data, key: jax.Array
    ) -> tuple[EnvState, dict[str, jax.Array]]:
        """Returns the world after the sample, and the observations of policy and teacher."""
        contract, space = self.task.contract, self.task.space
        reading, told = sensor.read(self.sensor, sim.sensor, self._current_params(sim), key=key)
        true, sent = task_calls.signals(self.task, data), {"command": sim.command}
        behind = sim.command - sim.actuator.history[1:]
        hidden = ~space.in_group("visual")
        parts = (
            assemble(jnp, contract, {**true, **sent}),
            task_calls.privileged(self.task, data),
            (behind / jnp.asarray(contract.action.scale)).reshape(-1),
            space.normalize(jnp, sim.episode_params.xi)[hidden],
        )
        state = assemble(jnp, contract, {**told, **sent})
        obs = {"state": state, "privileged": jnp.concatenate(parts)}
        # Kept once made: the check of what is finite would have the compiler make them twice.
        return replace(sim, sensor=reading), jax.lax.optimization_barrier(obs)

    def _finite(
        self,
        sim: EnvState,
        data: mjx.Data,
        obs: dict[str, jax.Array],
        reward: jax.Array | float = 0.0,
    ) -> jax.Array:
        """Returns () bool: all that a learner reads of this world, now and later, is finite."""
        core = sim.physics_state
        label = task_calls.label(self.task, data)
        read = (core.qpos, core.qvel, core.memory, sim.command, label, *obs.values(), reward)
        return all_finite(*read)


def _cleared(core: PhysicsState) -> PhysicsState:
    """Returns the physics state with no step in it that had no room for contacts."""
    return core if core.full is None else replace(core, full=jnp.zeros((), bool))


def _full(core: PhysicsState) -> dict[str, jax.Array]:
    """Returns the metric "full": 1 where a step had no room for contacts; {} if all have."""
    return {} if core.full is None else {"full": jnp.asarray(core.full, jnp.float32)}


def inferable_columns(env: Environment) -> tuple[int, int]:
    """Returns the first column, and the one behind the last, of what "privileged" says of a scene.

    A student could find these out: the task's own `privileged`, without the readings, which it has,
    the commands on their way, and xi. Of another library's environment it is all but xi.
    """
    state = jax.eval_shape(env.reset, jax.random.key(0))
    hidden = int((~env.space.in_group("visual")).sum())
    stop = state.obs["privileged"].shape[-1] - hidden
    if not isinstance(env, Env):
        return 0, stop
    history = state.pipeline_state.actuator.history
    return env.task.contract.size, stop - (history.shape[0] - 1) * history.shape[1]


def require_native(env: Environment) -> Env:
    """Returns an environment of this project as such.

    Raises:
        ParamError: an adapter's, which has no contract, no cameras and no rows to look at.
    """
    if not isinstance(env, Env):
        raise not_native_error(type(env).__name__)
    return env


def not_native_error(name: str) -> ParamError:
    """Returns the error for an environment called ``name`` where a task of ours is needed."""
    return ParamError(
        f"{name} is another library's environment: it can be trained, and not be seen, exported or "
        "flown; write the task as mjx_s2r/envs/cartpole.py does"
    )


def make(task: Task, config: PhysicsConfig | None = None, worlds: int = 1) -> Env:
    """Binds a task to physics, actuators and sensors, all by name.

    Without a ``config`` physics is MJX on jax. Contacts that ask for more memory than ``worlds``
    of them find here are refused before anything is traced.

    Raises:
        ParamError: a row, body, joint, geom or signal that does not exist; a row whose limits are
            one value, or reach a value that cannot be.
        ModelError: a model that MJX would not simulate faithfully; an engine that this machine or
            a row cannot use; a row that changes nothing.
        ContractError: the contract does not fit the model.
        TaskError: a part of the task that is missing, a function that returns what it should not
            or reads what the engine does not compute.
    """
    task_calls.check_members(task)
    if config is not None and config.backend == "auto":
        return _make_fastest(task, config, worlds)
    contract, mj_model = task.contract, task.mj_model
    refuse_too_large(mj_model, config, worlds)
    drives = check_contract(contract, mj_model)
    control_dt, physics_dt = 1 / contract.control_hz, mj_model.opt.timestep
    joints, effort = contract.action.joints, contract.action.mode == "effort"
    if abs(task.substeps * physics_dt - control_dt) > 1e-9:
        raise ContractError(
            f"{task.substeps} physics steps of {physics_dt} s are not one control step at "
            f"{contract.control_hz} Hz; change substeps, the model's timestep or control_hz"
        )
    written = getattr(task, "unwrapped", task).space  # a run's ranges may fix a row or all but do
    closed_rows(written)
    check_unbound(task.space.rows, "visual", VISUAL)
    binding = bind_model(task.space, mj_model)
    if config is not None and config.backend == "warp":
        refuse_shared(task.space, binding)
    elif config is None or config.backend == "jax":
        warn_of_lost_contacts(mj_model)
        warn_of_gaps(mj_model)
    refuse_clipped_rows(task.space, binding.edits, mj_model)
    engine = physics.put_model(mj_model, config)
    ctrl, act = (jnp.asarray(x, jnp.float32) for x in rest_controls(mj_model))
    engine = replace(engine, empty_data=engine.empty_data.replace(ctrl=ctrl, act=act))
    read = task_calls.trace_task(task, engine)
    check_order(task, engine, drives)
    starts = draw_starts(task)
    task_calls.check_starts(task, starts)
    warn_of_pulling_servos(task, engine, drives, starts)
    env = Env(
        task=task,
        physics=engine,
        binding=binding,
        actuator=actuator.bind_actuator(task.space, joints, control_dt, physics_dt, effort),
        sensor=sensor.bind_sensor(task.space, contract.sensed, control_dt),
        world=world.bind_world(task.space, mj_model, control_dt),
        motor=motor.bind_motor(task.space, mj_model, joints),
        drives=drives,
        reads_forces=task_calls.reads_forces(read),
    )
    refuse_rows_without_effect(
        written,
        binding,
        mj_model,
        starts,
        ctrl_index=drives.actuators.tolist(),
        ctrl_low=contract.action.low,
        ctrl_high=contract.action.high,
    )
    return env


def _make_fastest(task: Task, config: PhysicsConfig, worlds: int) -> Env:
    """Binds a task to C MuJoCo where that is faster here and can be, else to MJX on jax."""
    if faster_in_c(task.mj_model):
        try:
            return make(task, replace(config, backend="c"), worlds)
        except (ModelError, TaskError):
            pass  # what MJX cannot do either is refused below
    return make(task, replace(config, backend="jax"), worlds)
