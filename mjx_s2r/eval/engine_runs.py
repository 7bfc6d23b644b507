"""The same worlds in the engine of a training and in C MuJoCo: states, geometry, task functions.

What the engine does are two compiled programs over all worlds: a reset, and random actions as a
policy could take them, each held for `HOLD_S`. They run once, for seconds, so on a CPU the compiler
is asked for quick work rather than for quick programs. C MuJoCo gets the same model rows by
`mjx_s2r.sim.model.leaves.write`, the same starts and the same controls.
"""

import copy
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import mujoco
import numpy as np
from mujoco import mjx

from mjx_s2r.contract import next_command
from mjx_s2r.runtime.compilation import compile_all
from mjx_s2r.runtime.devices import quick_compiler_options
from mjx_s2r.sim import physics, task_calls
from mjx_s2r.sim.backends.c_fields import compute_all, field_of
from mjx_s2r.sim.effects import actuator, motor
from mjx_s2r.sim.env import Env
from mjx_s2r.sim.interface import State, nominal_params
from mjx_s2r.sim.model.leaves import write
from mjx_s2r.sim.physics import Physics, PhysicsState

HOLD_S = 0.1  # s for which an action is held
NOISE = 1e-6  # relative, at every physics step: what float32 loses in a step (2^-24 an operation)
FORCE_NOISE = 1e-4  # relative error of a contact force from MJX's solver in float32, measured
PATIENT = 20  # the same of the engine, both
CONVERGED = (200, 100)  # iterations of the constraint solver and of its line search
FLAGS = ("on_goal", "failed")
PLACES = ("geom_xpos", "geom_xmat", "site_xpos", "cam_xpos")  # geometry that rows may change
# Insides of the constraint solver come in MJX's own order; they are left as the engine has them.
OWN_ORDER = ("_impl.contact.", "_impl.efc_")


Contacts = tuple[Any, Any, Any, Any]
"""Contacts: geoms (C, 2), distance beyond the margin (C,), m, place (C, 3), m, normal (C, 3)."""


@dataclass(frozen=True)
class Worlds:
    """Worlds to run.

    Attributes:
        xi: (W, D) parameters.
        start: (W,) which start and actions.
        row: (W,) row of the table that is at an end; -1 in nominal worlds.
        end: (W,) 0 at the row's lower limit, 1 at its upper one.
    """

    xi: np.ndarray
    start: np.ndarray
    row: np.ndarray
    end: np.ndarray


@dataclass(frozen=True)
class Track:
    """What the engine made of `Worlds` in T control steps of S physics steps in all.

    Attributes:
        starts: each world after its reset, leaves (W, ...).
        xi: (W, D) parameters of the episode.
        now: (W, D) parameters of a control step.
        actions: (W, T, J) actions.
        cores: states at S + 1 moments, leaves (W, S + 1, ...).
        ctrl: (W, S, nu) controls.
        better: qpos (W, S, nq) and qvel (W, S, nv) after the same single steps with more iterations
            of the solver.
        contacts: all that are possible, leaves (W, S, C, ...), before each physics step; one acts
            where its distance is negative. None where the engine does not tell.
        shape: geometry, ground and mass matrix at the start by name, (W, ...).
    """

    starts: State
    xi: np.ndarray
    now: np.ndarray
    actions: np.ndarray
    cores: PhysicsState
    ctrl: np.ndarray
    better: tuple[np.ndarray, np.ndarray]
    contacts: Contacts | None
    shape: Mapping[str, np.ndarray]


def run_engine(env: Env, worlds: Worlds, steps: int, seed: int) -> Track:
    """Runs the worlds in the environment's engine for ``steps`` control steps."""
    spec, hold = env.task.contract, max(1, round(HOLD_S * env.task.contract.control_hz))
    count = int(worlds.start.max()) + 1
    drawn = np.random.default_rng(seed).uniform(-1, 1, (count, -(-steps // hold), env.action_size))
    actions = np.repeat(drawn, hold, 1)[:, :steps].astype(np.float32)[worlds.start]
    keys = jax.random.split(jax.random.key(seed), count)[worlds.start]
    patient = _patient(env.physics)

    def begin(key: jax.Array, xi: jax.Array) -> State:
        """Resets one world to an episode with the parameters ``xi`` (D,)."""
        return env.reset(key, replace(nominal_params(env.space), xi=xi))

    def go_on(state: State, actions: jax.Array) -> Any:
        """Runs one world from its start."""
        sim, now = state.pipeline_state, env.current_params(state)
        first = sim.physics_state

        def command(last: jax.Array, action: jax.Array) -> Any:
            """Follows a policy's action."""
            output = action * jnp.asarray(spec.action.scale)
            last = next_command(jnp, spec.action, last, output)
            ctrl = env.physics.empty_data.ctrl.at[jnp.array(env.drives.actuators)].set(last)
            return last, ctrl

        def look(core: PhysicsState) -> tuple[dict[str, jax.Array], Contacts | None]:
            """Returns geometry and mass matrix, and the contacts."""
            data = physics.forward_all(env.physics, sim.leaves, core)
            shape = {f: getattr(data, f) for f in PLACES}
            shape["inertia"] = mjx.full_m(physics.world_model(env.physics, sim.leaves), data)
            return shape, _contacts(env, data)

        def step(carry: Any, ctrl: jax.Array) -> Any:
            """Takes one physics step, and says what touched before it."""
            core, shape, at_start = carry
            here, touching = look(core)  # costs little: the step computes it as well
            shape = jax.tree.map(lambda old, new: jnp.where(at_start, new, old), shape, here)
            after = physics.advance(env.physics, sim.leaves, core, ctrl)
            better = physics.advance(patient, sim.leaves, core, ctrl)
            told = after, ctrl, (better.qpos, better.qvel), touching
            return (after, shape, jnp.zeros((), bool)), told

        ctrl = jnp.repeat(jax.lax.scan(command, sim.command, actions)[1], env.task.substeps, 0)
        unseen = jax.tree.map(lambda x: jnp.zeros(x.shape, x.dtype), jax.eval_shape(look, first)[0])
        carry = first, unseen, jnp.ones((), bool)
        (_, shape, _), (cores, ctrl, better, contacts) = jax.lax.scan(step, carry, ctrl)
        cores = jax.tree.map(lambda a, b: jnp.concatenate((a[None], b)), first, cores)
        shape |= {n: x for n, x in sim.leaves.items() if n in ("geom_size", "hfield_data")}
        return sim.episode_params.xi, now, cores, ctrl, better, contacts, shape

    options = quick_compiler_options()
    reset = jax.jit(jax.vmap(begin), compiler_options=options)
    run = jax.jit(jax.vmap(go_on), compiler_options=options)
    given = keys, jnp.asarray(worlds.xi)
    compile_all((run.lower(jax.eval_shape(reset, *given), actions), reset.lower(*given)))
    starts = reset(*given)
    xi, now, cores, ctrl, better, contacts, shape = jax.device_get(run(starts, actions))
    return Track(starts, xi, now, actions, cores, ctrl, better, contacts, shape)


def _patient(engine: Physics) -> Physics:
    """Returns an engine with more iterations of its solver; MuJoCo Warp as it is."""
    option = engine.model.opt
    most = max(option.iterations, PATIENT), max(option.ls_iterations, PATIENT)
    more = option.replace(iterations=most[0], ls_iterations=most[1])
    return replace(engine, model=engine.model.replace(opt=more))


def _contacts(env: Env, data: mjx.Data) -> Contacts | None:
    """Returns all contacts that are possible, or None where the engine does not tell."""
    if env.physics.warp is not None:
        return None
    contact = data._impl.contact
    distance = contact.dist - contact.includemargin
    return contact.geom, distance, contact.pos, contact.frame[:, 0]


class Twin:
    """One world in C MuJoCo.

    Attributes:
        model: the model with the world's parameters.
        data: its state.
        stall: (nu, 2) force ranges at rest, N or N m.
        touched: geoms that have been in contact so far.
        limited: actuators that have pushed with the largest or the least force so far.
    """

    def __init__(self, env: Env, xi: np.ndarray) -> None:
        """Makes the model with the parameters ``xi`` (D,)."""
        self.model = copy.copy(env.task.mj_model)
        write(self.model, env.binding, xi)
        self.model.opt.disableflags |= mujoco.mjtDisableBit.mjDSBL_AUTORESET
        self.data = mujoco.MjData(self.model)
        self.stall = self.model.actuator_forcerange.copy()
        self.touched: set[int] = set()
        self.limited: set[int] = set()

    def put(self, core: PhysicsState, noise: np.random.Generator | None = None) -> None:
        """Goes to the state ``core`` of the engine, or with ``noise`` into its neighbourhood."""
        data = self.data
        mujoco.mj_resetData(self.model, data)
        for name in ("qpos", "qvel", "act", "mocap_pos", "mocap_quat", "time", "ctrl"):
            value = getattr(core, name)
            if name == "time":
                data.time = float(value)
            else:
                getattr(data, name)[:] = value
        data.userdata[:], data.qacc_warmstart[:] = core.memory, core.warmstart
        if noise is not None:
            self._disturb(noise)

    def run(
        self, core: PhysicsState, ctrl: np.ndarray, noise: np.random.Generator | None = None
    ) -> tuple[np.ndarray, np.ndarray]:
        """Returns qpos (S, nq) and qvel (S, nv) after each physics step under ``ctrl`` (S, nu).

        With ``noise`` every step is as inexact as float32 may make it.
        """
        self.put(core, noise)
        qpos, qvel, data = [], [], self.data
        for now in ctrl:
            data.ctrl[:] = now
            mujoco.mj_step(self.model, data)
            if noise is not None:
                self._disturb(noise)
            qpos.append(data.qpos.copy())
            qvel.append(data.qvel.copy())
            self._look()
        return np.array(qpos), np.array(qvel)

    def contacts(self) -> Contacts:
        """Returns the contacts before the last physics step."""
        contact = self.data.contact
        distance = contact.dist - contact.includemargin
        return contact.geom.copy(), distance, contact.pos.copy(), contact.frame[:, :3].copy()

    def _disturb(self, noise: np.random.Generator) -> None:
        """Moves the state as far as float32 may be off after a step.

        Forces of constraints nearly cancel others, so what float32 leaves of them is passed on to
        the speeds: dv = dt M^-1 J' (f n), n ~ N(0, `FORCE_NOISE`).
        """
        model, data = self.model, self.data
        if data.nefc:
            force, speed = np.zeros(model.nv), np.zeros((1, model.nv))
            error = FORCE_NOISE * noise.normal(size=data.nefc) * data.efc_force
            mujoco.mj_mulJacTVec(model, data, force, error)
            mujoco.mj_solveM(model, data, speed, force[None])
            data.qvel += model.opt.timestep * speed[0]
        for x in (data.qpos, data.qvel):
            x += NOISE * (np.abs(x) + 0.1) * noise.normal(size=x.shape)

    def _look(self) -> None:
        """Notes what touches, and which actuators are at their force limit."""
        model, data = self.model, self.data
        self.touched.update(data.contact.geom.ravel().tolist())
        low, high = model.actuator_forcerange.T
        force = data.actuator_force
        at_end = (force <= low) | (force >= high)
        self.limited.update(np.flatnonzero(at_end & (model.actuator_forcelimited != 0)).tolist())

    @contextmanager
    def converged(self) -> Iterator[None]:
        """Lets the constraint solver go on until nothing changes any more."""
        opt = self.model.opt
        before = opt.iterations, opt.ls_iterations, opt.tolerance
        opt.iterations, opt.ls_iterations = CONVERGED
        opt.tolerance = 1e-12
        yield
        opt.iterations, opt.ls_iterations, opt.tolerance = before

    def apart(self, a: Sequence[Any], b: Sequence[Any]) -> np.ndarray:
        """Returns (S, 2, nv) how far states ``b`` are from ``a``: positions, then velocities.

        Both are qpos (S, nq) and qvel (S, nv). Not finite is infinitely far.
        """
        way = np.array([self.way(*pair) for pair in zip(a[0], b[0], strict=True)])
        apart = np.abs(np.stack((way, b[1] - a[1]), 1))
        return np.where(np.isfinite(apart), apart, np.inf)

    def way(self, a: Any, b: Any) -> np.ndarray:
        """Returns (nv,) the way from the posture ``a`` (nq,) to ``b`` (nq,), m and rad."""
        found = np.zeros(self.model.nv)
        mujoco.mj_differentiatePos(self.model, found, 1.0, a, b)
        return found

    def fields(
        self, core: PhysicsState, names: Sequence[str], noise: Any = None
    ) -> dict[str, np.ndarray]:
        """Returns fields of Data by name at the state ``core`` under its controls."""
        self.put(core, noise)
        model, data = self.model, self.data
        compute_all(model, data)
        data.qacc_warmstart[:] = core.warmstart
        return {name: np.array(field_of(model, data, name)) for name in names}


def state_at(track: Track, world: int, step: int) -> PhysicsState:
    """Returns the engine's state of one world after ``step`` physics steps."""
    return jax.tree.map(lambda x: x[world, step], track.cores)


def run_functions(
    env: Env, track: Track, twins: Mapping[int, Twin], picks: Sequence[tuple[int, int]]
) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """Returns what the task's functions make of the engine's Data and of C MuJoCo's.

    C MuJoCo is asked four times: as configured, with a converged solver, and twice in the
    neighbourhood of the state.

    Args:
        env: the environment.
        track: from `run_engine`.
        twins: the world in C MuJoCo, by world.
        picks: [N] world and physics step, after whole control steps.

    Returns:
        name -> (N, n) from the engine and (4, N, n) from C MuJoCo.
    """
    blank, noise = env.physics.empty_data, np.random.default_rng(1)
    shapes = {_name(path): x for path, x in jax.tree_util.tree_leaves_with_path(blank)}
    read = task_calls.trace_task(env.task, env.physics)
    names = sorted(n for n in read if not n.startswith(OWN_ORDER) and n != "_impl.ten_J")
    found: dict[str, list[np.ndarray]] = {name: [] for name in names}
    for world, step in picks:
        twin, core = twins[world], state_at(track, world, step)
        twin.model.actuator_forcerange[:] = _force_range(env, twin, track, world, core)
        told = [twin.fields(core, names)]
        with twin.converged():
            told.append(twin.fields(core, names))
        told += [twin.fields(core, names, noise) for _ in range(2)]
        for name in names:
            like = shapes[name]
            one = [np.reshape(fields[name], like.shape) for fields in told]
            found[name].append(np.array(one, like.dtype))

    def ask(state: State, core: PhysicsState, action: jax.Array, c: Any) -> Any:
        """Asks the task's functions about one state."""
        sim = replace(state.pipeline_state, physics_state=core)
        data = env.task_data(replace(state, pipeline_state=sim))
        call = partial(task_calls.call_all, env.task)
        return call(data, action), jax.vmap(lambda x: call(_filled(data, x), action))(c)

    w, t = np.array(picks).T
    action = np.where(
        (t > 0)[:, None], track.actions[w, np.maximum(t // env.task.substeps - 1, 0)], 0
    )
    cores = jax.tree.map(lambda x: jnp.asarray(x[w, t]), track.cores)
    swaps = {name: jnp.asarray(np.array(x)) for name, x in found.items()}
    starts = jax.tree.map(lambda x: x[w], track.starts)
    told_by = jax.jit(jax.vmap(ask), compiler_options=quick_compiler_options())
    mine, theirs = jax.device_get(told_by(starts, cores, jnp.asarray(action), swaps))
    return {name: (mine[name], np.moveaxis(theirs[name], 1, 0)) for name in mine}


def _force_range(
    env: Env, twin: Twin, track: Track, world: int, core: PhysicsState
) -> np.ndarray | jax.Array:
    """Returns (nu, 2) the force range of a world at a state's speeds."""
    xi = jnp.asarray(track.now[world])
    stall = twin.stall
    if env.motor is None:
        return stall
    loss = actuator.values(env.actuator, xi)["speed_loss"]
    return motor.force_range(env.motor, jnp, jnp.asarray(stall), loss, jnp.asarray(core.qvel))


def _filled(data: mjx.Data, fields: Mapping[str, jax.Array]) -> mjx.Data:
    """Returns ``data`` with other values of ``fields``, by name."""
    return jax.tree_util.tree_map_with_path(lambda path, x: fields.get(_name(path), x), data)


def _name(path: Any) -> str:
    """Returns the name of a field of Data."""
    return jax.tree_util.keystr(path).removeprefix(".")
