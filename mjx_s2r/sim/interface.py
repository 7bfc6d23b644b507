"""The interface of an environment: its state, the parameters of an episode, reset and step.

`mjx_s2r.sim.env` has the project's own environment; adapters put other people's in the same form.
`State` has Brax's fields (obs, reward, done, metrics, info and pipeline_state). Termination and
truncation are kept apart:

    info["terminated"]  the task failed or is done; the future is worth nothing
    info["truncated"]   time ran out: the future goes on, bootstrap it
    done                either of the two

`step` never resets. `auto_reset` swaps finished worlds for fresh ones, and the state before it
still holds the last observation.
"""

from dataclasses import replace
from typing import Any, Protocol

import jax
import jax.numpy as jnp
from flax import struct

from mjx_s2r.params import ParamSpace

LARGEST = 1e10  # beyond this a number counts as not finite: its square may overflow float32


@struct.dataclass
class EpisodeParams:
    """Parameters of one episode, as its curriculum drew them.

    Attributes:
        xi: (D,) the world's parameters.
        kind: () int32; -1 plain, 2i or 2i+1 when row i is held at its lower or upper bound.
        version: () int32 how often that bound had moved when this was drawn.
    """

    xi: jax.Array
    kind: jax.Array
    version: jax.Array


@struct.dataclass
class State:
    """Brax's state of an environment; obs is {"state": (P,), "privileged": (Q,)}."""

    pipeline_state: Any
    obs: dict[str, jax.Array]
    reward: jax.Array
    done: jax.Array
    metrics: dict[str, jax.Array]
    info: dict[str, Any]


class Environment(Protocol):
    """Environment of one world, as a trainer needs it; `Env` and `WrappedEnv` are such.

    Observations are {"state": (P,), "privileged": (Q,)}; ``pipeline_state`` has the fields
    episode_params (`EpisodeParams`) and steps (() int32), whatever else it holds.
    """

    @property
    def action_size(self) -> int:
        """Number of action components, J."""
        ...

    @property
    def space(self) -> ParamSpace:
        """The table of parameters."""
        ...

    @property
    def episode_steps(self) -> int:
        """Longest episode, control steps."""
        ...

    def reset(self, key: jax.Array, draw: EpisodeParams | None = None) -> State:
        """Starts an episode with the parameters of ``draw``, nominal if absent."""
        ...

    def step(self, state: State, action: jax.Array) -> State:
        """Returns the state one control step later under ``action`` (J,) in [-1, 1]."""
        ...


def nominal_params(space: ParamSpace) -> EpisodeParams:
    """Returns the draw that leaves the model unchanged."""
    minus_one, zero = jnp.int32(-1), jnp.int32(0)
    return EpisodeParams(jnp.asarray(space.nominal), minus_one, zero)


def all_finite(*arrays: jax.Array | float) -> jax.Array:
    """Returns () bool: every number in every array is finite and below `LARGEST`."""
    return jnp.stack([(jnp.abs(x) < LARGEST).all() for x in arrays]).all()


def auto_reset(state: State, fresh: State) -> State:
    """Returns ``state`` with finished worlds (leading axis B) swapped for ``fresh`` ones.

    Reward, done, metrics and info stay those of the step that has just been taken.
    """
    over = state.done > 0

    def pick(new: jax.Array, old: jax.Array) -> jax.Array:
        mask = over.reshape(over.shape + (1,) * (old.ndim - over.ndim))
        return jnp.where(mask, new, old)

    return replace(
        state,
        pipeline_state=jax.tree.map(pick, fresh.pipeline_state, state.pipeline_state),
        obs=jax.tree.map(pick, fresh.obs, state.obs),
    )


def keep_per_env_rows(space: ParamSpace, draws: EpisodeParams, old: EpisodeParams) -> EpisodeParams:
    """Returns ``draws`` (B, ...) for fresh worlds with the rows per world kept from ``old``.

    World b of both is the same world. Schedules have no say over such rows and cannot test them.
    """
    mine = space.where("resample", "world")
    if not mine.any():
        return draws
    return replace(draws, xi=jnp.where(mine, old.xi, draws.xi))
