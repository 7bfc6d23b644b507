"""Worlds as rsl_rl's runner wants them: torch tensors in and out, and nothing is copied between.

Playground's own wrapper for rsl_rl (mujoco_playground/_src/wrapper_torch.py) does the same: one
compiled step of all worlds, arrays handed over by DLPack, the end by time told as "time_outs".
Finished worlds are reset as for our PPO: with a fresh start, of which one per world and rollout
is prepared.
"""

from typing import Any

import jax
import jax.numpy as jnp

from mjx_s2r.bridge.registry import require
from mjx_s2r.curriculum.uniform import uniform
from mjx_s2r.learn.ppo.config import PPOConfig
from mjx_s2r.learn.rollout import ResetPool, randomize_episode_time
from mjx_s2r.sim.interface import Environment, State, auto_reset


class TorchWorlds:
    """B worlds of one environment, with the names that rsl_rl's VecEnv gives to things."""

    def __init__(self, env: Environment, config: PPOConfig, *, key: jax.Array) -> None:
        """Starts the worlds, at different times of an episode."""
        self.num_envs, self.num_actions = config.num_envs, env.action_size
        self.max_episode_length = env.episode_steps
        self.cfg: dict[str, Any] = {}
        self._env, self._config = env, config
        self._pool = ResetPool(env, uniform(env.space), config.num_envs)
        self._move = jax.jit(self._moved)
        self._schedule, state, (key_times, self._key, _) = self._pool.initial(key)
        self._state: State = randomize_episode_time(env, state, key=key_times)
        self._fresh = self._state
        self._steps = 0
        self.device = str(_torch(self._state.reward).device)

    def get_observations(self) -> Any:
        """Returns what is seen now, a TensorDict of (B, P)."""
        told = {self._config.actor_reads, self._config.critic_obs}  # rsl_rl stores all it is given
        seen = {name: _torch(jax.block_until_ready(self._state.obs[name])) for name in told}
        return require("tensordict").TensorDict(seen, batch_size=[self.num_envs])

    def step(self, actions: Any) -> tuple[Any, Any, Any, dict[str, Any]]:
        """Returns observations, reward (B,), done (B,) and extras after ``actions`` (B, J)."""
        if self._steps % self._config.num_steps == 0:
            resampled = self._pool.resample(self._schedule, self._state, self._key)
            self._fresh, (self._key, *_) = resampled
        self._steps += 1
        self._state, told = self._move(self._state, self._fresh, jnp.from_dlpack(actions))
        reward, done, timeout = map(_torch, jax.block_until_ready(told))
        return self.get_observations(), reward, done, {"time_outs": timeout}

    def _moved(
        self, state: State, fresh: State, actions: jax.Array
    ) -> tuple[State, tuple[jax.Array, jax.Array, jax.Array]]:
        """Returns the worlds one step later; reward, done and end by time, float32 (B,)."""
        state = auto_reset(jax.vmap(self._env.step)(state, actions), fresh)
        timeout = state.info["truncated"].astype(jnp.float32)
        return state, (state.reward * self._config.reward_scale, state.done, timeout)


def _torch(x: jax.Array) -> Any:
    """Returns the same memory as a torch tensor."""
    return require("torch").from_dlpack(x)
