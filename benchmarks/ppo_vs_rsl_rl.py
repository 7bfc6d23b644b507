"""PPO here against rsl_rl's PPO (Isaac Lab, mjlab): one environment, settings, budget and judge.

What is measured, and how, says benchmarks/head_to_head.py. The environment is Playground's, as in
ppo_vs_brax: it belongs to neither side, Playground itself lends its environments to rsl_rl, and
figures of the three libraries are of one task. rsl_rl's own runner drives the compiled step through
benchmarks/torch_worlds.py. Torch gets one thread or as many as there are cores, whichever a trial
finds faster. Nothing is logged, and nothing is searched for NaN (the environment ends worlds that
are not finite).

Each library keeps what is its own. rsl_rl's actions are clipped by the environment and not
squashed. Their standard deviation starts at 1 on both sides: from 0.6 rsl_rl's learned later (394
against 862 after three million steps, one seed), and so did ours. It clips the gradients of actor
and critic apart, and shuffles once per rollout. Where time ran out it adds the value of what was
seen before the last step; here it is the value of what was seen after it.

Where its time goes: "env" is the compiled step and the way there and back, "update" the gradient
steps, "policy" the rest: asking the networks, and storing. They are exact where torch does not run
ahead of Python, on a CPU.
"""

import os
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import redirect_stdout
from dataclasses import dataclass
from functools import cached_property, partial
from importlib.util import find_spec
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import struct

from benchmarks.head_to_head import (
    STRETCHES,
    TASK,
    UNROLL,
    Ours,
    iterations,
    judge,
    run_both,
    shared,
)
from benchmarks.learning_curve import COMPILING, LearningCurve
from benchmarks.rows import BenchmarkError, Row, Settings
from benchmarks.timing import measure
from benchmarks.torch_worlds import TorchWorlds
from mjx_s2r.bridge.registry import playground, require
from mjx_s2r.bridge.wrapper import WrappedEnv
from mjx_s2r.learn.networks.swish import swish
from mjx_s2r.learn.ppo.config import PPOConfig

CASE = "ppo_vs_rsl_rl"
TRIAL = 3  # iterations
NEEDED = {"torch": "torch", "rsl_rl": "rsl-rl-lib", "mujoco_playground": "playground"}


def run(settings: Settings) -> Iterator[Row]:
    """Yields the figures of each seed as soon as it is done, then those of all."""
    if why := _unfit():
        print(f"{CASE} is left out: {why}", file=sys.stderr)
        return
    env = playground(TASK)
    theirs = _RslRl(env, settings)
    yield Row(CASE, "rsl_rl.threads", theirs.threads, "1")
    yield from run_both(CASE, Ours(env, settings), theirs, "rsl_rl", settings)


def _unfit() -> str:
    """Returns why the case cannot run here; empty if it can."""
    lacking = [package for module, package in NEEDED.items() if find_spec(module) is None]
    if lacking:
        return f"{', '.join(lacking)} not installed; pip install 'mjx_s2r[rsl_rl]'"
    return ""


def recipe(config: PPOConfig) -> dict[str, Any]:
    """Returns the settings of rsl_rl's runner (5.5) that mean what ``config`` says.

    Our value loss is half the squared error, rsl_rl's the whole.
    """
    model = {"class_name": "MLPModel", "activation": "swish", "obs_normalization": True}
    spread = {"class_name": "GaussianDistribution"}
    return {
        "num_steps_per_env": config.num_steps,
        "check_for_nan": False,
        "obs_groups": {"actor": [config.actor_reads], "critic": [config.critic_obs]},
        "actor": {**model, "hidden_dims": list(config.actor_hidden), "distribution_cfg": spread},
        "critic": {**model, "hidden_dims": list(config.critic_hidden)},
        "algorithm": {
            "class_name": "PPO",
            "num_learning_epochs": config.num_epochs,
            "num_mini_batches": config.num_minibatches,
            "clip_param": config.clip_epsilon,
            "gamma": config.gamma,
            "lam": config.gae_lambda,
            "value_loss_coef": 0.5 * config.value_coef,
            "use_clipped_value_loss": config.value_clip > 0,
            "entropy_coef": config.entropy_coef,
            "learning_rate": config.learning_rate,
            "max_grad_norm": config.max_grad_norm,
            "schedule": "adaptive" if config.target_kl > 0 else "fixed",
            "desired_kl": config.target_kl,
        },
    }


@struct.dataclass
class Copy:
    """rsl_rl's actor: mean (P,) and std (P,) of what it sees; layers (out, in) and (out,)."""

    mean: Any
    std: Any
    layers: tuple[tuple[Any, Any], ...]


def answer(actor: Copy, obs: jax.Array) -> jax.Array:
    """Returns the mean action (B, J) to observations (B, P), not clipped."""
    x = (obs - actor.mean) / actor.std
    for weight, bias in actor.layers[:-1]:
        x = swish(x @ weight.T + bias)
    weight, bias = actor.layers[-1]
    return x @ weight.T + bias


def shares(seconds: np.ndarray) -> dict[str, float]:
    """Returns the share of each part of the time (K, 3): whole, env and update in each stretch."""
    whole, env, update = seconds[COMPILING:].sum(0)
    return {
        "env": float(env / whole),
        "policy": float((whole - env - update) / whole),
        "update": float(update / whole),
    }


class TimedStep:
    """A function that remembers how long its calls took in all, s."""

    def __init__(self, function: Callable[..., Any]) -> None:
        """Takes the function."""
        self._function, self.seconds = function, 0.0

    def __call__(self, *args: Any) -> Any:
        """Calls it."""
        start = time.perf_counter()
        out = self._function(*args)
        self.seconds += time.perf_counter() - start
        return out


@dataclass(frozen=True, eq=False)
class _RslRl:
    """rsl_rl's side: its runner and its algorithm, untouched."""

    env: WrappedEnv
    settings: Settings

    def train(self, seed: int) -> LearningCurve:
        """Trains once, compiling included, and judges every stretch."""
        require("torch").set_num_threads(self.threads)
        many = iterations(self.settings)
        start = time.perf_counter()
        runner = self._runner(seed)
        begun = time.perf_counter() - start
        runner.env.step, runner.alg.update = (
            TimedStep(runner.env.step),
            TimedStep(runner.alg.update),
        )
        marks, kept = [], []
        for _ in range(STRETCHES):
            before = time.perf_counter(), runner.env.step.seconds, runner.alg.update.seconds
            runner.learn(many)
            after = time.perf_counter(), runner.env.step.seconds, runner.alg.update.seconds
            marks.append(np.subtract(after, before))
            kept.append(copy(runner.alg.get_policy()))
        agree(kept[-1], runner.alg.get_policy(), runner.env.get_observations())
        seconds, steps = np.array(marks), many * self.settings.num_envs * UNROLL
        whole = tuple(seconds[:, 0].tolist())
        return LearningCurve(begun, whole, self._judged(kept), steps, shares(seconds))

    @cached_property
    def threads(self) -> int:
        """How many threads make torch faster here: one, or one per core."""
        return faster_threads(self._runner(0), TRIAL)

    def _runner(self, seed: int) -> Any:
        """Returns rsl_rl's runner with its networks and worlds."""
        require("torch").manual_seed(seed)
        config = shared(self.settings)
        worlds = TorchWorlds(self.env, config, key=jax.random.key(seed))
        make = require("rsl_rl.runners").OnPolicyRunner
        with redirect_stdout(None):  # it prints its networks
            return make(worlds, recipe(config), device=worlds.device)

    def _judged(self, kept: Sequence[Copy]) -> tuple[float, ...]:
        """Returns the return of each kept policy."""

        def act(actor: Copy, obs: dict[str, jax.Array]) -> jax.Array:
            return jnp.clip(answer(actor, obs["state"]), -1.0, 1.0)

        score = judge(self.env, act)
        return tuple(float(score(actor)) for actor in kept)


def faster_threads(runner: Any, iterations: int) -> int:
    """Returns with how many threads torch is faster, one or one per core, in so many iterations."""
    torch = require("torch")

    def trial(threads: int) -> None:
        torch.set_num_threads(threads)
        runner.learn(iterations)

    counts = sorted({1, os.cpu_count() or 1})
    timings = measure({str(n): partial(trial, n) for n in counts}, repeat=3)
    return min(counts, key=lambda n: timings[str(n)].median_s)


def copy(policy: Any) -> Copy:
    """Returns a copy of rsl_rl's actor (MLPModel) on the host."""

    def numbers(x: Any) -> np.ndarray:
        return np.array(x.detach().cpu().numpy(), copy=True)

    norm = policy.obs_normalizer
    layers = [layer for layer in policy.mlp if hasattr(layer, "weight")]
    return Copy(
        mean=numbers(norm.mean),
        std=numbers(norm.std) + np.float32(norm.eps),
        layers=tuple((numbers(layer.weight), numbers(layer.bias)) for layer in layers),
    )


def agree(actor: Copy, policy: Any, obs: Any) -> None:
    """Checks a copy against what rsl_rl's own inference answers to ``obs``.

    Raises:
        BenchmarkError: they differ.
    """
    with require("torch").inference_mode():
        theirs = policy(obs).cpu().numpy()
    mine = np.asarray(answer(actor, jnp.asarray(obs["state"].cpu().numpy())))
    worst = float(np.abs(mine - theirs).max())
    if worst > 1e-3 * (1 + float(np.abs(theirs).max())):
        raise BenchmarkError(
            f"{CASE}: the actor of this rsl-rl-lib answers otherwise than its copy here, by "
            f"{worst:.2g}; install rsl-rl-lib 5.5"
        )
