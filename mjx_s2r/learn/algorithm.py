"""The interface of a learning algorithm: init, act, policy, update.

An algorithm knows networks, losses and its own settings. Everything else (resets, rollouts,
cameras, curricula, compiling, checkpoints, logs) is the trainer's, `mjx_s2r.learn.trainer`, written
once for all of them. `mjx_s2r.learn.ppo` and `mjx_s2r.learn.distill` are the algorithms that ship.
"""

from typing import Any, Protocol, runtime_checkable

import jax

from mjx_s2r.curriculum.interface import Episodes
from mjx_s2r.learn.networks.actor_critic import RnnState
from mjx_s2r.learn.networks.gaussian import Gaussian
from mjx_s2r.learn.rollout import Images, Rollout
from mjx_s2r.sim.interface import State


class AlgorithmConfig(Protocol):
    """Settings that the trainer reads of every algorithm."""

    @property
    def num_envs(self) -> int:
        """Number of parallel worlds, B."""
        ...

    @property
    def num_steps(self) -> int:
        """Control steps per rollout, T."""
        ...


class Algorithm(Protocol):
    """A learning algorithm as pure functions of its own state, a pytree."""

    @property
    def config(self) -> AlgorithmConfig:
        """Settings."""
        ...

    def init(self, obs: dict[str, jax.Array], *, key: jax.Array) -> Any:
        """Returns the state before the first update, for observations {name: (B, P)}."""
        ...

    def zero_rnn_state(self, num_envs: int) -> RnnState:
        """Returns the recurrent states (B, H) at the start of an episode; H = 0 without memory."""
        ...

    def act(
        self, state: Any, rnn_state: jax.Array, worlds: State, images: Images, key: jax.Array
    ) -> tuple[jax.Array, jax.Array, Any]:
        """Returns the actor's recurrent state, an exploring raw action (B, J), and extras.

        Extras, a tree of (B, ...), are what `update` needs to know of the moment of acting.
        """
        ...

    def policy(
        self,
        state: Any,
        rnn_state: jax.Array,
        obs: dict[str, jax.Array],
        images: Images,
        is_first: jax.Array,
    ) -> tuple[jax.Array, Gaussian]:
        """Returns the recurrent state (B, H) and the distribution of raw actions (B, J)."""
        ...

    def update(
        self, state: Any, rollout: Rollout, rnn_state: RnnState, *, key: jax.Array
    ) -> tuple[Any, jax.Array, Any]:
        """Learns from a batch.

        Args:
            state: the algorithm's state.
            rollout: T steps in B worlds.
            rnn_state: the recurrent states before the first of them.
            key: random key.

        Returns:
            The state, the critic's recurrent state (B, H) after the last step, and metrics: a
            record of () figures, each written to the run's log under its name.
        """
        ...


@runtime_checkable
class Imitator(Protocol):
    """What an algorithm has besides whose policy acts beside another one, as a student does."""

    def acting(self, state: Any) -> Any:
        """Returns the state as `act` takes it: with the other one, who never changes.

        The other is no part of the state that a training carries on and keeps.
        """
        ...

    def scored_episodes(self, state: Any, rollout: Rollout) -> Episodes:
        """Returns the episodes (T, B) by which the curriculum judges how the policy copes.

        Args:
            state: the algorithm's state while they were acted.
            rollout: T steps in B worlds; its episodes say how long one may take.
        """
        ...

    def picture_scores(self, rollout: Rollout) -> jax.Array:
        """Returns (T, B) in [0, 1] what the policy made of each picture by itself.

        It is asked only where every picture shows a look of its own.
        """
        ...
