"""The study: one compiled program for all methods, a fair grid, and nothing done twice."""

import json
import shlex
from dataclasses import replace
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import tyro

from mjx_s2r.io.run import RunError
from mjx_s2r.learn.compiled_step import CompiledStep
from mjx_s2r.learn.ppo.config import PPOConfig
from mjx_s2r.params import Param, ParamError, ParamSpace
from mjx_s2r.sim.backends.physics_config import PhysicsConfig
from tests.learn.probes import programs
from train.studies import curricula as study
from train.studies.curricula import StudyConfig
from train.studies.curricula_run import begin_with
from train.studies.page import facts_of

pytestmark = pytest.mark.slow

TASK = "tests.sim.toy:Toy"
SMALL = PPOConfig(
    num_envs=8, num_steps=4, num_minibatches=2, num_epochs=1, actor_hidden=(4,), critic_hidden=(4,)
)
SPACE = ParamSpace(
    (
        Param("mass", "model.body_mass", ("a",), limits=(0.5, 2.5)),
        Param("drag", "model.dof_damping", ("j",), limits=(0.01, 100.0), law="log_uniform"),
        Param("steps", "actuator.delay_s", (), None, "set", 0, (0, 0), (0, 4), "categorical"),
        Param("look", "visual.brightness", limits=(0.5, 2.0)),
    )
)


def settings(folder: Path) -> StudyConfig:
    """Returns a study of some seconds."""
    return StudyConfig(
        tasks=(TASK,),
        methods=("wide", "difficulty", "adr"),
        seeds=1,
        iterations=3,
        checks=2,
        widths=(0.5, 1.0),
        points=4,
        corners=8,
        run=folder / "run",
        result=folder / "out" / "curricula.json",
        ppo=SMALL,
    )


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> tuple[StudyConfig, list[list[int]]]:
    """A finished study, and how often each learner compiled each program of an iteration."""
    config = settings(tmp_path_factory.mktemp("study"))
    real, seen = CompiledStep.__call__, set()

    def noted(self: CompiledStep, state: Any) -> Any:
        """Runs it and remembers it."""
        seen.add(self)
        return real(self, state)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(CompiledStep, "__call__", noted)
        study.run(config)
    return config, [programs(iteration) for iteration in seen]


def test_it_leaves_rows_and_a_picture(finished: tuple[StudyConfig, list[list[int]]]) -> None:
    config, _ = finished
    assert config.result is not None
    held = json.loads(config.result.read_text())
    assert held == json.loads((config.run / "curricula.json").read_text())
    assert {"about", "study", "rows", "steps"} == set(held)
    found = {(r["task"], r["method"], r["seed"], r["width"]) for r in held["rows"]}
    assert found == {(TASK, m, 0, w) for m in config.methods for w in config.widths}
    for row in held["rows"]:
        assert row["env_steps"] == 3 * 8 * 4 and 0 <= row["success"] <= 1
        part = (row["sobol"] * 4 + row["corners"] * (row["worlds"] - 4)) / row["worlds"]
        assert row["success"] == pytest.approx(part)
    widths = {r["method"]: r["entropy"] for r in held["rows"]}
    assert widths["wide"] == pytest.approx(0.0, abs=1e-5) and widths["adr"] < -1
    judged = {(r["method"], r["env_steps"], r["width"]): r["success"] for r in held["steps"]}
    after = {steps for _, steps, _ in judged}
    assert after == {32, 3 * 32}, "one iteration of three, and all"
    for row in held["rows"]:
        assert judged[row["method"], 3 * 32, row["width"]] == row["success"]
    page = (config.run / "report.html").read_text()
    assert "success against steps, worlds of 100 % of the limits" in page
    shown = study.study_result(config)
    told = dict(facts_of(shown))
    assert told["engine of the trainings"] == "jax"
    assert told["iterations of a training"] == f"{TASK} 3" and "&#34;iterations&#34;: 3," in page
    in_c = [row | {"engine": "c"} for row in shown.rows]
    assert dict(facts_of(replace(shown, rows=in_c)))["engine of the trainings"] == "c"
    for picture in (config.result, config.run / "curricula.json"):
        assert picture.with_suffix(".svg").read_text().count('<g id="curve-') == 3


def test_a_page_says_what_to_type_to_get_the_same_again(
    tmp_path: Path,
) -> None:
    """Parsed again, the command is the settings, but for where they lie."""
    config = replace(
        settings(tmp_path),
        rows=("~sensor.*", "model.*"),
        grid_seed=7,
        actor_obs="state",
        physics=PhysicsConfig("c", cpu=True),
        adr=replace(StudyConfig().adr, window=9),
    )
    words = shlex.split(study.study_result(config).command)
    assert words[:5] == ["python", "-m", "train", "study", "curricula"]
    again = tyro.cli(StudyConfig, args=words[5:])
    assert replace(again, run=config.run, result=config.result) == config
    plain = study.study_result(StudyConfig(run=config.run, result=config.result))
    assert plain.command == "python -m train study curricula"


def test_one_program_serves_all_methods(finished: tuple[StudyConfig, list[list[int]]]) -> None:
    assert finished[1] in ([[1]], [[1, 1]])


def test_only_what_is_missing_is_done_again(finished: tuple[StudyConfig, list[list[int]]]) -> None:
    config, _ = finished
    files = sorted((config.run / "rows").iterdir())
    gone, kept = files[0], {f: f.stat().st_mtime_ns for f in files[1:]}
    before = json.loads(gone.read_text())
    gone.unlink()
    (config.run / "rows" / "torn.json.tmp").write_text("{")  # as a killed process leaves it
    study.run(config)
    again = json.loads(gone.read_text())
    assert {n: v for n, v in again.items() if n != "seconds"} == {
        n: v for n, v in before.items() if n != "seconds"
    }
    assert all(f.stat().st_mtime_ns == stamp for f, stamp in kept.items())


def test_a_study_with_other_settings_needs_another_folder(
    finished: tuple[StudyConfig, list[list[int]]],
) -> None:
    with pytest.raises(RunError, match="iterations"):
        study.run(replace(finished[0], iterations=4))


def test_the_grid_covers_each_box_and_nothing_else(tmp_path: Path) -> None:
    """Half the way: mass (0.75, 1.75), drag (0.1, 10), steps 0 to 2; looks stay nominal."""
    config = replace(settings(tmp_path), points=64, corners=8)
    rows = np.array((True, True, True, False))
    half, full = study.grid(config, SPACE, rows)
    assert half.shape == (64 + 8, 4)
    np.testing.assert_allclose(half.min(0), (0.75, 0.1, 0, 1), rtol=1e-5)
    np.testing.assert_allclose(half.max(0), (1.75, 10, 2, 1), rtol=1e-5)
    np.testing.assert_allclose(full.min(0), (0.5, 0.01, 0, 1), rtol=1e-5)
    np.testing.assert_allclose(full.max(0), (2.5, 100, 4, 1), rtol=1e-5)
    assert len(np.unique(half[64:], axis=0)) == 8  # every corner once
    assert np.median(full[:64, 1]) == pytest.approx(1.0, rel=0.2)  # even in the logarithm
    np.testing.assert_array_equal(study.grid(config, SPACE, rows)[0], half)


def test_sizes_that_cannot_be_are_named() -> None:
    for wrong, says in (
        ({"points": 48}, "points 48"),
        ({"widths": (0.0,)}, "widths"),
        ({"methods": ()}, "it needs"),
        ({"iterations": 3, "checks": 4}, "checks 4 must be 1 to 3"),
    ):
        with pytest.raises(ParamError, match=says):
            StudyConfig(**wrong)
    with pytest.raises(ParamError, match="give --iterations"):
        study._iterations("lift")


def test_worlds_begin_under_the_chosen_method(tmp_path: Path, key: jax.Array) -> None:
    """The first worlds of "wide" are wide, those of "adr" closed."""
    trial = study.build_trial(settings(tmp_path), TASK)
    begun = [begin_with(trial.trainer, jnp.int32(which), key) for which in (0, 2)]
    spread = [np.ptp(state.env_state.pipeline_state.episode_params.xi[:, 0]) for state in begun]
    assert spread[0] > 0.2 and spread[1] == 0
