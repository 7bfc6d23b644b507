"""Settings of REINFORCE."""

from dataclasses import dataclass


@dataclass(frozen=True)
class ReinforceConfig:
    """Settings of REINFORCE."""

    num_envs: int = 64
    """Number of worlds, B."""
    num_steps: int = 8
    """Control steps per rollout, T."""
    gamma: float = 0.9
    """gamma per control step."""
    learning_rate: float = 0.03
    """Adam step size."""
    init_std: float = 0.6
    """Standard deviation of raw actions at the start."""
