"""Actor and critic over T steps: image encoders and memory first, then layers.

Everything here takes time-major arrays (T, B, ...); one step is a stretch with T = 1.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, cast

import jax
import jax.numpy as jnp
from flax import struct

from mjx_s2r.learn.networks.gaussian import Gaussian
from mjx_s2r.learn.networks.modules import (
    ActorHead,
    CriticHead,
    StudentNetwork,
    StudentOutput,
    Trunk,
    merge_time,
    split_time,
)
from mjx_s2r.learn.ppo.config import PPOConfig

Images = tuple[jax.Array, ...]  # per camera, (..., H, W, C) uint8


@struct.dataclass
class RnnState:
    """Recurrent states of actor and critic in each world, both (B, H); H = 0 without memory."""

    actor: jax.Array
    critic: jax.Array


@dataclass(frozen=True)
class ActorCritic:
    """The networks that a configuration asks for, without parameters.

    Attributes:
        config: settings of PPO.
        num_actions: J.
        image_shapes: (H, W, C) of each camera that the actor sees.
        student: the network of a student in the actor's place; it computes in float32.
    """

    config: PPOConfig
    num_actions: int
    image_shapes: tuple[tuple[int, int, int], ...] = ()
    student: StudentNetwork | None = None

    @cached_property
    def _actor(self) -> tuple[Trunk, ActorHead]:
        """What stands before the actor's layers, and these."""
        trunk = Trunk(self.config.cnn_channels, self.config.rnn_hidden, self._dtype)
        head = ActorHead(
            self.config.actor_hidden,
            self.num_actions,
            self.config.init_std,
            self._dtype,
            self.config.state_dependent_std,
        )
        return trunk, head

    @cached_property
    def _critic(self) -> tuple[Trunk, CriticHead]:
        """What stands before the critic's layers, and these."""
        trunk = Trunk(rnn_hidden=self.config.rnn_hidden)
        return trunk, CriticHead(self.config.critic_hidden, dtype=self._dtype)

    @property
    def _dtype(self) -> Any:
        """What hidden layers compute in."""
        return jnp.bfloat16 if self.config.bf16 else jnp.float32

    def zero_state(self, worlds: int) -> RnnState:
        """Returns the memory of B worlds that have seen nothing."""
        none = jnp.zeros((worlds, self.config.rnn_hidden))
        return RnnState(none, none)

    def init(self, actor_size: int, critic_size: int, *, key: jax.Array) -> tuple[Any, Any]:
        """Returns parameters of actor and critic for readings (P,) and (Q,)."""
        keys = jax.random.split(key)
        images = tuple(jnp.zeros((1, 1, *shape), jnp.uint8) for shape in self.image_shapes)
        critic = _begin(self._critic, critic_size, (), key=keys[1])
        if self.student is not None:
            memory, first = jnp.zeros((1, self.student.rnn_hidden)), jnp.zeros((1, 1), bool)
            x = jnp.zeros((1, 1, actor_size))
            return self.student.init(keys[0], memory, x, images, first), critic
        return _begin(self._actor, actor_size, images, key=keys[0]), critic

    def policy(
        self, params: Any, memory: jax.Array, x: jax.Array, images: Images, first: jax.Array
    ) -> tuple[jax.Array, Gaussian]:
        """Returns memories (T, B, H) and action distributions (T, B, J).

        Args:
            params: the actor's parameters.
            memory: (B, H) before the first step.
            x: (T, B, P) normalized readings.
            images: per camera (T, B, H, W, C) uint8.
            first: (T, B) bool: an episode begins here.
        """
        if self.student is not None:
            out = cast(StudentOutput, self.student.apply(params, memory, x, images, first))
            return out.rnn_state, out.policy
        return cast(tuple[jax.Array, Gaussian], _run(self._actor, params, memory, x, images, first))

    def deployed_step(
        self, params: Any, memory: jax.Array, x: jax.Array, images: Images
    ) -> tuple[jax.Array, Gaussian]:
        """Returns memory (B, H) and action distribution (B, J) of one step, laid out for ONNX.

        Args:
            params: the actor's parameters.
            memory: (B, H) before the step, which continues an episode.
            x: (B, P) normalized readings.
            images: per camera (B, H, W, C) uint8.
        """
        first = jnp.zeros(x.shape[:1], bool)
        if self.student is not None:
            deployed = self.student.clone(deployed=True)
            out = cast(StudentOutput, deployed.apply(params, memory, x, images, first))
            return out.rnn_state, out.policy
        trunk, head = self._actor
        through: Any = trunk.clone(deployed=True).apply(params["trunk"], memory, x, images, first)
        kept, features = through
        return kept, cast(Gaussian, head.apply(params["head"], features))

    def value(
        self, params: Any, memory: jax.Array, x: jax.Array, first: jax.Array
    ) -> tuple[jax.Array, jax.Array]:
        """Returns memories (T, B, H) and values (T, B); arguments as those of `policy`."""
        return cast(tuple[jax.Array, jax.Array], _run(self._critic, params, memory, x, (), first))


def _begin(
    parts: tuple[Trunk, ActorHead | CriticHead], size: int, images: Images, *, key: jax.Array
) -> dict[str, Any]:
    """Returns the parameters of a trunk and the layers behind it."""
    trunk, head = parts
    keys = jax.random.split(key)
    x, first = jnp.zeros((1, 1, size)), jnp.zeros((1, 1), bool)
    memory = jnp.zeros((1, trunk.rnn_hidden))
    (_, features), held = trunk.init_with_output(keys[0], memory, x, images, first)
    return {"trunk": held, "head": head.init(keys[1], features)}


def _run(
    parts: tuple[Trunk, ActorHead | CriticHead],
    params: Any,
    memory: jax.Array,
    x: jax.Array,
    images: Sequence[jax.Array],
    first: jax.Array,
) -> tuple[Any, Any]:
    """Applies a trunk and the layers behind it.

    Layers see worlds and time as one axis: XLA on a CPU computes the gradient of a kernel four
    times as slowly where there are two. Worlds come first, so that each device keeps its own.
    """
    trunk, head = parts
    through: Any = trunk.apply(params["trunk"], memory, x, images, first)
    kept, features = through
    out = head.apply(params["head"], merge_time(features))
    return kept, jax.tree.map(lambda y: split_time(y, first.shape[0]), out)
