"""A replay finds the run and its task, or says what it looked for."""

from pathlib import Path

import pytest

from mjx_s2r.io.run import RunError, write_json
from mjx_s2r.params import ParamError
from train import replay
from train.replay import task_of


@pytest.mark.parametrize(
    ("config", "task"),
    [({"task": "lift"}, "lift"), ({"count": 2, "teacher": {"task": "reach"}}, "reach")],
)
def test_the_task_is_that_of_the_run(config: dict, task: str, tmp_path: Path) -> None:
    write_json(tmp_path / "config.json", {"schema": 2, **config})
    assert task_of(tmp_path) == task


def test_a_folder_without_a_run_is_not_called_healthy(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(RunError, match=r"nowhere holds no run"):
        replay.main(("--run", str(tmp_path / "nowhere")))
    write_json(tmp_path / "config.json", {"schema": 2, "teacher": "runs/teacher"})
    with pytest.raises(RunError, match="no run of a teacher"):
        replay.main(("--run", str(tmp_path)))
    write_json(tmp_path / "config.json", {"schema": 2, "task": "reach"})
    assert replay.main(("--run", str(tmp_path))) == 0
    assert "no world has ceased" in capsys.readouterr().out


def test_a_record_of_a_task_that_is_not_there_is_named(tmp_path: Path) -> None:
    write_json(tmp_path / "config.json", {"schema": 2, "task": "raech"})
    (tmp_path / "nan").mkdir()
    write_json(tmp_path / "nan" / "000001.json", {})
    with pytest.raises(ParamError, match="reach"):
        replay.main(("--run", str(tmp_path)))
