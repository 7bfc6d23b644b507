"""Environments of Brax, of MuJoCo Playground and of their shape, in this project's interface.

They have reset(rng) -> state and step(state, action) -> state of one world, where the state has
obs, reward, done, metrics and info. `WrappedEnv` gives them the rest of
`mjx_s2r.sim.interface.Environment`:

- The time limit is kept here and truncates; their own ``done`` terminates.
- Nothing resets itself: hand over the bare environment, without the wrappers of a training.
- Observations are an array, or a dict with "state" and perhaps "privileged_state". With a table,
  "privileged" ends in xi, as in our own environments.
- A world with numbers that are not finite is ended, zeroed and counted.
- Rows on the model act on theirs (`mjx_s2r.bridge.model_override`); only what their step reads is
  carried (`mjx_s2r.bridge.state_pruning`).
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

import jax
import jax.numpy as jnp
from flax import struct

from mjx_s2r.bridge.model_override import ModelOverride, bind_model_override, within
from mjx_s2r.bridge.state_pruning import carried, pack, settle, strong, unpack
from mjx_s2r.params import ParamError, ParamSpace
from mjx_s2r.sim.interface import EpisodeParams, State, all_finite, nominal_params
from mjx_s2r.sim.physics import Leaves

NO_ROWS = ParamSpace(())
BODY = ("qpos", "qvel", "q", "qd")  # names of positions and speeds in Brax and Playground
WRAPPED = ("truncation", "first_obs", "AutoResetWrapper_first_obs")

Success = Callable[[Any], jax.Array]


@struct.dataclass
class WrappedState:
    """State of one world.

    Attributes:
        kept: leaves of the environment's own state that its step reads.
        leaves: model fields of this world.
        episode_params: the episode's parameters and kind.
        steps: () int32 control steps so far.
        success: () bool the episode has succeeded.
        total: () return so far.
        invalid: () bool the episode began with numbers that are not finite.
    """

    kept: tuple[jax.Array, ...]
    leaves: Leaves
    episode_params: EpisodeParams
    steps: jax.Array
    success: jax.Array
    total: jax.Array
    invalid: jax.Array


@struct.dataclass
class WrappedStep:
    """Outcome of one step: obs (state and privileged), reward, and three flags, all ()."""

    obs: tuple[jax.Array, jax.Array]
    reward: jax.Array
    failed: jax.Array
    success: jax.Array
    nan: jax.Array


@dataclass(frozen=True, eq=False)
class WrappedEnv:
    """Another library's environment as one of ours. Build it with `from_brax`.

    Attributes:
        name: what errors call it.
        env: the environment of one world.
        space: rows on its model.
        episode_steps: longest episode, control steps.
        action_repeat: steps of the environment under one action.
        success: (its state) -> () whether the episode has succeeded; None for never.
        swap: the rows bound to its model; None without rows.
        shape: its state, as shapes and types.
        keep: which leaves of that are carried.
    """

    name: str
    env: Any
    space: ParamSpace
    episode_steps: int
    action_repeat: int
    success: Success | None
    swap: ModelOverride | None
    shape: Any
    keep: tuple[bool, ...]

    @property
    def action_size(self) -> int:
        """Number of action components, J."""
        return int(self.env.action_size)

    def reset(self, key: jax.Array, draw: EpisodeParams | None = None) -> State:
        """Starts an episode with the parameters of ``draw``, nominal if absent."""
        draw = nominal_params(self.space) if draw is None else draw
        draw = replace(draw, xi=self.space.snap_discrete(jnp, draw.xi))
        model = {} if self.swap is None else self.swap.leaves(draw.xi)
        inner = _begin(within(self.env, self.swap, model), key)
        no, zero = jnp.zeros((), bool), jnp.float32(0)
        seen = _split(inner.obs)
        invalid = ~all_finite(*seen, *_body(inner))
        obs = self._told(seen, draw.xi)
        return State(
            pipeline_state=WrappedState(
                pack(inner, self.keep), model, draw, jnp.int32(0), no, zero, invalid
            ),
            obs=jax.tree.map(lambda x: jnp.where(invalid, 0.0, x), obs),
            reward=zero,
            done=zero,
            metrics={
                "success": zero,
                "return": zero,
                "length": zero,
                "nan": jnp.float32(invalid),
            },
            info={"terminated": no, "truncated": no},
        )

    def step(self, state: State, action: jax.Array) -> State:
        """Returns the state one control step later under ``action`` (J,) in [-1, 1]."""
        guest = state.pipeline_state
        before = unpack(guest.kept, self.shape, self.keep)
        inner, seen = self.advance(before, jnp.clip(action, -1.0, 1.0), guest.leaves)
        nan = seen.nan | guest.invalid
        reward = jnp.where(nan, 0.0, seen.reward)
        steps, success = guest.steps + 1, guest.success | seen.success
        terminated = seen.failed | nan
        truncated = (steps >= self.episode_steps) & ~terminated
        guest = replace(
            guest,
            kept=pack(inner, self.keep),
            steps=steps,
            success=success,
            total=guest.total + reward,
        )
        obs = self._told(seen.obs, guest.episode_params.xi)
        metrics = {"success": success, "return": guest.total, "length": steps, "nan": nan}
        return State(
            pipeline_state=guest,
            obs=jax.tree.map(lambda x: jnp.where(nan, 0.0, x), obs),
            reward=reward,
            done=(terminated | truncated).astype(jnp.float32),
            metrics={name: jnp.asarray(v, jnp.float32) for name, v in metrics.items()},
            info={"terminated": terminated, "truncated": truncated},
        )

    def advance(self, before: Any, action: jax.Array, model: Leaves) -> tuple[Any, WrappedStep]:
        """Returns the environment's own state after a control step, and what is watched of it."""
        env = within(self.env, self.swap, model)

        def one(carry: tuple, _: None) -> tuple[tuple, None]:
            inner, total, over = carry
            after = settle(env.step(inner, action), self.shape, self.name)
            total = total + jnp.where(over, 0.0, jnp.asarray(after.reward, jnp.float32))
            if self.action_repeat > 1:  # an episode that has ended stays where it ended
                after = jax.tree.map(lambda new, old: jnp.where(over, old, new), after, inner)
            return (after, total, over | (after.done > 0)), None

        carry = (before, jnp.float32(0), jnp.zeros((), bool))
        if self.action_repeat > 1:
            inner, reward, over = jax.lax.scan(one, carry, length=self.action_repeat)[0]
        else:
            inner, reward, over = one(carry, None)[0]
        obs = _split(inner.obs)
        success = jnp.zeros((), bool) if self.success is None else self.success(inner) > 0
        return inner, WrappedStep(
            obs, reward, over, success, ~all_finite(*obs, reward, *_body(inner))
        )

    def _told(self, obs: tuple[jax.Array, jax.Array], xi: jax.Array) -> dict[str, jax.Array]:
        """Returns our two observations."""
        shown = self.space.normalize(jnp, xi)
        return {"state": obs[0], "privileged": jnp.concatenate((obs[1], shown))}


def from_brax(
    env: Any,
    space: ParamSpace = NO_ROWS,
    *,
    episode_length: int = 1000,
    action_repeat: int = 1,
    success: Success | None = None,
    name: str = "",
) -> WrappedEnv:
    """Returns an environment of Brax's or Playground's shape as one of ours.

    Args:
        env: the bare environment of one world.
        space: rows on its model.
        episode_length: longest episode in the environment's own steps, as Brax counts it.
        action_repeat: own steps under one action.
        success: (its state) -> () whether the episode has succeeded, at any step.
        name: what errors call it; the name of its class if empty.

    Raises:
        ParamError: wrappers of a training around it, observations that are no vectors, a row that
            does not fit, sizes below one.
        ModelError: a row that would have no effect, or leave an impossible model.
    """
    name = name or type(env).__name__
    for label, value in (("episode_length", episode_length), ("action_repeat", action_repeat)):
        if value < 1:
            raise ParamError(f"{name}: {label} {value} must be at least 1")
    swap = bind_model_override(env, space, name)
    shape = jax.eval_shape(lambda key: _begin(env, key), jax.random.key(0))
    _check(shape, name)
    steps = -(-episode_length // action_repeat)
    bare = WrappedEnv(name, env, space, steps, action_repeat, success, swap, shape, ())
    action = jax.ShapeDtypeStruct((bare.action_size,), jnp.float32)
    xi = jax.ShapeDtypeStruct((len(space),), jnp.float32)
    model = {} if swap is None else jax.eval_shape(swap.leaves, xi)
    return replace(bare, keep=carried(bare.advance, shape, action, model))


def _begin(env: Any, key: jax.Array) -> Any:
    """Returns the environment's own first state. It gets the kind of key that all of them take."""
    typed = jnp.issubdtype(key.dtype, jax.dtypes.prng_key)
    state = env.reset(jax.random.key_data(key) if typed else key)
    return jax.tree.map(strong, state)


def _check(shape: Any, name: str) -> None:
    """Raises ParamError for wrapped environments and observations that are no vectors."""
    if wrapped := set(WRAPPED) & set(shape.info):
        raise ParamError(
            f"{name} is wrapped for a training (its info holds {sorted(wrapped)}): episodes are "
            "ended and reset here; hand over env.unwrapped"
        )
    if isinstance(shape.obs, Mapping) and "state" not in shape.obs:
        raise ParamError(
            f"{name} observes {sorted(shape.obs)} and no 'state'; a learner here reads 'state' and "
            "'privileged_state'"
        )
    for part in _split(shape.obs):
        if part.ndim != 1:
            raise ParamError(
                f"{name} has an observation of shape {part.shape}; it must be one vector of one "
                "world (batches are made here, pictures cannot be read)"
            )


def _split(obs: Any) -> tuple[Any, Any]:
    """Returns the observations of policy and teacher; one twice where there is only one."""
    parts = (obs, obs)
    if isinstance(obs, Mapping):
        parts = (obs["state"], obs.get("privileged_state", obs["state"]))
    if isinstance(parts[0], jax.ShapeDtypeStruct):
        return parts
    return jnp.asarray(parts[0], jnp.float32), jnp.asarray(parts[1], jnp.float32)


def _body(inner: Any) -> list[jax.Array]:
    """Returns positions and speeds of a state, where it has them under a known name."""
    holder = getattr(inner, "data", None)
    holder = getattr(inner, "pipeline_state", None) if holder is None else holder
    return [x for name in BODY if (x := getattr(holder, name, None)) is not None]
