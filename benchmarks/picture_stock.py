"""A stock of labelled pictures, and worlds that hand it out: an environment that costs nothing.

The pictures are of reach's worlds at the start of an episode, each with a look of its own, drawn
once by this project's renderer. The teacher is a formula, so that nobody's training is in it: its
raw action is the way from the tip of the gripper to the goal above the cube, in tenths of a metre,
which is in the picture and not in the joint readings.

Worlds do not move. World b of B sees pictures b, b + B, b + 2 B and so on, and then the first ones
again, whatever is done: every learner gets the same pictures in the same order.
"""

from dataclasses import dataclass, replace
from typing import Any, cast

import jax
import jax.numpy as jnp
import numpy as np
from flax import struct

from benchmarks.workload import initial_states, reach, widest
from mjx_s2r.contract import CameraSignal
from mjx_s2r.envs.reach import HOME, SPACE, Reach
from mjx_s2r.learn.camera_schedule import CameraSchedule
from mjx_s2r.learn.distill.teachers import MAX_TEACHER_MEAN
from mjx_s2r.learn.networks.gaussian import Gaussian, gaussian
from mjx_s2r.params import ParamSpace
from mjx_s2r.render.cameras import bind_cameras, places, poses, take_pictures
from mjx_s2r.runtime.devices import gradient_compiler_options
from mjx_s2r.sim import physics
from mjx_s2r.sim.effects.frame_timing import bind_frame_timing
from mjx_s2r.sim.env import make
from mjx_s2r.sim.interface import EpisodeParams, State, nominal_params
from mjx_s2r.sim.physics import PhysicsState

AT_ONCE = 256  # pictures drawn at once
HZ = 25.0


@struct.dataclass
class PictureStock:
    """N labelled pictures.

    Attributes:
        pictures: (N, H, W, 3) uint8.
        readings: (N, P) joint angles from home, rad.
        teacher: (N, J) the teacher's raw action, within what a student is taught.
        label: (N, 3) where the cube is, m.
        places: (N, K, 2) where the picture shows the task's keypoints, from -1 to 1.
    """

    pictures: jax.Array
    readings: jax.Array
    teacher: jax.Array
    label: jax.Array
    places: jax.Array

    @property
    def actions(self) -> jax.Array:
        """(N, J) the teacher's actions, in [-1, 1]."""
        return jnp.tanh(self.teacher)


def draw_stock(count: int, *, key: jax.Array) -> PictureStock:
    """Returns ``count`` labelled pictures, rounded up to whole batches of `AT_ONCE`."""
    task = reach(widest(SPACE))
    env = make(task)
    cameras = bind_cameras(task.space, task.mj_model, task.contract)
    options: Any = {"compiler_options": gradient_compiler_options()}

    @jax.jit
    def located(core: PhysicsState, xi: jax.Array) -> tuple[Any, PictureStock]:
        """Returns where everything is, and what is to be known about the pictures."""
        data = jax.vmap(lambda c: physics.forward_positions(env.physics, {}, c))(core)
        where, points = poses(cameras, data), jax.vmap(cast(Reach, task).keypoints)(data)
        way = jax.vmap(task.privileged)(data)[:, -3:]
        return where, PictureStock(
            pictures=jnp.zeros(()),
            readings=core.qpos - jnp.array(HOME),
            teacher=jnp.clip(way, -MAX_TEACHER_MEAN, MAX_TEACHER_MEAN),
            label=jax.vmap(task.label)(data),
            places=places(cameras, where, xi, points)[0],
        )

    paint = jax.jit(lambda where, xi, key: take_pictures(cameras, where, xi, key=key)[0], **options)
    parts = []
    for part in jax.random.split(key, -(-count // AT_ONCE)):
        key_start, key_look, key_noise = jax.random.split(part, 3)
        core, _ = initial_states(env, AT_ONCE, key=key_start)
        unit = jax.random.uniform(key_look, (AT_ONCE, len(task.space)))
        xi = task.space.sample(jnp, unit, *jnp.asarray(task.space.initial))
        where, known = located(core, xi)
        drawn = replace(known, pictures=paint(where, xi, key_noise))
        parts.append(jax.tree.map(np.asarray, drawn))
    return cast(PictureStock, jax.tree.map(lambda *x: jnp.asarray(np.concatenate(x)), *parts))


def blind_error(stock: PictureStock, held_out: PictureStock) -> float:
    """Returns the error on ``held_out`` of what the readings alone tell: least squares."""

    def inputs(s: PictureStock) -> np.ndarray:
        return np.concatenate((np.asarray(s.readings), np.ones((len(s.readings), 1))), axis=1)

    weights = np.linalg.lstsq(inputs(stock), np.asarray(stock.actions), rcond=None)[0]
    return error(inputs(held_out) @ weights, held_out)


def error(actions: Any, stock: PictureStock) -> float:
    """Returns the mean squared difference of ``actions`` (N, J) in [-1, 1] from the teacher's."""
    return float(np.mean((np.asarray(actions) - np.asarray(stock.actions)) ** 2))


@struct.dataclass
class StockSim:
    """What a world carries: its draw, the step () and which picture it sees ()."""

    episode_params: EpisodeParams
    steps: jax.Array
    picture: jax.Array


@dataclass(frozen=True, eq=False)
class StockEnv:
    """One of B worlds that see the stock; an episode never ends.

    Attributes:
        stock: the pictures and what is known about them.
        num_envs: B.
        labelled: whether a student is told where the cube is.
    """

    stock: PictureStock
    num_envs: int
    labelled: bool = False

    @property
    def action_size(self) -> int:
        """J."""
        return int(self.stock.teacher.shape[1])

    @property
    def space(self) -> ParamSpace:
        """A table without rows."""
        return ParamSpace(())

    @property
    def episode_steps(self) -> int:
        """Longer than any training."""
        return 1_000_000_000

    def reset(self, key: jax.Array, draw: EpisodeParams | None = None) -> State:
        """Starts before the first picture."""
        del key
        draw = nominal_params(self.space) if draw is None else draw
        zero, no = jnp.float32(0), jnp.zeros((), bool)
        return State(
            pipeline_state=StockSim(draw, jnp.int32(0), jnp.int32(0)),
            obs=self.see(jnp.int32(0)),
            reward=zero,
            done=zero,
            metrics={"success": zero, "return": zero, "length": zero, "nan": zero},
            info={"terminated": no, "truncated": no},
        )

    def step(self, state: State, action: jax.Array) -> State:
        """Goes on to the next picture, whatever the action."""
        del action
        sim: StockSim = state.pipeline_state
        picture = (sim.picture + self.num_envs) % self.stock.teacher.shape[0]
        sim = replace(sim, steps=sim.steps + 1, picture=picture)
        return replace(state, pipeline_state=sim, obs=self.see(picture))

    def spread(self, worlds: State) -> State:
        """Returns B worlds at their first pictures, each at one of its own."""
        sim, first = worlds.pipeline_state, jnp.arange(self.num_envs)
        return replace(worlds, pipeline_state=replace(sim, picture=first), obs=self.see(first))

    def see(self, picture: jax.Array) -> dict[str, jax.Array]:
        """Returns the readings, and the teacher's action as what only a teacher sees."""
        return {"state": self.stock.readings[picture], "privileged": self.stock.teacher[picture]}

    def label(self, state: State) -> jax.Array:
        """Returns (3,) where the cube is, m; (0,) where nobody shall know."""
        return self.stock.label[state.pipeline_state.picture][: 3 if self.labelled else 0]

    def keypoints(self, state: State) -> jax.Array:
        """Returns (K, 3) as many points as a picture shows places of, which the stock knows."""
        return jnp.zeros((self.stock.places.shape[1], 3))

    def current_params(self, state: State) -> jax.Array:
        """Returns the world's parameters, of which there are none."""
        return cast(jax.Array, state.pipeline_state.episode_params.xi)


def teacher(obs: dict[str, jax.Array]) -> Gaussian:
    """Returns the teacher's distribution of raw actions (B, J)."""
    return gaussian(obs["privileged"], jnp.full(obs["privileged"].shape[-1:], -1.0))


def stock_cameras(stock: PictureStock) -> CameraSchedule:
    """Returns the camera that looks into the stock."""
    height, width = stock.pictures.shape[1:3]
    signal = CameraSignal("front", height, width, HZ)
    take = jax.jit(lambda pictures, where: (pictures[where],))  # the stock is no constant of it
    return CameraSchedule(
        signals=(signal,),
        period=(1,),
        locate=lambda worlds: worlds.pipeline_state.picture,
        draw=lambda where, xi, key: take(stock.pictures, where),
        timing=(bind_frame_timing(ParamSpace(()), signal, ("front",), 1 / HZ),),
        params=lambda worlds: worlds.pipeline_state.episode_params.xi,
        begins=lambda worlds: worlds.pipeline_state.steps == 0,
        find=lambda worlds, xi: (stock.places[worlds.pipeline_state.picture],),
    )
