"""Several seeds from the command line: run folders of their own, resumed as one."""

import json
import warnings
from dataclasses import replace
from pathlib import Path

import jax
import numpy as np
import pytest

from mjx_s2r.learn.quarantine import Bad
from mjx_s2r.learn.settings import PpoConfig
from train import seeds
from train.seeds import SeedsConfig, one_bad
from train.student import load_teacher
from train.teacher import TeacherConfig

SMALL = PpoConfig(worlds=4, unroll=2, minibatches=2, actor_hidden=(4,), critic_hidden=(4,))


def config(folder: Path) -> SeedsConfig:
    """Returns two seeds of a tiny training."""
    teacher = TeacherConfig(
        task="cartpole",
        run=folder,
        seed=7,
        iterations=2,
        curriculum="none",
        log_every=1,
        checkpoint_every=1,
        ppo=SMALL,
    )
    return SeedsConfig(count=2, teacher=teacher)


def test_every_seed_is_a_teacher_of_its_own(tmp_path: Path) -> None:
    whole = config(tmp_path / "run")
    folders = seeds.train(whole)
    assert [f.name for f in folders] == ["seed_0", "seed_1"]
    states = []
    for index, folder in enumerate(folders):
        own, _, state = load_teacher(folder)
        assert own.seed == 7 + index and int(state.steps) == 2
        states.append(state)
    leaves = [jax.tree.leaves(s.actor) for s in states]
    assert any((np.asarray(a) != np.asarray(b)).any() for a, b in zip(*leaves, strict=True))
    lines = [json.loads(x) for x in (tmp_path / "run" / "metrics.jsonl").read_text().splitlines()]
    assert [line["step"] for line in lines] == [1, 2]
    assert {"return/0", "return/1", "success/0", "kl"} <= set(lines[-1])
    longer = replace(whole, teacher=replace(whole.teacher, iterations=3, resume=True))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        assert seeds.train(longer) == folders
    assert int(load_teacher(folders[1])[2].steps) == 3


def test_a_world_that_ceased_to_be_finite_is_kept_whichever_seed_lost_it() -> None:
    """Iteration 0: seeds 1 and 2; iteration 1: none; iteration 2: seed 2."""
    found = np.array([[0, 1, 1], [0, 0, 0], [0, 0, 1]], bool)
    which = np.arange(9).reshape(3, 3)
    bad = one_bad(Bad(found, which, which, {"qpos": which[..., None]}, {}, which[..., None]))
    assert bad.found.tolist() == [True, False, True]
    assert bad.world.tolist() == [1, 3, 8] and bad.sim["qpos"].shape == (3, 1)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"eval_every": 5}, "teacher.eval_every 5: seeds side by side"),
        ({"devices": 2}, "devices 2"),
    ],
)
def test_what_seeds_cannot_do_is_named(change: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        SeedsConfig(teacher=replace(TeacherConfig(), **change))
