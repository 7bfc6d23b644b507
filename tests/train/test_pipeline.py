"""A stage that is done is not passed off as one with other settings."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

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
