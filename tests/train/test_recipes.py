"""Where the settings of a command line start from: a task's recipe, a file, another run."""

import json
from pathlib import Path

import pytest

from mjx_s2r.api.teacher import TeacherConfig, recipe
from mjx_s2r.envs.registry import task_spec
from mjx_s2r.io.config import ConfigError, over
from mjx_s2r.io.run import write_json
from train import seeds, teacher
from train.command_line import base


@pytest.fixture
def caught(monkeypatch: pytest.MonkeyPatch) -> list[TeacherConfig]:
    """What `train_teacher` is called with instead of training."""
    calls: list[TeacherConfig] = []
    monkeypatch.setattr(teacher, "train_teacher", calls.append)
    return calls


def write(path: Path, body: object) -> Path:
    """Writes a recipe."""
    path.write_text(json.dumps(body))
    return path


def test_a_file_lies_over_the_recipe_of_the_task(
    tmp_path: Path, caught: list[TeacherConfig]
) -> None:
    file = write(tmp_path / "r.json", {"task": "lift", "ppo": {"num_steps": 24}, "iterations": 7})
    teacher.main(["--recipe", str(file), "--ppo.num-epochs", "2"])
    (found,) = caught
    assert (found.task, found.iterations, found.recipe) == ("lift", 7, file)
    assert found.ppo.num_steps == 24 and found.ppo.num_epochs == 2
    assert found.ppo.num_envs == task_spec("lift").ppo.num_envs


def test_the_command_line_names_another_task(tmp_path: Path, caught: list[TeacherConfig]) -> None:
    file = write(tmp_path / "r.json", {"task": "lift", "ppo": {"num_steps": 24}})
    teacher.main(["--task=cartpole", f"--recipe={file}"])
    assert caught[0].task == "cartpole" and caught[0].ppo.num_steps == 24
    assert caught[0].ppo.num_envs == task_spec("cartpole").ppo.num_envs


def test_the_settings_of_a_run_are_a_recipe(tmp_path: Path, caught: list[TeacherConfig]) -> None:
    """All but what is that run's own."""
    old = over(recipe("cartpole"), {"seed": 3, "resume": True, "run": "runs/old", "rows": ["m*"]})
    file = tmp_path / "config.json"
    write_json(file, old)
    teacher.main(["--recipe", str(file)])
    assert caught[0].rows == ("m*",) and caught[0].seed == 3
    assert caught[0].run == TeacherConfig.run and not caught[0].resume


def test_seeds_take_a_recipe_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = write(tmp_path / "r.json", {"task": "cartpole", "ppo": {"num_steps": 24}})
    calls: list[seeds.SeedsConfig] = []
    monkeypatch.setattr(seeds, "train", lambda config: calls.append(config) or [])
    seeds.main(["--teacher.recipe", str(file)])
    assert calls[0].teacher.task == "cartpole" and calls[0].teacher.ppo.num_steps == 24


def test_only_the_two_names_are_read_first() -> None:
    assert base(["--ppo.num-epochs", "2"]) == ("", None)
    words = ["--teacher.task", "lift", "--teacher.recipe=a.json", "--teacher.ppo.num-epochs", "2"]
    assert base(words) == ("lift", Path("a.json"))


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("{", "not JSON"),
        ("[1]", "expected settings in braces"),
        ('{"ppo": {"num_step": 3}}', r"setting of ppo: 'num_step'; did you mean 'num_steps'"),
        ('{"ppo": {"num_steps": "many"}}', r"ppo\.num_steps"),
        ('{"ppo": 3}', "ppo: Expected `object`, got `int`: 3"),
    ],
)
def test_a_recipe_that_cannot_be_used_is_named(tmp_path: Path, text: str, says: str) -> None:
    file = tmp_path / "bad.json"
    file.write_text(text)
    with pytest.raises(ConfigError, match=rf"recipe .*bad\.json: .*{says}"):
        teacher.main(["--recipe", str(file)])


def test_a_recipe_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"nowhere\.json: cannot be read"):
        teacher.main(["--recipe", str(tmp_path / "nowhere.json")])
