"""An algorithm of three files that knows nothing of the trainer learns, and resumes to the bit."""

from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from mjx_s2r.curriculum.uniform import uniform
from mjx_s2r.io.checkpoint_leaves import is_key
from mjx_s2r.io.config import ConfigError
from mjx_s2r.io.run import METRICS, read_jsonl
from mjx_s2r.learn.trainer import Trainer, TrainState, fit
from mjx_s2r.sim.interface import EpisodeParams
from tests.learn.probes import Probe
from tests.learn.toy_algorithm.config import ReinforceConfig
from tests.learn.toy_algorithm.reinforce import Reinforce

LENGTH = 4
BLIND = 0.75 * LENGTH  # the most that a policy gets which does not see the step: action 0
GOOD = 0.9 * LENGTH + 0.1 * BLIND  # and one drawn at random, which sees it, reaches about 3.3


def toy_trainer(config: ReinforceConfig) -> Trainer:
    """Returns a trainer by REINFORCE; even steps pay most for 0.5, odd ones for -0.5."""

    def reward(step: jax.Array, action: jax.Array) -> jax.Array:
        return 1 - (action[0] - jnp.where(step % 2, -0.5, 0.5)) ** 2

    env = Probe(LENGTH, reward)
    return Trainer(env, uniform(env.space), Reinforce(config, env.action_size))


def mean_return(trainer: Trainer, state: TrainState) -> float:
    """Returns the return of an episode without exploration."""
    one = jnp.zeros(1, jnp.int32)
    params = EpisodeParams(jnp.zeros((1, 0)), one - 1, one)
    return float(trainer.evaluate(state, params, key=jax.random.key(0)).episode_return[0])


@pytest.mark.slow
def test_it_learns_what_no_policy_can_guess() -> None:
    trainer = toy_trainer(ReinforceConfig())
    state = trainer.init(jax.random.key(0))
    assert mean_return(trainer, state) < GOOD
    for _ in range(200):
        state, metrics = trainer.iterate(state)
    assert mean_return(trainer, state) > GOOD
    explored = float(metrics.episodes.return_sum) / float(metrics.episodes.episodes)
    assert explored > GOOD
    assert float(metrics.loss.baseline_loss) < 0.1


@dataclass(frozen=True)
class ToyRun:
    """Settings of a run by REINFORCE: what `fit` reads, and the algorithm's."""

    run: Path
    seed: int = 3
    log_every: int = 1
    checkpoint_every: int = 2
    keep: int = 1
    resume: bool = False
    devices: int = 1
    eval_every: int = 0
    wandb: str = ""
    profile: int = 0
    reinforce: ReinforceConfig = field(default_factory=lambda: ReinforceConfig(num_envs=8))


def fitted(config: ToyRun, iterations: int) -> TrainState:
    """Returns the state at the end of a run."""
    may_change = ("run", "resume")
    trainer = toy_trainer(config.reinforce)
    names = {"what": "toy", "task": "steps", "iterations": iterations, "may_change": may_change}
    return fit(trainer, config, **names)  # type: ignore[arg-type]


def bits(state: TrainState) -> list[bytes]:
    """Returns the bytes of every leaf."""

    def raw(leaf: Any) -> Any:
        return jax.random.key_data(leaf) if is_key(leaf) else leaf

    return [np.asarray(raw(leaf)).tobytes() for leaf in jax.tree.leaves(state)]


@pytest.mark.slow
def test_a_run_in_two_parts_is_the_run_in_one(tmp_path: Path) -> None:
    config = ToyRun(tmp_path / "parts")
    first = fitted(config, 3)
    second = fitted(replace(config, resume=True), 6)
    whole = fitted(ToyRun(tmp_path / "whole"), 6)
    assert bits(second) == bits(whole) != bits(first)
    lines = read_jsonl(config.run / METRICS)
    assert [line["step"] for line in lines] == [1, 2, 3, 4, 5, 6]
    assert {"actor_loss", "baseline_loss", "return", "steps_per_s"} <= set(lines[-1])


@pytest.mark.parametrize("name", ["log_every", "checkpoint_every", "keep"])
def test_a_run_without_lines_or_checkpoints_does_not_begin(name: str, tmp_path: Path) -> None:
    wrong: dict[str, Any] = {name: 0}
    with pytest.raises(ConfigError, match=f"{name} 0 must be at least 1"):
        fitted(replace(ToyRun(tmp_path / "run"), **wrong), 3)
    assert not (tmp_path / "run").exists()
