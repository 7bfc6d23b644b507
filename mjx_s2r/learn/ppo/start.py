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
class TaughtCritic:
    """A critic's parameters, and the moments of what it reads."""

    params: Any
    obs_norm: Normalizer


@dataclass(frozen=True, eq=False)
class StudentStart:
    """A student that an actor begins as.

    Attributes:
        student: its network.
        params: its parameters.
        obs_norm: moments of its readings.
        teacher: observations (..., P) -> its teacher's distribution of raw actions (..., J).
        critic: the teacher's critic, to begin with; None begins with a new one.
        updates: over how many updates the imitation fades.
        iteration: of the student's checkpoint.
        sha256: checksum of what it had learnt by then.
    """

    student: StudentNetwork
    params: Any
    obs_norm: Normalizer
    teacher: Callable[[dict[str, jax.Array]], Gaussian]
    critic: TaughtCritic | None
    updates: int
    iteration: int = 0
    sha256: str = ""
