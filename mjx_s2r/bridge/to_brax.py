"""One of our environments in Brax's shape, for Brax's trainers and wrappers.

    environment = to_brax(make(task))
    brax.training.agents.ppo.train(environment, episode_length=environment.episode_length, ...)

Every reset draws the parameters anew, each row between its initial bounds. Three habits of Brax:

- It keeps the time limit itself (EpisodeWrapper), so only true ends are ``done`` here.
- Its auto reset puts the first state of a world back, with that world's parameters: worlds differ
  from each other and not from episode to episode, unless ``num_resets_per_eval`` resets them.
- It sums metrics over an episode, so ``success`` is 1 at the one step at which it is reached.
"""

from typing import Any

import jax
import jax.numpy as jnp

from mjx_s2r.bridge.registry import require
from mjx_s2r.bridge.wrapper import WrappedEnv
from mjx_s2r.curriculum.uniform import uniform
from mjx_s2r.params import ParamError
from mjx_s2r.sim.env import Env
from mjx_s2r.sim.interface import Environment, State


class BraxEnv:
    """The environment of one world with the members that Brax asks of its own."""

    backend = "mjx"

    def __init__(self, env: Environment, dt: float, asymmetric: bool) -> None:
        """Takes the environment; `to_brax` fills the rest in."""
        self.env, self.dt, self.asymmetric = env, dt, asymmetric
        self._state = require("brax.envs.base").State
        self._curriculum = uniform(env.space)

    @property
    def action_size(self) -> int:
        """Number of action components, J."""
        return self.env.action_size

    @property
    def observation_size(self) -> Any:
        """P, or the shape of each observation by name."""
        obs = jax.eval_shape(self.reset, jax.random.key(0)).obs
        return {name: x.shape for name, x in obs.items()} if self.asymmetric else obs.shape[-1]

    @property
    def episode_length(self) -> int:
        """The task's time limit, control steps; Brax takes it as an argument."""
        return self.env.episode_steps

    @property
    def unwrapped(self) -> "BraxEnv":
        """Itself."""
        return self

    def reset(self, rng: jax.Array) -> Any:
        """Starts an episode with parameters drawn between the table's initial bounds."""
        typed = jnp.issubdtype(rng.dtype, jax.dtypes.prng_key)
        key_draw, key_reset = jax.random.split(jax.random.key_data(rng) if typed else rng)
        draws = self._curriculum.sample(self._curriculum.init(), 1, key_draw)
        state = self.env.reset(key_reset, jax.tree.map(lambda x: x[0], draws))
        metrics = {"success": jnp.float32(0), "nan": jnp.float32(0)}
        return self._state(
            state.pipeline_state,
            self._told(state.obs),
            state.reward,
            state.done,
            metrics,
            {"success": jnp.float32(0)},
        )

    def step(self, state: Any, action: jax.Array) -> Any:
        """Returns the state one control step later under ``action`` (J,) in [-1, 1]."""
        after = self.env.step(self._ours(state), action)
        now, first = after.metrics["success"], after.metrics["length"] <= 1
        reached = now * (1 - jnp.where(first, 0.0, state.info["success"]))
        return state.replace(
            pipeline_state=after.pipeline_state,
            obs=self._told(after.obs),
            reward=after.reward,
            done=after.info["terminated"].astype(jnp.float32),
            metrics={**state.metrics, "success": reached, "nan": after.metrics["nan"]},
            info={**state.info, "success": now},
        )

    def _told(self, obs: dict[str, jax.Array]) -> Any:
        """Returns our observations under the names of Playground and Brax."""
        if not self.asymmetric:
            return obs["state"]
        return {"state": obs["state"], "privileged_state": obs["privileged"]}

    def _ours(self, state: Any) -> State:
        """Returns a state of Brax as one of ours."""
        state_obs = state.obs["state"] if self.asymmetric else state.obs
        privileged = state.obs["privileged_state"] if self.asymmetric else state.obs
        no = jnp.zeros((), bool)
        return State(
            pipeline_state=state.pipeline_state,
            obs={"state": state_obs, "privileged": privileged},
            reward=state.reward,
            done=state.done,
            metrics={},
            info={"terminated": no, "truncated": no},
        )


def to_brax(env: Environment, *, asymmetric: bool = True, dt: float | None = None) -> BraxEnv:
    """Returns an environment in Brax's shape.

    Args:
        env: the environment.
        asymmetric: observe {"state", "privileged_state"}, to be chosen from by Brax's
            ``policy_obs_key`` and ``value_obs_key``; else one array, what the policy is told.
        dt: control step, s; known of environments made here.

    Raises:
        ParamError: Brax is not installed, or ``dt`` is not known.
    """
    if dt is None and isinstance(env, Env):
        dt = 1 / env.task.contract.control_hz
    if dt is None and isinstance(env, WrappedEnv):
        dt = float(env.env.dt) * env.action_repeat
    if dt is None:
        raise ParamError(f"{type(env).__name__} does not say how long its step is; give dt in s")
    return BraxEnv(env, dt, asymmetric)
