"""Hand-written environments of Brax's and of Playground's shape, habits of theirs included."""

from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import mujoco
from flax import struct
from mujoco import mjx

from mjx_s2r.params import ParamSpace
from mjx_s2r.sim.interface import EpisodeParams, State, nominal_params

XML = """
<mujoco><option timestep="0.01" gravity="0 0 0"><flag constraint="disable"/></option><worldbody>
  <body name="block">
    <joint name="rail" type="slide" axis="1 0 0"/><geom name="block" size="0.1" mass="2"/>
  </body>
</worldbody><actuator><motor name="rail" joint="rail"/></actuator></mujoco>
"""


@struct.dataclass
class BraxState:
    """The fields of brax.envs.base.State."""

    pipeline_state: Any
    obs: Any
    reward: Any
    done: Any
    metrics: dict
    info: dict


@struct.dataclass
class Point:
    """A point on a line, and something that no step reads."""

    q: Any
    qd: Any
    trail: Any


class Line:
    """A point moved by its action; it ends beyond 1 and is NaN beyond 3. Brax's shape.

    The reward is the place, and success is being beyond 0.5.
    """

    action_size = 1

    def __init__(self, asymmetric: bool = False, info_at_step: bool = False) -> None:
        """Chooses observations, and whether step adds an entry to info."""
        self.asymmetric, self.info_at_step = asymmetric, info_at_step
        self.bonus = jnp.float32(0)

    def see(self, point: Point) -> Any:
        """Returns an array, or a dict with more for the critic."""
        state = jnp.concatenate((point.q, point.qd))
        more = jnp.concatenate((state, state**2))
        return {"state": state, "privileged_state": more} if self.asymmetric else state

    def reset(self, rng: jax.Array) -> BraxState:
        """Starts near zero; metrics are weak numbers, as in the wild."""
        key, rng = jax.random.split(rng)
        point = Point(0.01 * jax.random.normal(key, (1,)), jnp.zeros(1), jnp.zeros(50))
        zero = jnp.zeros(())
        return BraxState(point, self.see(point), zero, zero, {"place": 0.0}, {"rng": rng})

    def step(self, state: BraxState, action: jax.Array) -> BraxState:
        """Moves by the action; draws from info and writes into info and metrics in place."""
        state.info["rng"], key = jax.random.split(state.info["rng"])
        if self.info_at_step:
            state.info["late"] = jnp.zeros(())
        q = state.pipeline_state.q + action
        q = jnp.where(q > 3, jnp.nan, q)
        point = Point(q, action, state.pipeline_state.trail + jax.random.normal(key, (50,)))
        state.metrics["place"] = q[0]
        return state.replace(
            pipeline_state=point, obs=self.see(point), reward=q[0], done=jnp.abs(q[0]) > 1
        )


@struct.dataclass
class MjxState:
    """The fields of mujoco_playground's State."""

    data: mjx.Data
    obs: Any
    reward: Any
    done: Any
    metrics: dict
    info: dict


class Block:
    """A block of 2 kg on a rail, pushed by its action in N. Playground's shape."""

    def __init__(self) -> None:
        """Compiles the model; keeps a bound method, as Playground's cartpole does."""
        self._mj_model = mujoco.MjModel.from_xml_string(XML)
        self._mjx_model = mjx.put_model(self._mj_model, impl="jax")
        self._reward = self._light

    @property
    def unwrapped(self) -> "Block":
        """Itself."""
        return self

    @property
    def mj_model(self) -> mujoco.MjModel:
        """The model of C MuJoCo."""
        return self._mj_model

    @property
    def mjx_model(self) -> mjx.Model:
        """The model of MJX."""
        return self._mjx_model

    @property
    def action_size(self) -> int:
        """Number of actuators."""
        return int(self._mj_model.nu)

    def _light(self) -> jax.Array:
        """Returns the mass of the block."""
        return self.mjx_model.body_mass[1]

    def reset(self, rng: jax.Array) -> MjxState:
        """Starts at rest at zero."""
        data = mjx.make_data(self._mj_model, impl="jax")
        reward, done = jnp.zeros(2)
        obs = jnp.concatenate((data.qpos, data.qvel))
        return MjxState(data, obs, reward, done, {}, {"rng": rng})

    def step(self, state: MjxState, action: jax.Array) -> MjxState:
        """Pushes for one physics step."""
        data = mjx.step(self.mjx_model, state.data.replace(ctrl=action))
        obs = jnp.concatenate((data.qpos, data.qvel))
        return state.replace(data=data, obs=obs, reward=self._reward(), done=jnp.float32(0))


@struct.dataclass
class GainSim:
    """What one world of `Gain` carries."""

    episode_params: EpisodeParams
    steps: jax.Array
    x: jax.Array
    total: jax.Array
    success: jax.Array


@dataclass(frozen=True, eq=False)
class Gain:
    """One of our environments: x moves by action times gain; beyond 1 it ends, 5 steps at most.

    The reward is x, reaching 0.5 is success. "privileged" has x and the gain. It starts within
    0.01 of zero.
    """

    space: ParamSpace
    action_size: int = 1
    episode_steps: int = 5

    def reset(self, key: jax.Array, draw: EpisodeParams | None = None) -> State:
        """Starts near zero."""
        draw = nominal_params(self.space) if draw is None else draw
        x, zero = 0.01 * jax.random.normal(key), jnp.float32(0)
        no = jnp.zeros((), bool)
        return State(
            GainSim(draw, jnp.int32(0), x, zero, no),
            {"state": x[None], "privileged": jnp.concatenate((x[None], draw.xi))},
            zero,
            zero,
            {"success": zero, "return": zero, "length": zero, "nan": zero},
            {"terminated": no, "truncated": no},
        )

    def step(self, state: State, action: jax.Array) -> State:
        """Moves."""
        sim = state.pipeline_state
        x, steps = sim.x + action[0] * sim.episode_params.xi[0], sim.steps + 1
        total, success = sim.total + x, sim.success | (x >= 0.5)
        over = jnp.abs(x) > 1
        out = (steps >= self.episode_steps) & ~over
        metrics = {"success": success, "return": total, "length": steps, "nan": jnp.float32(0)}
        return State(
            GainSim(sim.episode_params, steps, x, total, success),
            {"state": x[None], "privileged": jnp.concatenate((x[None], sim.episode_params.xi))},
            x,
            (over | out).astype(jnp.float32),
            {name: jnp.asarray(v, jnp.float32) for name, v in metrics.items()},
            {"terminated": over, "truncated": out},
        )
