"""What a command, a benchmark or a judge needs of a learner, whatever it learns by.

`mjx_s2r.learn.ppo.learner.Ppo` has it. What a training's state is, only
its learner knows.
"""

from collections.abc import Iterator
from typing import Any, Protocol

import jax
from jax.stages import Lowered

from mjx_s2r.curriculum.interface import Curriculum
from mjx_s2r.learn.compiled_step import CompiledStep
from mjx_s2r.learn.networks.actor_critic import Images, RnnState
from mjx_s2r.learn.networks.gaussian import Gaussian
from mjx_s2r.sim.interface import Environment, State


class Settings(Protocol):
    """What every learner's settings say."""

    @property
    def num_envs(self) -> int:
        """Number of worlds, B."""
        ...

    @property
    def num_steps(self) -> int:
        """Control steps per iteration, T."""
        ...

    @property
    def actor_obs(self) -> str:
        """What the actor reads."""
        ...

    @property
    def rnn_hidden(self) -> int:
        """Size of the actor's memory, H; 0 remembers nothing."""
        ...


class Networks(Protocol):
    """What every learner's networks can do."""

    def zero_state(self, worlds: int) -> RnnState:
        """Returns the memory of ``worlds`` episodes that have not begun."""
        ...


class Learner(Protocol):
    """An environment, a schedule and settings, and how to learn from them."""

    @property
    def env(self) -> Environment:
        """The environment of one world."""
        ...

    @property
    def curriculum(self) -> Curriculum:
        """The schedule."""
        ...

    @property
    def config(self) -> Settings:
        """Settings."""
        ...

    @property
    def nets(self) -> Networks:
        """The networks."""
        ...

    @property
    def iteration(self) -> CompiledStep:
        """What `iterate` runs, in its parts."""
        ...

    def init(self, key: jax.Array) -> Any:
        """Returns the training's state before the first iteration."""
        ...

    def programs(self, key: jax.Array) -> Iterator[Lowered]:
        """Yields the programs that `init` and `iterate` run, traced; see `compile_together`."""
        ...

    def iterate(self, state: Any) -> tuple[Any, Any]:
        """Runs one iteration; returns the state and its metrics. The old state is given away."""
        ...

    def apply_policy(
        self, state: Any, memory: jax.Array, worlds: State, images: Images = ()
    ) -> tuple[jax.Array, Gaussian]:
        """Returns the memory (B, H) after this step and the distribution of actions (B, J)."""
        ...

    def policy(self, state: Any, obs: dict[str, jax.Array]) -> Gaussian:
        """Returns the distribution of actions (..., J) of an actor without memory or cameras."""
        ...
