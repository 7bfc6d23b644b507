"""N of our worlds as one gymnasium.vector.VectorEnv: numpy in, numpy out.

    worlds = GymnasiumWorlds(make(task), 64)
    obs, info = worlds.reset(seed=0)
    obs, reward, terminated, truncated, info = worlds.step(actions)

World i of seed s is world 0 of seed s + i: each has a stream of keys of its own, from which starts
and parameters (between the table's initial bounds) come. A world is reset as ``autoreset`` says:
"NextStep" (Gymnasium's default; the action of that step is not used), "SameStep" (info then has
final_obs and final_info) or "Disabled" (by reset with options={"reset_mask": ...}).
"""

from collections.abc import Sequence
from typing import Any, Literal

import jax
import jax.numpy as jnp
import numpy as np

from mjx_s2r.bridge.registry import missing
from mjx_s2r.curriculum.uniform import uniform
from mjx_s2r.params import ParamError
from mjx_s2r.sim.interface import Environment, EpisodeParams, State, keep_per_env_rows

try:
    from gymnasium.spaces import Box
    from gymnasium.vector import AutoresetMode, VectorEnv
    from gymnasium.vector.utils import batch_space
except ModuleNotFoundError as error:
    raise missing("gymnasium", error) from error


class GymnasiumVectorEnv(VectorEnv):
    """B worlds of one environment; info holds success, return, length and nan of each world."""

    def __init__(
        self,
        env: Environment,
        worlds: int,
        *,
        obs: Literal["state", "privileged"] = "state",
        autoreset: Literal["NextStep", "SameStep", "Disabled"] = "NextStep",
    ) -> None:
        """Compiles nothing yet; ``obs`` is what is observed."""
        if worlds < 1:
            raise ParamError(f"worlds {worlds} must be at least 1")
        self.env, self.num_envs, self._obs = env, worlds, obs
        self.autoreset_mode = AutoresetMode(autoreset)
        self.metadata = {"autoreset_mode": self.autoreset_mode}
        size = jax.eval_shape(env.reset, jax.random.key(0)).obs[obs].shape
        self.single_observation_space = Box(-np.inf, np.inf, size, np.float32)
        self.single_action_space = Box(-1.0, 1.0, (env.action_size,), np.float32)
        self.observation_space = batch_space(self.single_observation_space, worlds)
        self.action_space = batch_space(self.single_action_space, worlds)
        self._curriculum = uniform(env.space)
        self._sticky = bool(env.space.where("resample", "world").any())
        self._begin = jax.jit(self._fresh)
        self._move = jax.jit(jax.vmap(env.step))
        self._swap = jax.jit(_swap)
        self._keys: jax.Array | None = None
        self._state: State | None = None
        self._over = np.zeros(worlds, bool)

    def reset(
        self, *, seed: int | Sequence[int] | None = None, options: dict[str, Any] | None = None
    ) -> tuple[np.ndarray, dict[str, Any]]:
        """Starts every world, or those of options["reset_mask"] (B,) bool; returns obs, info."""
        mask = self._mask((options or {}).get("reset_mask"))
        seeds = self._seeds(seed)
        if seeds is not None:
            fresh = jax.vmap(jax.random.key)(jnp.asarray(seeds, jnp.uint32))
            self._keys = fresh if self._keys is None else jnp.where(mask, fresh, self._keys)
        self._renew(mask, new_worlds=seeds is not None)
        assert self._state is not None
        self._over &= ~mask
        return np.array(self._state.obs[self._obs]), {}

    def step(
        self, actions: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray, dict[str, Any]]:
        """Returns obs, reward, terminated, truncated and info after one control step."""
        given = np.asarray(actions, np.float32)
        if given.shape != self.action_space.shape:
            raise ValueError(f"actions have shape {given.shape}, not {self.action_space.shape}")
        if self._state is None:
            raise ValueError("step before reset; call reset(seed=...) first")
        mode, over = self.autoreset_mode, self._over
        if mode == AutoresetMode.DISABLED and over.any():
            raise ValueError(
                f"worlds {np.flatnonzero(over).tolist()} have ended; reset them with "
                'options={"reset_mask": ...}'
            )
        self._state = self._move(self._state, given)
        if over.any():  # only with NextStep
            self._renew(over)
        state = self._state
        ended = np.array(state.done) > 0
        info = self._info(state, np.ones_like(ended))
        if mode == AutoresetMode.SAME_STEP and ended.any():
            info = {**self._final(state, ended), **self._info(state, ~ended)}
            self._renew(ended)
        self._over = ended & (mode != AutoresetMode.SAME_STEP)
        flags = (np.array(state.info[name]) for name in ("terminated", "truncated"))
        obs, reward = np.array(self._state.obs[self._obs]), np.array(state.reward, np.float64)
        return obs, reward, *flags, info  # type: ignore[return-value]

    def _fresh(self, keys: jax.Array, old: EpisodeParams | None) -> tuple[jax.Array, State]:
        """Returns the worlds' next keys (B,) and B worlds at the start of an episode."""
        key_next, key_draw, key_reset = jax.vmap(lambda k: jax.random.split(k, 3))(keys).T
        schedule = self._curriculum.init()

        def draw(key: jax.Array) -> EpisodeParams:
            one = self._curriculum.sample(schedule, 1, key)
            return jax.tree.map(lambda x: x[0], one)

        draws = jax.vmap(draw)(key_draw)
        if old is not None:
            draws = keep_per_env_rows(self.env.space, draws, old)
        return key_next, jax.vmap(self.env.reset)(key_reset, draws)

    def _renew(self, mask: np.ndarray, new_worlds: bool = False) -> None:
        """Starts the worlds of ``mask`` (B,) anew; rows per world are drawn for new ones only."""
        assert self._keys is not None
        old = None
        if self._sticky and self._state is not None and not new_worlds:
            old = self._state.pipeline_state.episode_params
        keys, fresh = self._begin(self._keys, old)
        self._keys = jnp.where(mask, keys, self._keys)
        self._state = fresh if self._state is None else self._swap(mask, fresh, self._state)

    def _mask(self, mask: np.ndarray | None) -> np.ndarray:
        """Returns (B,) which worlds to reset; all at first."""
        if mask is None or self._state is None:
            return np.ones(self.num_envs, bool)
        if mask.shape != (self.num_envs,) or mask.dtype != bool:
            raise ValueError(
                f"reset_mask is {mask.dtype} {mask.shape}; it must be bool ({self.num_envs},)"
            )
        return mask

    def _seeds(self, seed: int | Sequence[int] | None) -> np.ndarray | None:
        """Returns (B,) the seeds of the worlds, None to go on with their streams."""
        if seed is None:
            if self._keys is None:
                return self.np_random.integers(2**31) + np.arange(self.num_envs)
            return None
        given = np.asarray(seed)
        if given.dtype.kind not in "iu" or (given < 0).any() or given.ndim > 1:
            raise ValueError(
                f"seed {seed!r} must be a whole number from 0 on, or {self.num_envs} of them"
            )
        if given.ndim == 0:
            super().reset(seed=int(given))
            return int(given) + np.arange(self.num_envs)
        if len(given) != self.num_envs:
            raise ValueError(f"{len(given)} seeds for {self.num_envs} worlds; give one each")
        return given

    def _info(self, state: State, mask: np.ndarray) -> dict[str, Any]:
        """Returns the figures of the worlds in ``mask`` (B,), in Gymnasium's form."""
        out: dict[str, Any] = {}
        for name, value in state.metrics.items():
            out |= {name: np.where(mask, value, 0.0), f"_{name}": mask.copy()}
        return out

    def _final(self, state: State, ended: np.ndarray) -> dict[str, Any]:
        """Returns what worlds that have ended saw last, and their figures."""
        seen = np.array(state.obs[self._obs])
        last = np.full(self.num_envs, None, object)
        for i in np.flatnonzero(ended):
            last[i] = seen[i]
        final = {"final_obs": last, "final_info": self._info(state, ended)}
        return {**final, "_final_obs": ended.copy(), "_final_info": ended.copy()}


def _swap(mask: jax.Array, fresh: State, state: State) -> State:
    """Returns ``state`` with the worlds of ``mask`` (B,) swapped for ``fresh`` ones."""

    def pick(new: jax.Array, old: jax.Array) -> jax.Array:
        return jnp.where(mask.reshape(mask.shape + (1,) * (new.ndim - 1)), new, old)

    return jax.tree.map(pick, fresh, state)
