"""A stage that is done is not passed off as one with other settings."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from mjx_s2r.api.robots import EvaluateConfig
from mjx_s2r.api.teacher import recipe
from mjx_s2r.io.run import Run, RunError
from mjx_s2r.sim.backends.physics_config import PhysicsConfig
from train import pipeline
from train.pipeline import PipelineConfig


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"seed": 1}, "seed: the run has 0, now 1"),
        ({"range": ("gravity=0.9,1.1",)}, "range: the run has"),
        ({"teacher": replace(recipe("reach"), iterations=7)}, "iterations: the run has 140, now 7"),
    ],
)
def test_other_settings_of_a_finished_stage_are_refused(
    change: dict[str, Any], message: str, tmp_path: Path
) -> None:
    plain = PhysicsConfig("jax")
    done = replace(recipe("reach"), run=tmp_path / "teacher", physics=plain, iterations=140)
    Run.create(done.run, done).close()
    (tmp_path / "teacher.json").write_text("{}")
    asked = PipelineConfig(run=tmp_path, teacher=replace(recipe("reach"), iterations=140))
    with pytest.raises(RunError, match=message):
        pipeline.run(replace(asked, **change))


def test_a_policy_is_judged_anew_with_other_settings(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Training is not repeated; what was judged or counted with the same settings is kept."""
    plain = PhysicsConfig("jax")
    teacher = replace(recipe("reach"), iterations=140, physics=plain, run=tmp_path / "teacher")
    teacher = replace(teacher, ppo=replace(teacher.ppo, actor_obs="state"))
    Run.create(teacher.run, teacher).close()
    reality = tmp_path / "arm.toml"
    reality.write_text("count = 3\n")
    done: list[object] = []
    said: list[str] = []

    def judged(config: EvaluateConfig, folder: Path) -> dict[str, Any]:
        """Says how many episodes were asked for."""
        done.append((config.count, config.episodes, config.reality))
        return {"student": {"success": config.episodes / 100}}

    def counted(config: object, worlds: int) -> dict[str, Any]:
        """Says how many worlds were asked for."""
        done.append(worlds)
        return {"teacher": {"episodes": worlds}}

    monkeypatch.setattr(pipeline, "print_line", said.append)
    monkeypatch.setattr(pipeline, "_judge", judged)
    monkeypatch.setattr(pipeline, "_teach", counted)
    monkeypatch.setattr(pipeline, "_export", lambda run, policy: done.append("export") or {})
    asked = PipelineConfig(run=tmp_path, teacher=teacher)
    assert pipeline.run(asked)["student"] == {"success": 0.2}
    assert done == [512, "export", (None, 20, None)]
    pipeline.run(asked)
    assert len(done) == 3
    fewer = replace(asked, evaluate=EvaluateConfig(episodes=5, count=2))
    assert pipeline.run(fewer)["student"] == {"success": 0.05}
    assert done[3:] == [(2, 5, None)]
    assert "(count None, now 2; episodes 20, now 5)" in said.pop()
    pipeline.run(replace(fewer, nominal_worlds=64))
    assert done[4:] == [64]
    other = replace(fewer, nominal_worlds=64, reality=reality)
    pipeline.run(other)
    pipeline.run(other)
    assert done[5:] == [(2, 5, reality)]
    reality.write_text("count = 4\n")
    pipeline.run(other)
    assert done[6:] == [(2, 5, reality)]


def test_ranges_of_teacher_and_student_may_come_repeatedly(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    asked: list[PipelineConfig] = []

    def told(config: PipelineConfig) -> dict[str, Any]:
        """Keeps what was asked."""
        asked.append(config)
        judged = {"episodes": 1, "per_robot": [1], "success": 1.0, "interval": (0.0, 1.0)}
        return {"student": judged}

    monkeypatch.setattr(pipeline, "run", told)
    words = ["--range", "a=1", "--student.range", "b=2", "--range", "c=3", "--student.range=d=4"]
    pipeline.main(words)
    assert asked[0].range == ("a=1", "c=3") and asked[0].student.range == ("b=2", "d=4")
