"""Settings that fit a task: what `train teacher` and `train student` start from."""

from mjx_s2r.learn.distill import DistillConfig
from mjx_s2r.learn.ppo import PpoConfig

PPO = {
    "reach": PpoConfig(reward_scale=0.1),
    "cartpole": PpoConfig(
        worlds=512,
        unroll=32,
        minibatches=8,
        discount=0.995,
        entropy_weight=0.01,
    ),
}
ITERATIONS = {"reach": 120, "cartpole": 400}

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
