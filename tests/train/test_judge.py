"""The verdict on a teacher: every checkpoint in the same worlds, and the best one by its number."""

import json
from pathlib import Path

import pytest

from mjx_s2r.api.teacher import TeacherConfig, load_teacher, train_teacher
from mjx_s2r.eval.performance import performance_of
from mjx_s2r.io.checkpoints import CheckpointError
from mjx_s2r.learn.ppo.config import PPOConfig
from mjx_s2r.sim.backends.physics_config import PhysicsConfig
from train import judge
from train.judge import NOMINAL, OPENED, WHOLE, CheckpointScore, JudgeConfig, best, table


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Returns a tiny training that keeps two of three checkpoints."""
    folder = tmp_path_factory.mktemp("judge") / "run"
    small = PPOConfig(
        num_envs=4, num_steps=2, num_minibatches=2, actor_hidden=(4,), critic_hidden=(4,)
    )
    train_teacher(
        TeacherConfig(
            task="cartpole",
            run=folder,
            iterations=3,
            curriculum="uniform",
            log_every=3,
            checkpoint_every=1,
            keep=2,
            devices=1,
            physics=PhysicsConfig("c"),
            ppo=small,
        )
    )
    return folder


@pytest.mark.slow
def test_every_checkpoint_is_judged_in_the_same_worlds(run: Path) -> None:
    judge.main(["--run", str(run), "--episodes", "4"])
    told = json.loads((run / judge.JUDGED).read_text())
    keys = [(line["iteration"], line["worlds"]) for line in told["judged"]]
    assert keys == [(step, name) for step in (2, 3) for name in (NOMINAL, OPENED, WHOLE)]
    by_key = dict(zip(keys, told["judged"], strict=True))
    for step in (2, 3):  # this schedule opens everything at once
        opened, whole = by_key[step, OPENED], by_key[step, WHOLE]
        assert {**opened, "worlds": ""} == {**whole, "worlds": ""}
        assert opened["return"] != by_key[step, NOMINAL]["return"]
        low, high = opened["return"][1:]
        assert low <= opened["return"][0] <= high and opened["episodes"] == 4
    assert by_key[2, WHOLE]["return"] != by_key[3, WHOLE]["return"]
    found = judge.score_checkpoints(JudgeConfig(run, episodes=4))
    assert [v.to_json() for v in found] == told["judged"]
    assert best(found) == told["best"]


@pytest.mark.slow
def test_a_checkpoint_is_taken_by_its_number(run: Path) -> None:
    assert int(load_teacher(run)[2].iteration) == 3
    assert int(load_teacher(run, 2)[2].iteration) == 2
    with pytest.raises(CheckpointError, match=r"holds no checkpoint 1; it holds \[2, 3\]"):
        load_teacher(run, 1)


def verdict(iteration: int, worlds: str, successes: int, mean_return: float) -> CheckpointScore:
    """Returns a verdict on ten episodes."""
    good = [index < successes for index in range(10)]
    figures = performance_of(good, [mean_return] * 10, [5.0] * 10, list("abcdefghij"))
    return CheckpointScore(iteration, worlds, figures)


def test_the_best_has_most_successes_in_the_opened_ranges() -> None:
    early = [verdict(1, NOMINAL, 10, 9.0), verdict(1, OPENED, 4, 9.0), verdict(1, WHOLE, 9, 9.0)]
    late = [verdict(2, NOMINAL, 8, 1.0), verdict(2, OPENED, 5, 1.0), verdict(2, WHOLE, 1, 1.0)]
    assert best([*early, *late]) == 2
    assert best([*early, verdict(3, OPENED, 4, 9.5)]) == 3
    rows = list(table([*early, *late]).columns[0].cells)
    assert rows == ["1", "2 *"]


def test_a_verdict_on_nothing_is_refused() -> None:
    with pytest.raises(ValueError, match="episodes 0 must be at least 1"):
        JudgeConfig(episodes=0)
