"""Workloads that several cases share: physics alone, first worlds, an untrained student."""

import math
from collections.abc import Callable
from dataclasses import replace
from typing import Any, cast

import jax
import jax.numpy as jnp

from mjx_s2r.api.teacher import camera_schedule
from mjx_s2r.curriculum.uniform import uniform
from mjx_s2r.envs.reach import SPACE, Reach
from mjx_s2r.learn.distill.config import DistillConfig
from mjx_s2r.learn.distill.distillation import make_distillation
from mjx_s2r.learn.networks.gaussian import Gaussian
from mjx_s2r.learn.networks.modules import ActorHead
from mjx_s2r.learn.ppo.config import PPOConfig
from mjx_s2r.learn.trainer import Trainer
from mjx_s2r.params import ParamSpace
from mjx_s2r.render.looks.assets import RenderConfig
from mjx_s2r.sim import physics
from mjx_s2r.sim.env import Env, make
from mjx_s2r.sim.physics import PhysicsState
from mjx_s2r.sim.task import Task
from mjx_s2r.sim.task_calls import draw_start, placed


def sized(config: PPOConfig, worlds: int) -> PPOConfig:
    """Returns a recipe with another number of worlds, and as many minibatches as these allow."""
    parts = math.gcd(config.num_minibatches, worlds)
    return replace(config, num_envs=worlds, num_minibatches=parts)


def initial_states(env: Env, worlds: int, *, key: jax.Array) -> tuple[PhysicsState, jax.Array]:
    """Returns B worlds at the start of an episode and one command (B, nu) for each, near home."""
    key_start, key_ctrl = jax.random.split(key)
    keys = jax.random.split(key_start, worlds)
    start = jax.vmap(lambda k: draw_start(env.task, key=k))(keys)
    core = jax.vmap(lambda s: placed(env.physics, s))(start)
    core = replace(core, memory=start.memory)
    spec = env.task.contract.action
    away = 0.3 * jax.random.uniform(key_ctrl, (worlds, env.action_size), minval=-1.0)
    command = jnp.clip(jnp.array(spec.home) + away, jnp.array(spec.low), jnp.array(spec.high))
    return core, core.ctrl.at[:, jnp.array(env.drives.actuators)].set(command)


def physics_alone(env: Env, steps: int) -> Callable[[PhysicsState, jax.Array], PhysicsState]:
    """Returns the compiled function (B worlds, commands) -> the worlds ``steps`` later."""
    together = env.physics.backend == "c"

    def one(core: PhysicsState, ctrl: jax.Array) -> PhysicsState:
        if together:  # as in a control step, and with the same controls
            held = jnp.broadcast_to(ctrl, (env.task.substeps, *ctrl.shape))
            return physics.advance_together(env.physics, {}, core, held)
        return physics.advance(env.physics, {}, core, ctrl)

    count = -(-steps // env.task.substeps) if together else steps

    @jax.jit
    def go(core: PhysicsState, ctrl: jax.Array) -> PhysicsState:
        return jax.lax.scan(lambda c, _: (jax.vmap(one)(c, ctrl), None), core, length=count)[0]

    return go


def reach(space: ParamSpace = SPACE) -> Task:
    """Returns the reach task with another table."""
    return cast(Task, replace(Reach(), space=space))


def widest(space: ParamSpace) -> ParamSpace:
    """Returns the table with every range at its limits."""
    return space.with_ranges({row.name: row.limits for row in space.rows})


def finite_share(tree: Any) -> float:
    """Returns the share of worlds (first axis) in which every number is finite."""
    leaves = [x for x in jax.tree.leaves(tree) if jnp.issubdtype(x.dtype, jnp.floating)]
    sound = [jnp.isfinite(x).reshape(x.shape[0], -1).all(-1) for x in leaves]
    return float(jnp.stack(sound).all(0).mean())


def untrained(config: DistillConfig, *, key: jax.Array) -> Trainer:
    """Returns a distillation on reach, the whole table drawn, from a teacher of random weights."""
    env = make(reach(widest(SPACE)))
    obs = jax.eval_shape(env.reset, key).obs["privileged"]
    actor = ActorHead((64, 64), env.action_size)
    weights = actor.init(key, jnp.zeros(obs.shape))

    def answer(obs: dict[str, jax.Array]) -> Gaussian:
        return cast(Gaussian, actor.apply(weights, obs["privileged"]))

    cameras = camera_schedule(env, RenderConfig(), config.changes_looks, config.steady_share)
    shapes = tuple(c.shape for c in cameras.signals)
    algorithm = make_distillation(env, shapes, answer, config)
    return Trainer(env, uniform(env.space), algorithm, cameras)
