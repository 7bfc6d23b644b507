"""What a teacher's run tells of its curriculum, and what it refuses to go on with."""

import json
from dataclasses import replace
from xml.etree import ElementTree

import numpy as np
import pytest

from mjx_s2r.api.teacher import TeacherConfig, train_teacher
from mjx_s2r.io.run import BOUNDS, EPISODES, METRICS, TABLE, RunError, read_jsonl
from mjx_s2r.learn.ppo.config import PPOConfig
from mjx_s2r.sim.backends.physics_config import PhysicsConfig

SMALL = PPOConfig(
    num_envs=8, num_steps=4, num_minibatches=2, num_epochs=1, actor_hidden=(4,), critic_hidden=(4,)
)


@pytest.fixture(scope="module")
def config(tmp_path_factory: pytest.TempPathFactory) -> TeacherConfig:
    """A finished run of six iterations, the last two after a resume."""
    config = TeacherConfig(
        task="tests.sim.toy:Toy",
        run=tmp_path_factory.mktemp("runs") / "toy",
        iterations=4,
        curriculum="expand",
        episodes=64,
        log_every=2,
        checkpoint_every=4,
        devices=1,
        physics=PhysicsConfig("c"),
        ppo=SMALL,
    )
    train_teacher(config)
    config = replace(config, iterations=6, resume=True)
    train_teacher(config)
    return config


@pytest.mark.slow
def test_every_episode_is_logged_once(config: TeacherConfig) -> None:
    """The metrics count the same episodes; all are plain under this schedule."""
    rows = read_jsonl(config.run / EPISODES)
    assert [row["step"] for row in rows] == [2, 4, 6]
    ended = [row["episodes"] for row in read_jsonl(config.run / METRICS)]
    assert [len(row["score"]) for row in rows] == ended and sum(ended) > 0
    assert rows[-1]["seen"] == sum(ended) and not any(row["lost"] for row in rows)
    xi = np.array([x for row in rows for x in row["xi"]])
    assert xi.shape == (sum(ended), 4)
    assert all(kind == -1 for row in rows for kind in row["kind"])


def test_success_at_both_ends_of_each_range_is_logged(config: TeacherConfig) -> None:
    """The closed rows lie in the middle of their range: no end, no figure."""
    last = read_jsonl(config.run / BOUNDS)[-1]
    assert last["names"] == ["mass", "delay", "noise", "look"]
    assert len(last["score_low"]) == len(last["score_high"]) == 4
    assert last["score_low"][3] is None


def test_the_picture_is_drawn_at_the_end(config: TeacherConfig) -> None:
    root = ElementTree.parse(config.run / "curriculum.svg").getroot()
    shown = [text.text for text in root.iter("{http://www.w3.org/2000/svg}text")]
    for title in ("mass, ratio", "delay, s", "noise, m", "look, ratio"):
        assert title in shown


def test_another_table_is_refused_by_row(config: TeacherConfig) -> None:
    held = json.loads((config.run / TABLE).read_text())
    assert list(held) == ["mass", "delay", "noise", "look"]
    held["delay"]["limits"][1] = 0.5
    (config.run / TABLE).write_text(json.dumps(held))
    with pytest.raises(RunError, match=r"another parameter table[\s\S]*delay\.limits"):
        train_teacher(replace(config, iterations=8))
