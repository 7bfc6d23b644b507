"""Several seeds from the command line: run folders of their own, resumed as one."""

import warnings
from dataclasses import replace
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from mjx_s2r.api.teacher import TeacherConfig, load_teacher
from mjx_s2r.io.run import read_jsonl
from mjx_s2r.learn.multi_seed import Seeds
from mjx_s2r.learn.ppo.config import PPOConfig
from train import seeds
from train.seeds import SeedsConfig

SMALL = PPOConfig(num_envs=4, num_steps=2, num_minibatches=2, actor_hidden=(4,), critic_hidden=(4,))


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


def spoil(monkeypatch: pytest.MonkeyPatch) -> None:
    """Makes a training say that a world of the second seed ceased to be finite."""
    iterate = Seeds.iterate

    def spoiled(self: Seeds, states: Any) -> tuple[Any, Any]:
        states, metrics = iterate(self, states)
        return states, replace(
            metrics, nan_snapshot=replace(metrics.nan_snapshot, found=jnp.array([False, True]))
        )

    monkeypatch.setattr(Seeds, "iterate", spoiled)


@pytest.mark.slow  # two minutes of compiling; tests/learn/test_multi_seed.py holds the numbers
def test_every_seed_is_a_teacher_of_its_own_and_says_what_it_did_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also where the lines of a first try go beyond the checkpoint that is resumed from."""
    spoil(monkeypatch)
    whole = config(tmp_path / "run")
    whole = replace(whole, teacher=replace(whole.teacher, eval_every=1, episodes=8))
    folders = seeds.train(whole)
    assert [f.name for f in folders] == ["seed_0", "seed_1"]
    states = []
    for index, folder in enumerate(folders):
        own, _, state = load_teacher(folder)
        assert own.seed == 7 + index and int(state.iteration) == 2
        states.append(state)
    leaves = [jax.tree.leaves(s.learner.actor) for s in states]
    assert any((np.asarray(a) != np.asarray(b)).any() for a, b in zip(*leaves, strict=True))
    for name in ("metrics.jsonl", "bounds.jsonl"):
        file = folders[1] / name
        file.write_text(file.read_text() + '{"step": 3, "low": [], "high": []}\n')
    longer = replace(whole, teacher=replace(whole.teacher, iterations=4, resume=True))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        assert seeds.train(longer) == folders
    assert int(load_teacher(folders[1])[2].iteration) == 4
    above = read_jsonl(tmp_path / "run" / "metrics.jsonl")
    assert {"return/0", "return/1", "success/0", "kl"} <= set(above[-1])
    each = [read_jsonl(folder / "metrics.jsonl") for folder in folders]
    for lines in (above, *each, read_jsonl(folders[1] / "bounds.jsonl")):
        trained = [line["step"] for line in lines if "eval_at" not in line or "kl" in line]
        assert trained == [1, 2, 3, 4], "an evaluation that ended late has a line of its own"
    assert above[-1]["kl"] == pytest.approx(np.mean([lines[-1]["kl"] for lines in each]))
    assert each[0][-1]["kl"] != each[1][-1]["kl"]
    judged = [[line["eval_at"] for line in lines if "eval_at" in line] for lines in each]
    assert judged[0] == judged[1] and judged[0][-1] == 4
    assert (folders[0] / "episodes.jsonl").exists()
    assert not (folders[0] / "nan").exists() and list((folders[1] / "nan").iterdir())
    assert (folders[1] / "curriculum.svg").exists() and (folders[1] / "learning.svg").exists()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"profile": 5}, "teacher.profile 5: seeds side by side"),
        ({"devices": 2}, "devices 2"),
    ],
)
def test_what_seeds_cannot_do_is_named(change: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        SeedsConfig(teacher=replace(TeacherConfig(), **change))
