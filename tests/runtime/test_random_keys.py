"""Keys that are folded beside a split are none of the split's; evaluations are of other worlds."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import jax
import numpy as np
import pytest

from mjx_s2r.api import door
from mjx_s2r.eval.performance import performance_of
from mjx_s2r.learn.rollout import ResetPool
from mjx_s2r.learn.trainer import Trainer
from mjx_s2r.runtime.random_keys import FRAMES, LOST, evaluation_keys
from train import judge
from train.judge import JudgeConfig


def bits(*keys: jax.Array) -> set[bytes]:
    """Returns what tells keys apart."""
    return {np.asarray(jax.random.key_data(key)).tobytes() for key in keys}


def begun_with(seed: int) -> set[bytes]:
    """Returns the keys that a training of a seed begins with."""
    schedule: Any = SimpleNamespace(init=lambda: (), sample=lambda state, n, key: key)
    _, params, reset, keys = ResetPool(SimpleNamespace(), schedule, 2)._sample(jax.random.key(seed))
    return bits(params, reset, *keys)


def test_what_is_folded_in_is_no_part_of_a_split() -> None:
    key = jax.random.key(7)
    assert bits(jax.random.fold_in(key, 3)) <= bits(*jax.random.split(key, 4096)), "else no danger"
    for number in (FRAMES, LOST):
        assert not bits(jax.random.fold_in(key, number)) & bits(*jax.random.split(key, 4096))


def test_a_step_with_pictures_draws_each_thing_from_a_key_of_its_own() -> None:
    """Nor does a split of one, as for several cameras, give another one."""
    algorithm: Any = SimpleNamespace(config=SimpleNamespace(num_envs=2, num_steps=3))
    trainer = Trainer(SimpleNamespace(), SimpleNamespace(), algorithm)  # type: ignore[arg-type]
    steps = trainer._step_keys(jax.random.key(0))
    keys = [key for step in steps for key in step]
    children = [child for key in keys for child in jax.random.split(key, 5)]
    assert len(steps) == 3 and len(bits(*keys, *children)) == 3 * 3 * (1 + 5)


@pytest.mark.parametrize("seed", [0, 5])
def test_a_policy_is_not_judged_in_the_worlds_that_it_began_in(
    seed: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With the training's own seed, by the door and by the verb."""
    heard: list[jax.Array] = []

    def drawn(worlds: str, episodes: int, *, key: jax.Array) -> Any:
        heard.append(key)
        return SimpleNamespace(xi=None)

    def played(trainer: object, state: object, xi: object, *, key: jax.Array) -> Any:
        heard.append(key)
        figures = performance_of([True], [1.0], [1], ["a"])
        one = np.ones(1)
        scores = {"success": one, "episode_return": one, "length": one}
        return SimpleNamespace(performance=lambda: figures, **scores)

    policy: Any = SimpleNamespace(evaluation_params=drawn, trainer=None, state=None)
    monkeypatch.setattr(door, "judge_worlds", played)
    door.Teacher(Path("run"), policy).evaluate(seed=seed)
    trainer = SimpleNamespace(state_shapes=lambda: None)
    kept = SimpleNamespace(restore=lambda like, step=None: (None, 1), steps=lambda: [1])
    monkeypatch.setattr(judge, "open_policy_run", lambda run: (trainer, kept))
    monkeypatch.setattr(judge, "TrainedPolicy", lambda trainer, state: policy)
    monkeypatch.setattr(judge, "judge_worlds", played)
    judge.score_checkpoints(JudgeConfig(seed=seed))
    assert len(heard) == 2 + 2 * 3 and bits(*heard) == bits(*evaluation_keys(seed))
    assert not bits(*heard) & begun_with(seed)
