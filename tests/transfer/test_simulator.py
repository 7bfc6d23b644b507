"""Replay of recordings against C MuJoCo stepped one by one."""

from dataclasses import replace

import mujoco
import numpy as np
import pytest

from mjx_s2r.params import Param, ParamSpace, scale, set_to
from mjx_s2r.transfer.problem import IdentifyProblem, model_problem, with_constants
from mjx_s2r.transfer.recording import Recording
from mjx_s2r.transfer.simulator import ReplaySimulator
from mjx_s2r.transfer.windows import cut_windows
from tests.transfer.rig import WRITTEN, pendulum, record, wave

ROWS = (
    set_to("damping", "model.dof_damping", ("servo",), (1e-3, 1.0), nominal=0.02),
    set_to("friction", "model.dof_frictionloss", ("servo",), (1e-3, 1.0), nominal=0.02),
    set_to("armature", "model.dof_armature", ("servo",), (1e-4, 1.0), nominal=0.004),
    scale("gain", "model.actuator_kp", ("servo",), (0.1, 10.0)),
    set_to("delay", "actuator.delay_s", (), (0.0, 0.1)),
)
OTHER = {"damping": 0.05, "friction": 0.04, "armature": 0.01, "gain": 1.5}
EXPLICIT = int(mujoco.mjtDisableBit.mjDSBL_EULERDAMP)
ADDED = 0.5 * 0.002 * (0.05 + 0.05)  # to the armature by a step: h / 2 (damping + kd)


def simulator(
    recordings: list[Recording],
    rows: tuple[Param, ...] = ROWS,
    window_s: float = 100.0,
    **model: object,
) -> ReplaySimulator:
    """Returns the simulator of recordings with some rows on the pendulum as written."""
    problem = IdentifyProblem("p", pendulum(**model), ParamSpace(rows), tuple(recordings))
    return ReplaySimulator(problem, cut_windows(recordings, window_s))


def misfit(found: ReplaySimulator, start: bool = True, **values: float) -> float:
    """Returns the largest difference of a prediction from the readings."""
    xi = found.space.values(values).astype(float)
    begin = found.windows.start.copy()
    if start:
        begin[0] = found.windows.recordings[0].readings[0, 0], 0.0
    return float(np.nanmax(np.abs(found.predict(xi, begin)[0] - found.windows.readings)))


@pytest.mark.parametrize("delay_s", [0.001, 0.005, 0.031])
def test_a_replay_is_what_the_robot_did(delay_s: float) -> None:
    """Other rows than written, and commands that arrive between steps: nothing is approximate."""
    robot = pendulum(damping=0.05, friction=0.04, armature=0.01 - ADDED, kp=9.0, kd=WRITTEN["kd"])
    log = record(robot, *wave(2.0), delay_s=delay_s)
    assert misfit(simulator([log]), delay=delay_s, **OTHER) < 1e-6
    assert misfit(simulator([log])) > 0.05


def test_what_a_step_adds_to_the_inertia_is_taken_off() -> None:
    """A robot at a tenth of the model's step, beside the model with and without what it adds."""
    robot = pendulum(damping=0.3, armature=0.01, kp=9.0, limit=500.0)
    log = record(robot, *wave(2.0), delay_s=0.01, finer=10)
    found = simulator([log], limit=500.0)
    values = {"damping": 0.3, "gain": 1.5, "delay": 0.01}
    right = misfit(found, armature=0.01, **values)
    added = misfit(found, armature=0.01 + 0.5 * 0.002 * (0.3 + 0.05), **values)
    assert right < 0.5 * added


@pytest.mark.parametrize(
    ("word", "disabled", "most"),
    [("EULER", 0, 3e-3), ("EULER", EXPLICIT, 3e-3), ("IMPLICITFAST", 0, 3e-3), ("RK4", 0, 1e-4)],
)
def test_rows_are_those_of_continuous_time_by_any_integrator(
    word: str, disabled: int, most: float
) -> None:
    """The truth is RK4 at a twentieth of the step; a step's kd adds or takes h kd / 2."""
    rk4 = int(mujoco.mjtIntegrator.mjINT_RK4)
    robot = pendulum(damping=0.1, armature=0.01, kp=9.0, kd=0.3, limit=500.0)
    robot.opt.integrator = rk4
    log = record(robot, *wave(2.0), delay_s=0.01, finer=20)
    model = pendulum(limit=500.0, kd=0.3)
    model.opt.integrator = int(getattr(mujoco.mjtIntegrator, f"mjINT_{word}"))
    model.opt.disableflags |= disabled
    problem = IdentifyProblem("p", model, ParamSpace(ROWS), (log,))
    found = ReplaySimulator(problem, cut_windows((log,), 100.0))
    values = {"damping": 0.1, "gain": 1.5, "delay": 0.01}
    less, right, more = (
        misfit(found, armature=0.01 + part * 0.002 * 0.3 / 2, **values) for part in (-1, 0, 1)
    )
    assert right < most and right < 0.7 * min(less, more)


def test_a_delay_between_two_physics_steps_lies_between_their_replays() -> None:
    time_s, commands = wave(1.0)
    found = simulator([record(pendulum(), time_s, commands)])
    xi = found.space.values({}).astype(float)
    delays = np.array([0.010, 0.0105, 0.011, 0.012])
    points = np.repeat(xi[None], 4, 0)
    points[:, -1] = delays
    end = found.predict(points)[:, 0, -1, 0]
    share = (end - end[0]) / (end[-1] - end[0])
    assert share == pytest.approx((delays - delays[0]) / 0.002, abs=0.05)


def test_a_filter_begins_a_window_with_what_came_before_it() -> None:
    row = set_to("lag", "model.actuator_time_constant", ("servo",), (0.01, 0.5), nominal=0.2)
    slow = {"filter": "filterexact", "lag": 0.12}
    log = record(pendulum(**slow), *wave(2.0), finer=4)
    found = simulator([log], (row,), 0.25, filter="filterexact", lag=0.2)
    right, wrong = (misfit(found, start=False, lag=lag) for lag in (0.12, 0.3))
    assert right < 0.03 and wrong > 3 * right


def test_a_servo_that_is_switched_off_falls() -> None:
    time_s, commands = wave(3.0)
    released = time_s > 1.5
    log = record(pendulum(), time_s, commands, released=released)
    found = simulator([log])
    assert found.windows.driven.tolist() == [True, False]
    assert misfit(found) < 0.03
    assert misfit(simulator([replace(log, driven=np.ones(len(log), bool))])) > 0.2


def test_play_acts_on_commands() -> None:
    time_s, commands = wave(2.0)
    moved = commands.copy()
    for t in range(1, len(moved)):
        moved[t] = np.clip(moved[t - 1], commands[t] - 0.05, commands[t] + 0.05)
    log = replace(record(pendulum(), time_s, moved), commands=commands)
    row = set_to("play", "actuator.backlash", ("servo",), (0.0, 0.1), unit="rad")
    assert misfit(simulator([log], (row,)), play=0.05) < 0.02 < misfit(simulator([log]))


def test_force_falls_with_speed_and_no_loss_changes_nothing() -> None:
    """By its steps a motor at its limit adds nothing to the inertia, which no replay knows."""
    log = record(pendulum(limit=0.8), *wave(1.0), finer=10)
    row = set_to("loss", "actuator.speed_loss", ("servo",), (0.0, 0.3), unit="s/rad")
    found = simulator([log], (row,), limit=0.8)
    assert misfit(found) < 0.04
    assert misfit(found, loss=0.2) > 0.2


def test_a_sensor_is_read_late_and_with_its_gain() -> None:
    """Of the start state, too: the robot's own, a row later and a tenth larger, fits exactly."""
    time_s, commands = wave(2.0)
    commands[1] = commands[0]  # the log below begins with the second row, and held it before
    true = record(pendulum(), time_s, commands, delay_s=0.011)
    late = replace(
        true,
        time_s=time_s[1:],
        commands=commands[1:],
        driven=true.driven[1:],
        readings=1.1 * true.readings[:-1],
    )
    rows = (
        *ROWS,
        set_to("late", "sensor.delay_s", (), (0.0, 0.05), unit="s"),
        scale("read", "sensor.gain", ("joint_pos",), (0.5, 2.0)),
    )
    found = simulator([late], rows)
    added = {"armature": WRITTEN["armature"] + 0.5 * 0.002 * (WRITTEN["damping"] + WRITTEN["kd"])}
    right = misfit(found, delay=0.011, late=0.02, read=1.1, **added)
    assert right < 1e-6 and misfit(found, delay=0.011, late=0.0, read=1.1, **added) > 0.05
    assert misfit(found, delay=0.011, late=0.02, **added) > 0.01


@pytest.mark.parametrize("slow", [{}, {"filter": "filterexact", "lag": 0.1}])
def test_a_log_tells_the_sum_of_both_delays(slow: dict[str, object]) -> None:
    """No log parts them, wherever a window begins: not even that its start is read late."""
    rows = (*ROWS, set_to("late", "sensor.delay_s", (), (0.0, 0.05), unit="s"))
    found = simulator([record(pendulum(**slow), *wave(2.0), delay_s=0.03)], rows, 0.25, **slow)
    parted = [(0.03, 0.0), (0.01, 0.02), (0.0, 0.03)]
    xi = [found.space.values({"delay": d, "late": s}).astype(float) for d, s in parted]
    one, two, three = found.predict(np.array(xi))
    assert one == pytest.approx(two, abs=1e-6, nan_ok=True)
    assert one == pytest.approx(three, abs=1e-6, nan_ok=True)


def test_numbers_of_a_logs_head_enter_its_model() -> None:
    model = with_constants(
        pendulum(), {"actuator_kp.servo": 2.5, "body_mass.bob": 0.9, "body_pos.bob[2]": -0.2}
    )
    assert model.actuator_gainprm[0, 0] == pytest.approx(2.5)
    assert model.actuator_biasprm[0, 1] == pytest.approx(-2.5)
    assert model.body("bob").mass[0] == pytest.approx(0.9)
    assert model.body("bob").pos == pytest.approx((0, 0, -0.2))
    logs = [
        record(pendulum(kp=kp), *wave(1.0), name=f"kp {kp}", constants={"actuator_kp.servo": kp})
        for kp in (3.0, 12.0)
    ]
    found = simulator(logs)
    begin = found.windows.start.copy()
    begin[:] = [[logs[0].readings[0, 0], 0.0], [logs[1].readings[0, 0], 0.0]]
    predicted = found.predict(found.space.values({}).astype(float), begin)[0]
    assert predicted == pytest.approx(found.windows.readings, abs=0.03)


def test_a_model_that_takes_other_commands_is_made_to() -> None:
    log = record(pendulum(), *wave(1.0))
    turned = model_problem(pendulum(), [replace(log, mode="effort")], "p")
    assert turned.mj_model.actuator_biastype[0] == 0
    assert "taken for a motor" in turned.notes[0]
    assert not model_problem(pendulum(), [log], "p").notes
