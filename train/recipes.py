"""Settings that fit a task: what `train teacher` and `train student` start from.

A recipe can also be a file: JSON in the shape of the settings, with as many of them as it cares to
name. The config.json of any run is one.
"""

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import tyro

from mjx_s2r.io.config import ConfigError
from mjx_s2r.learn.distill.learner import DistillConfig
from mjx_s2r.learn.ppo.config import PPOConfig

PPO = {
    "reach": PPOConfig(reward_scale=0.1),
    "cartpole": PPOConfig(
        num_envs=512,
        num_steps=32,
        num_minibatches=8,
        gamma=0.995,
        entropy_coef=0.01,
        init_std=1.0,
    ),
    "lift": PPOConfig(
        num_envs=1024,
        num_steps=16,
        num_minibatches=8,
        entropy_coef=5e-3,
        target_kl=0.02,
        reward_scale=0.1,
        actor_hidden=(128, 128),
        critic_hidden=(128, 128),
    ),
    # reorient has not been trained to its end: this is where to begin.
    "reorient": PPOConfig(
        num_envs=2048,
        num_steps=40,
        num_minibatches=16,
        gamma=0.99,
        entropy_coef=0.01,
        actor_hidden=(256, 128, 64),
        critic_hidden=(256, 128, 64),
    ),
    "quadruped": PPOConfig(
        num_steps=24,
        gamma=0.97,
        entropy_coef=0.005,
        target_kl=0.02,
        actor_hidden=(128, 128, 64),
        critic_hidden=(128, 128, 64),
    ),
}
PPO["quadruped_rough"] = PPO["quadruped"]
# The same task in MuJoCo Playground; benchmarks/ppo_vs_brax.py measures it with these.
PPO["playground:CartpoleSwingup"] = replace(PPO["cartpole"], num_steps=30, actor_obs="state")
ITERATIONS = {"reach": 120, "cartpole": 400, "quadruped": 800, "lift": 300, "reorient": 2500}
ITERATIONS["quadruped_rough"] = ITERATIONS["quadruped"]

DISTILL = {
    "reach": DistillConfig(),
    "cartpole": DistillConfig(num_steps=16),
}

ONCE = ("run", "resume", "recipe")  # settings of one run, which no other takes over


@dataclass(frozen=True)
class _Start:
    """The first look at a command line."""

    task: str = ""
    recipe: Path | None = None


def base(argv: Sequence[str]) -> tuple[str, Path | None]:
    """Returns the task and the recipe's file that the other settings of a command line start from.

    They are called --task and --recipe, or --teacher.task and --teacher.recipe.
    """
    words = [re.sub(r"^--teacher\.(task|recipe)\b", r"--\1", word) for word in argv]
    found = tyro.cli(_Start, args=words, return_unknown_args=True, add_help=False)[0]
    return found.task, found.recipe


def read(file: Path) -> dict[str, Any]:
    """Returns the settings in a recipe's file, without those of one run only.

    Raises:
        ConfigError: no such file, or not an object in JSON.
    """
    try:
        body = json.loads(file.read_text())
    except OSError as error:
        raise ConfigError(
            f"recipe {file}: cannot be read ({error.strerror}); name a JSON file, such as the "
            "config.json of a run"
        ) from error
    except ValueError as error:
        raise ConfigError(f"recipe {file}: not JSON ({error})") from error
    if not isinstance(body, dict):
        raise ConfigError(f"recipe {file}: expected settings in braces, got {str(body)[:40]}")
    return {name: value for name, value in body.items() if name not in ONCE}


def ppo_recipe(task: str) -> PPOConfig:
    """Returns the PPO settings of a task, the general ones where it has none of its own."""
    return PPO.get(task, PPOConfig())


def distill_recipe(task: str) -> DistillConfig:
    """Returns the distillation settings of a task."""
    return DISTILL.get(task, DistillConfig())
