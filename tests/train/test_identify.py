"""The verb identify, from a CSV and a robot's file to ranges that a training takes."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from mjx_s2r.params import ParamError, ParamSpace, add, scale, set_to
from mjx_s2r.params.ranges import as_ranges, changed_space, read_ranges
from mjx_s2r.transfer.posterior import Posterior
from mjx_s2r.transfer.problem import task_problem
from mjx_s2r.transfer.recording import Recording, RecordingError
from tests.transfer.rig import WRITTEN, XML, pendulum, record, wave
from train import identify

QUICK = (
    "--fit.candidates",
    "32",
    "--fit.generations",
    "6",
    "--fit.starts",
    "1",
    "--fit.iterations",
    "8",
)
MAPPING = """
[time]
column = "t"
[commands]
joints.servo = "goal"
[readings]
joint_pos.servo = "q"
"""


def written(folder: Path, log: Recording, scale_by: float = 1.0) -> list[str]:
    """Writes a log, the robot and the mapping; returns the command line that names them."""
    rows = np.column_stack([log.time_s, log.commands[:, 0], scale_by * log.readings[:, 0]])
    np.savetxt(folder / "log.csv", rows, delimiter=",", header="t,goal,q", comments="")
    (folder / "robot.xml").write_text(XML.format(**WRITTEN))
    (folder / "map.toml").write_text(MAPPING)
    files = {"--model": "robot.xml", "--mapping": "map.toml", "--out": "out"}
    more = [word for option, name in files.items() for word in (option, str(folder / name))]
    return [str(folder / "log.csv"), *more]


@pytest.fixture(scope="module")
def log() -> Recording:
    """A servo with more gain and a delay."""
    return record(pendulum(kp=9.0), *wave(3.0), delay_s=0.011, quantum=0.0015, finer=2, seed=0)


def test_a_csv_becomes_ranges_and_a_page(tmp_path: Path, log: Recording) -> None:
    line = written(tmp_path, log)
    assert identify.main([*line, "--rows", "gain_*", "delay", *QUICK]) == 0
    out = tmp_path / "out"
    posterior = Posterior.load(out / "posterior.json")
    assert posterior.best == pytest.approx([1.5, 0.0105], rel=0.1)
    assert "<svg" in (out / "report.html").read_text()
    body = json.loads((out / "identification.json").read_text())
    assert any(r["held_out"] for r in body["recordings"])
    table = ParamSpace(posterior.space.rows)
    found = changed_space(table, as_ranges(read_ranges(out / "posterior.json")))
    low, high = found.rows[0].initial
    assert low - 0.02 < 1.5 < high + 0.02 and high - low < 0.5, "half a step of physics is a bias"
    other = ParamSpace((scale("gain_servo", "model.actuator_kd", ("servo",), (0.1, 9.0)),))
    with pytest.raises(ParamError, match="gain_servo"):
        changed_space(other, as_ranges(read_ranges(out / "posterior.json")))


def test_degrees_are_refused_before_any_fit(tmp_path: Path, log: Recording) -> None:
    line = written(tmp_path, log, scale_by=180 / np.pi)
    with pytest.raises(RecordingError, match="degrees"):
        identify.main(line)


def test_only_a_check_writes_nothing(
    tmp_path: Path, log: Recording, capsys: pytest.CaptureFixture[str]
) -> None:
    line = written(tmp_path, log)
    assert identify.main([*line, "--check-only", "--limits", "gain_servo=0.001,100"]) == 0
    assert not list((tmp_path / "out").glob("*.json"))


@pytest.mark.parametrize("more", [(), ("--task", "reach", "--model", "robot.xml")])
def test_one_of_task_and_model_is_asked_for(more: tuple[str, ...]) -> None:
    with pytest.raises((ParamError, SystemExit)):
        identify.main(["log.csv", *more])


def test_a_row_that_motion_does_not_tell_is_refused(log: Recording) -> None:
    table = ParamSpace((set_to("n", "sensor.noise", ("joint_pos",), (0.0, 0.1)),))
    with pytest.raises(ParamError, match="motion alone does not tell"):
        task_problem("t", pendulum(), table, np.ones(1, bool), [log])


def test_logs_of_other_joints_do_not_go_together(log: Recording) -> None:
    table = ParamSpace((add("z", "model.qpos0", ("servo",), (-0.1, 0.1)),))
    with pytest.raises(RecordingError, match="one by one"):
        task_problem("t", pendulum(), table, np.ones(1, bool), [log, replace(log, mode="effort")])
