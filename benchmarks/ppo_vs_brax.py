"""PPO here against Brax's PPO: one environment, networks, batches, budget and evaluator for both.

What is measured, and how, says benchmarks/head_to_head.py. Each library keeps what is its own: Brax
resets to a world's first state and holds its step size; here finished worlds get fresh ones and the
step size follows the KL. Brax's standard deviation depends on the observation.
"""

import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from importlib.util import find_spec
from typing import Any

import jax
import numpy as np

from benchmarks.head_to_head import (
    HIDDEN,
    STRETCHES,
    TASK,
    UNROLL,
    Ours,
    copied,
    iterations,
    judge,
    run_both,
    shared,
)
from benchmarks.learning_curve import LearningCurve
from benchmarks.rows import Row, Settings
from mjx_s2r.bridge.registry import playground, require
from mjx_s2r.bridge.wrapper import WrappedEnv

CASE = "ppo_vs_brax"


def run(settings: Settings) -> Iterator[Row]:
    """Yields the figures of each seed as soon as it is done, then those of all."""
    if why := _unfit():
        print(f"{CASE} is left out: {why}", file=sys.stderr)
        return
    env = playground(TASK)
    yield from run_both(CASE, Ours(env, settings), _Brax(env, settings), "brax", settings)


def _unfit() -> str:
    """Returns why the case cannot run here; empty if it can."""
    for module, package in (("brax", "brax"), ("mujoco_playground", "playground")):
        if find_spec(module) is None:
            return f"{package} is not installed; pip install 'mjx_s2r[peers]'"
    if jax.__version_info__ >= (0, 10):
        return f"brax 0.14.2 trains on jax below 0.10, and this is {jax.__version__}"
    return ""


@dataclass(frozen=True, eq=False)
class _Brax:
    """Brax's side, on the same environment in Playground's own wrappers."""

    env: WrappedEnv
    settings: Settings

    def train(self, seed: int) -> LearningCurve:
        """Trains once, compiling included, and judges every stretch."""
        config, many = shared(self.settings), iterations(self.settings)
        marks: list[float] = []
        kept: list[Any] = []

        def between(step: int, maker: Any, params: Any) -> None:
            marks.append(time.perf_counter())
            kept.append(copied(params))
            marks.append(time.perf_counter())

        start = time.perf_counter()
        require("brax.training.agents.ppo.train").train(
            environment=self.env.env,
            wrap_env_fn=require("mujoco_playground").wrapper.wrap_for_brax_training,
            num_timesteps=STRETCHES * many * config.num_envs * UNROLL,
            num_evals=STRETCHES + 1,
            run_evals=False,
            policy_params_fn=between,
            episode_length=self.env.episode_steps,
            num_envs=config.num_envs,
            unroll_length=UNROLL,
            batch_size=config.num_envs // config.num_minibatches,
            num_minibatches=config.num_minibatches,
            num_updates_per_batch=config.num_epochs,
            discounting=config.gamma,
            gae_lambda=config.gae_lambda,
            clipping_epsilon=config.clip_epsilon,
            vf_loss_coefficient=config.value_coef,
            entropy_cost=config.entropy_coef,
            learning_rate=config.learning_rate,
            max_grad_norm=config.max_grad_norm,
            reward_scaling=config.reward_scale,
            normalize_observations=True,
            network_factory=_networks,
            seed=seed,
            max_devices_per_host=1,
        )
        seconds = tuple(np.subtract(marks[2::2], marks[1:-1:2]).tolist())
        judged = self._judged(kept[1:])
        return LearningCurve(marks[0] - start, seconds, judged, many * config.num_envs * UNROLL)

    def _judged(self, kept: list[Any]) -> tuple[float, ...]:
        """Returns the return of each kept policy."""
        normalize = require("brax.training.acme.running_statistics").normalize
        size = self.env.shape.obs.shape
        networks = _networks(size, self.env.action_size, preprocess_observations_fn=normalize)
        make = require("brax.training.agents.ppo.networks").make_inference_fn(networks)

        def act(params: Any, obs: dict[str, jax.Array]) -> jax.Array:
            return make(params, deterministic=True)(obs["state"], jax.random.PRNGKey(0))[0]

        score = judge(self.env, act)
        return tuple(float(score(params)) for params in kept)


def _networks(*args: Any, **options: Any) -> Any:
    """Returns Brax's networks in the sizes of ours; both have swish between layers."""
    make = require("brax.training.agents.ppo.networks").make_ppo_networks
    sizes = {"policy_hidden_layer_sizes": HIDDEN, "value_hidden_layer_sizes": HIDDEN}
    return make(*args, **sizes, **options)
