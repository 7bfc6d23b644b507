"""A stage that is done is not passed off as one with other settings."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import numpy as np
import pytest

from mjx_s2r.api.robots import EvaluateConfig
from mjx_s2r.api.student import StudentConfig, student_curriculum
from mjx_s2r.api.teacher import make_curriculum, recipe
from mjx_s2r.contract import ContractError
from mjx_s2r.envs.registry import make_env, make_task
from mjx_s2r.io.run import Run, RunError
from mjx_s2r.learn.distill.config import DistillConfig
from mjx_s2r.learn.networks.encoders.config import EncoderConfig, EncoderError
from mjx_s2r.params import ParamError
from mjx_s2r.sim.backends.physics_config import PhysicsConfig
from mjx_s2r.sim.env import Env
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


@pytest.fixture
def stages(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, Any]]:
    """Keeps the names and settings of the stages that a pipeline comes to, which do nothing."""
    come: list[tuple[str, Any]] = []

    def doing(name: str) -> Callable[..., dict[str, Any]]:
        return lambda config, *more: come.append((name, config)) or {}

    for name in ("_teach", "_distil", "_export", "_judge"):
        monkeypatch.setattr(pipeline, name, doing(name))
    return come


@pytest.fixture(scope="module")
def cartpole() -> Env:
    """An environment with a camera to look through."""
    return cast(Env, make_env("cartpole"))


def test_without_randomization_no_row_moves_whatever_is_mixed_in(
    tmp_path: Path,
    stages: list[tuple[str, Any]],
    monkeypatch: pytest.MonkeyPatch,
    cartpole: Env,
) -> None:
    monkeypatch.setattr(pipeline, "check_student", lambda config, env: None)
    monkeypatch.setattr(pipeline, "make_env", lambda *given: cartpole)
    teacher = replace(recipe("reach"), mix=("uniform:model.*",))
    asked = PipelineConfig(run=tmp_path, randomize=False, teacher=teacher)
    asked = replace(asked, student=replace(asked.student, mix=("uniform:visual.*",)))
    pipeline.run(asked)
    space, (taught, learnt) = make_task("reach").space, [config for _, config in stages[:2]]
    looks, _ = student_curriculum(learnt, space, by_pictures=False)
    for curriculum in (make_curriculum(taught, space, sees=False), looks):
        report = curriculum.report(curriculum.init())
        np.testing.assert_allclose(report.low, space.nominal, rtol=1e-6)
        np.testing.assert_allclose(report.high, space.nominal, rtol=1e-6)


def test_a_teacher_that_sees_needs_no_student(
    tmp_path: Path, stages: list[tuple[str, Any]]
) -> None:
    teacher = recipe("reach")
    seeing = replace(teacher, ppo=replace(teacher.ppo, actor_obs="pixels"))
    pipeline.run(PipelineConfig(run=tmp_path, teacher=seeing))
    assert [name for name, _ in stages] == ["_teach", "_export", "_judge"]


@pytest.mark.parametrize(
    ("change", "error", "named"),
    [
        ({"cameras": ("fixed:18x16@50",)}, ContractError, "18x16"),
        ({"cameras": ("fixed:16x16@7",)}, ContractError, "7"),
        ({"rows": ("colr",)}, ParamError, "colr"),
        ({"curriculum": "unifrom"}, ParamError, "unifrom"),
        ({"range": ("gravty=1,2",)}, ParamError, "gravty"),
        (
            {"distill": DistillConfig(encoder=EncoderConfig("mobilenet_v2", weights=Path("gone")))},
            EncoderError,
            "gone",
        ),
    ],
)
def test_a_students_mistakes_are_told_before_its_teacher_is_trained(
    change: dict[str, Any],
    error: type[Exception],
    named: str,
    tmp_path: Path,
    stages: list[tuple[str, Any]],
    monkeypatch: pytest.MonkeyPatch,
    cartpole: Env,
) -> None:
    monkeypatch.setattr(pipeline, "make_env", lambda *given: cartpole)
    student = StudentConfig(cameras=("fixed:16x16@50",), distill=DistillConfig(num_envs=4))
    with pytest.raises(error, match=named):
        pipeline.run(PipelineConfig(run=tmp_path, student=replace(student, **change)))
    assert not stages
