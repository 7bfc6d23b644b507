"""Settings that fit a task: what `train teacher` and `train student` start from."""

from mjx_s2r.learn.distill import DistillConfig
from mjx_s2r.learn.ppo import PpoConfig

PPO = {
    "reach": PpoConfig(reward_scale=0.1),
    "cartpole": PpoConfig(
        worlds=256,
        unroll=32,
        discount=0.99,
        reward_scale=0.1,
        entropy_weight=1e-3,
        learning_rate=1e-3,
    ),
}
ITERATIONS = {"reach": 140, "cartpole": 200}

DISTILL = {
    "reach": DistillConfig(),
    "cartpole": DistillConfig(unroll=16),
}


def ppo_recipe(task: str) -> PpoConfig:
    """Returns the PPO settings of a task, the general ones where it has none of its own."""
    return PPO.get(task, PpoConfig())


def distill_recipe(task: str) -> DistillConfig:
    """Returns the distillation settings of a task."""
    return DISTILL.get(task, DistillConfig())
