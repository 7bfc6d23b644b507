"""Efforts in N m or N, and commands that an actuator does not take."""

from dataclasses import replace
from pathlib import Path

import mujoco
import numpy as np
import pytest

from mjx_s2r.params import ParamSpace, scale
from mjx_s2r.transfer.mapping import read_mapping
from mjx_s2r.transfer.problem import IdentifyProblem, model_problem, task_problem
from mjx_s2r.transfer.readers import read_recordings
from mjx_s2r.transfer.recording import Channel, Recording, RecordingError
from mjx_s2r.transfer.recording_checks import check_recordings
from mjx_s2r.transfer.simulator import ReplaySimulator
from mjx_s2r.transfer.telemetry.model_checks import actuator_of
from mjx_s2r.transfer.windows import cut_windows
from tests.transfer.rig import pendulum, record, wave

MOTOR = """
<mujoco><option timestep="0.002"/><worldbody><body>
  <joint name="joint" type="{kind}" axis="0 1 0" damping="{damping}"/>
  <geom type="capsule" fromto="0 0 0 0 0 -.4" size=".03" mass="2"/></body></worldbody>
<actuator><motor name="drive" joint="joint" gear="{gear}" ctrlrange="-1 1"/></actuator></mujoco>
"""
KINDS = [("hinge", 50.0, 1.0), ("hinge", -50.0, 1.0), ("slide", 50.0, 20.0)]
TABLE = ParamSpace((scale("damping", "model.dof_damping", ("joint",), (0.2, 5.0)),))


def pushed(kind: str, gear: float, damping: float) -> tuple[mujoco.MjModel, Recording]:
    """Returns a robot and its log: N m or N on its joint, which MuJoCo applies without a motor."""
    model = mujoco.MjModel.from_xml_string(MOTOR.format(kind=kind, gear=gear, damping=damping))
    data, time_s = mujoco.MjData(model), np.arange(200) / 100
    force = 6 * np.sin(5.0 * time_s) + 3 * np.sin(12.0 * time_s)
    rows = np.empty((len(time_s), 1))
    for t, now in enumerate(force):
        rows[t], data.qfrc_applied[0] = data.qpos, now
        mujoco.mj_step(model, data, 5)
    unit = "rad" if kind == "hinge" else "m"
    channels, driven = (Channel("joint_pos", "joint", unit=unit),), np.ones(len(time_s), bool)
    log = Recording("log", time_s, ("drive",), "effort", force[:, None], driven, channels, rows)
    return model, log


def misfit(problem: IdentifyProblem) -> float:
    """Returns the error at nominal over the readings' motion."""
    found = ReplaySimulator(problem, cut_windows(problem.recordings, 0.5))
    apart = found.predict(problem.space.nominal[None].astype(float))[0] - found.windows.readings
    return float(np.sqrt(np.nanmean(apart**2)) / problem.recordings[0].readings.std())


@pytest.mark.parametrize(("kind", "gear", "damping"), KINDS)
def test_efforts_act_as_they_are_through_any_gear(kind: str, gear: float, damping: float) -> None:
    model, log = pushed(kind, gear, damping)
    assert misfit(task_problem("arm", model, TABLE, np.ones(1, bool), [log])) < 0.02
    whole = model_problem(model, [log], "arm")
    np.testing.assert_allclose(whole.recordings[0].commands, log.commands / gear)
    again = task_problem("arm", model, TABLE, np.ones(1, bool), whole.recordings)
    assert misfit(again) < 0.02


@pytest.mark.parametrize(("kind", "gear", "damping"), KINDS)
def test_what_an_actuator_would_clip_is_counted_in_its_forces(
    kind: str, gear: float, damping: float
) -> None:
    """9 N m are less than 1 times the gear of 50; 90 are more, for most of the time."""
    model, log = pushed(kind, gear, damping)
    codes = [
        {f.code for f in check_recordings([one], model).findings}
        for one in (log, replace(log, commands=20 * log.commands))
    ]
    assert ["commands out of range" in found for found in codes] == [False, True]


def test_a_share_of_the_force_is_the_control(tmp_path: Path) -> None:
    model, log = pushed(*KINDS[0])
    lines = [
        f"{t:.9f},{c:.9f},{q:.9f}"
        for t, c, q in zip(log.time_s, log.commands[:, 0] / 50, log.readings[:, 0], strict=True)
    ]
    (tmp_path / "a.csv").write_text("\n".join(["t,u,q", *lines]))
    (tmp_path / "m.toml").write_text(
        '[time]\ncolumn = "t"\n[commands]\nmode = "effort"\n'
        'joints.drive = { column = "u", unit = "1" }\n[readings]\njoint_pos.joint = "q"\n'
    )
    book = read_recordings([tmp_path / "a.csv"], model, read_mapping(tmp_path / "m.toml"))
    assert "commands out of range" not in {
        f.code for f in check_recordings(book.recordings, model).findings
    }
    assert misfit(task_problem("arm", model, TABLE, np.ones(1, bool), book.recordings)) < 0.02


@pytest.mark.parametrize("mode", ["effort", "velocity"])
def test_a_task_refuses_commands_that_its_servos_do_not_take(mode: str) -> None:
    log = record(pendulum(), *wave(1.0))
    table = ParamSpace((scale("gain", "model.actuator_kp", ("servo",), (0.1, 10.0)),))
    assert task_problem("task", pendulum(), table, np.ones(1, bool), [log]).name == "task"
    with pytest.raises(RecordingError, match=f"{mode} commands of .servo. do not fit"):
        wrong = replace(log, mode=mode)  # type: ignore[arg-type]
        task_problem("task", pendulum(), table, np.ones(1, bool), [wrong])


def test_the_range_of_a_motor_is_none_of_the_positions_it_is_sent() -> None:
    """It becomes a servo without that range, see `model_problem`."""
    model, log = pushed(*KINDS[0])
    positions = replace(log, mode="position", commands=2 + log.readings)
    found = {f.code for f in check_recordings([positions], model).findings}
    assert not found & {"commands out of range", "degrees for radians"}


def test_an_actuator_in_the_parents_frame_drives_its_joint() -> None:
    """Of a hinge it is the same as one on the joint, so the joint is not passive."""
    text = MOTOR.format(kind="hinge", gear=50, damping=1).replace(
        'name="drive" joint=', 'name="drive" jointinparent='
    )
    model, (_, log) = mujoco.MjModel.from_xml_string(text), pushed(*KINDS[0])
    assert actuator_of(model, "joint") == 0
    named = replace(log, joints=("joint",))
    assert "no actuator" not in {f.code for f in check_recordings([named], model).findings}
    names = model_problem(model, [log], "arm").space.names
    assert len(names) == len(set(names)) and names.count("damping_joint") <= 1
    assert misfit(task_problem("arm", model, TABLE, np.ones(1, bool), [named])) < 0.02
