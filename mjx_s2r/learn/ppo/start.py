"""Where PPO begins that goes on from a student: its network, its readings, whom it still imitates.

Distillation ends where the student does as the teacher does, as far as it sees; what it could do
better on its own, PPO finds. A new critic would first mislead it, so the teacher's is taken over
where it fits, and a fading divergence from the teacher holds the actor near meanwhile.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import jax

from mjx_s2r.learn.networks.gaussian import Gaussian
from mjx_s2r.learn.networks.modules import StudentNetwork
from mjx_s2r.learn.normalizer import Normalizer


@dataclass(frozen=True, eq=False)
class StudentStart:
    """A student that an actor begins as.

    Attributes:
        student: its network.
        params: its parameters.
        obs_norm: moments of its readings.
        teacher: observations (..., P) -> its teacher's distribution of raw actions (..., J).
        critic: parameters of the teacher's critic.
        critic_norm: moments of what that reads.
        updates: over how many updates the imitation fades.
    """

    student: StudentNetwork
    params: Any
    obs_norm: Normalizer
    teacher: Callable[[dict[str, jax.Array]], Gaussian]
    critic: Any
    critic_norm: Normalizer
    updates: int


def same_shapes(a: Any, b: Any) -> bool:
    """Returns whether two trees have the same structure and shapes."""
    if jax.tree.structure(a) != jax.tree.structure(b):
        return False
    pairs = zip(jax.tree.leaves(a), jax.tree.leaves(b), strict=True)
    return all(x.shape == y.shape for x, y in pairs)
