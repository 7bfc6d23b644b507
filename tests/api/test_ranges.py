"""A run's own ranges: from the command line into worlds, settings, and the student's draws."""

import json
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import jax
import numpy as np
import pytest
import tyro

from mjx_s2r.api import door
from mjx_s2r.api.student import StudentConfig, student_curriculum, student_space
from mjx_s2r.api.teacher import MAY_CHANGE, TeacherConfig, make_curriculum, with_ranges_kept
from mjx_s2r.envs.registry import make_env, make_task, name_of
from mjx_s2r.io.run import Run, RunError, read_config
from mjx_s2r.params import ParamError
from mjx_s2r.sim.env import Env, require_native
from mjx_s2r.sim.task import ranges_of
from tests.sim.toy import SPACE, Toy
from train.command_line import gather_ranges

NAME = "tests.sim.toy:Toy"


@pytest.fixture(scope="module")
def env() -> Env:
    """The toy with one row fixed and one narrowed."""
    return require_native(make_env(NAME, ranges=("delay=0.02", "mass=0.8,1.25")))


def test_a_fixed_row_is_constant_in_drawn_worlds(env: Env) -> None:
    config = TeacherConfig(task=NAME, curriculum="uniform")
    curriculum = make_curriculum(config, env.space, sees=False)
    xi = np.asarray(curriculum.sample(curriculum.init(), 64, jax.random.key(0)).xi)
    assert (xi[:, env.space.index("delay")] == np.float32(0.02)).all()
    mass = xi[:, env.space.index("mass")]
    assert mass.min() >= 0.8 - 1e-6 and mass.max() <= 1.25 + 1e-6 and np.ptp(mass) > 0.2


def test_a_task_with_ranges_keeps_its_name_and_can_be_given_more(env: Env) -> None:
    assert name_of(env) == NAME
    more = make_task(env.task, ("delay=0.01", "noise=0,0.05"))
    rows = {row.name: row.limits for row in more.space.rows}
    assert rows["delay"] == (0.01, 0.01) and rows["mass"] == (0.8, 1.25)
    assert rows["noise"] == (0.0, 0.05)
    assert ranges_of(more)[-1] == "noise=0,0.05" and ranges_of(cast(Any, Toy())) == ()


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("mass=-1,1;limits=-1,2;law=uniform", "'mass'.*body_mass of 'block' reach -1.*a mass must"),
        ("delay=-0.1,0;limits=-1,1", "'delay'.*a delay must be at least 0"),
        ("weight=1", "unknown parameter 'weight'"),
    ],
)
def test_what_physics_forbids_is_refused(text: str, words: str) -> None:
    with pytest.raises(ParamError, match=words):
        make_env(NAME, ranges=(text,))


def test_settings_keep_values_and_not_the_path(tmp_path: Path) -> None:
    file = tmp_path / "ranges.json"
    file.write_text(json.dumps({"mass": [0.8, 1.25], "delay": 0.02}))
    words = ["--task", NAME, "--ranges", str(file), "--range", "delay=0.01", "--seed", "1"]
    words += ["--range", "noise=0,0.05"]
    config = with_ranges_kept(tyro.cli(TeacherConfig, args=gather_ranges(words)))
    assert config.ranges is None and config.seed == 1
    assert config.range == ("mass=0.8,1.25", "delay=0.01", "noise=0,0.05")
    Run.create(tmp_path / "run", config).close()
    file.unlink()
    assert read_config(TeacherConfig, tmp_path / "run") == config
    other = replace(config, range=("mass=0.8,1.25",))
    with pytest.raises(RunError, match=r"range: the run has .*'delay=0.01'"):
        Run.create(tmp_path / "run", other, resume=True, may_change=MAY_CHANGE)


@pytest.mark.parametrize(
    ("words", "inside", "gathered"),
    [
        (["--range", "a=1,2", "--range", "b=3"], "", ["--range", "a=1,2", "b=3"]),
        (["--range=a=1", "--x", "y", "--range", "b=3", "c=4"], "", ["--x", "y", "--range"]),
        (["--range", "a=1", "--ranges", "f"], "teacher.", ["--teacher.ranges", "f"]),
        (["--teacher.range", "a=1", "--range", "b=2"], "teacher.", ["--teacher.range", "a=1"]),
        (["--task", "reach"], "teacher.", ["--task", "reach"]),
    ],
)
def test_options_that_come_repeatedly_are_one(
    words: list[str], inside: str, gathered: list[str]
) -> None:
    found = gather_ranges(words, inside)
    assert found[: len(gathered)] == gathered
    values = [word for word in words if "=" in word]
    assert [w for w in found if "=" in w] == [v.removeprefix("--range=") for v in values]


def test_a_student_draws_from_its_own_ranges_within_its_teachers() -> None:
    """Ranges of physics are what is drawn; those of a look are how far its schedule may go."""
    reached = {row.name: row.initial for row in SPACE.rows} | {"noise": (0.0, 0.1)}
    trainer: Any = SimpleNamespace(
        env=SimpleNamespace(space=SPACE), reached_ranges=lambda state: dict(reached)
    )
    state: Any = None
    space = student_space(trainer, state, ("noise=0,0.02", "look=1"))
    ranges = {row.name: row.initial for row in space.rows}
    assert ranges == reached | {"noise": (0.0, 0.02), "look": (1.0, 1.0)}
    limits = {row.name: row.limits for row in SPACE.rows} | {"look": (1.0, 1.0)}
    assert {row.name: row.limits for row in space.rows} == limits
    for text in ("noise=0,0.2", "look=1;limits=0,9"):
        with pytest.raises(ParamError, match=r"hard limits|keeps the limits"):
            student_space(trainer, state, (text,))


@pytest.mark.parametrize("by_pictures", [False, True])
@pytest.mark.parametrize(("kind", "opens"), [("uniform", True), ("none", False), ("adr", False)])
def test_a_students_schedule_opens_looks_and_keeps_what_its_teacher_reached(
    kind: str, opens: bool, by_pictures: bool
) -> None:
    space = SPACE.with_ranges({"noise": (0.0, 0.05)})
    config = StudentConfig(curriculum=kind)
    curriculum, _ = student_curriculum(config, space, by_pictures=by_pictures)
    report = curriculum.report(curriculum.init())
    found = dict(
        zip(space.names, zip(*np.asarray((report.low, report.high)), strict=True), strict=True)
    )
    for row in space.rows:
        wide = row.group == "visual" and opens
        np.testing.assert_allclose(found[row.name], row.limits if wide else row.initial, rtol=1e-6)


def test_a_notebook_gives_ranges_as_a_dict(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made = require_native(door.make(NAME, ranges={"delay": 0.02}))
    assert made.space.rows[made.space.index("delay")].limits == (0.02, 0.02)
    told: list[Any] = []
    monkeypatch.setattr(door, "train_teacher", lambda *given: (told.extend(given), (None, None))[1])
    door.train(made, run=tmp_path / "run", ranges={"mass": (0.8, 1.25)})
    config, env = told
    assert config.range == ("delay=0.02", "mass=0.8,1.25")
    again = make_env(config.task, config.physics, ranges=config.range)
    assert again.space == env.space, "what is loaded from the settings is what was trained"
