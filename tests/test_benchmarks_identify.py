"""The robots of the identification benchmark, and what judges their fits."""

import numpy as np
import pytest

from benchmarks.identify import COMMON, experiment, replay_error
from benchmarks.logged_robots import (
    BUS,
    TWO_LINK,
    Individual,
    fly,
    individual,
    kinds,
    problem_of,
    with_truth,
)
from benchmarks.mujoco_sysid import fit_by_sysid, sysid_lacks
from mjx_s2r.robot.drivers.imperfections import Imperfections
from mjx_s2r.transfer.problem import IdentifyProblem
from mjx_s2r.transfer.windows import Windows, cut_windows

KIND = kinds()["two_link"]
ROWS = tuple(row.name for row in KIND.space.rows if row.array in COMMON)
SHORT_S = 4.0


@pytest.fixture(scope="module")
def still() -> Individual:
    """A robot of a perfect bus with encoders, without latency."""
    drawn = individual(KIND, 3)
    truth = np.where(np.isin(KIND.space.names, ROWS), drawn.truth, KIND.space.nominal)
    return with_truth(KIND, truth, Imperfections(encoder_counts=4096))


@pytest.fixture(scope="module")
def logged(still: Individual, tmp_path_factory: pytest.TempPathFactory) -> IdentifyProblem:
    """What its log asks."""
    path = tmp_path_factory.mktemp("log") / "robot.flight"
    fly(still, path, SHORT_S, seed=3)
    return problem_of(KIND, path, ROWS)


def cut(problem: IdentifyProblem) -> Windows:
    """Returns windows, the last quarter of them held out."""
    return cut_windows(problem.recordings, 0.5, 0.25)


def test_a_robot_has_the_numbers_that_are_to_be_found() -> None:
    robot = individual(KIND, 0)
    truth = dict(zip(KIND.space.names, robot.truth, strict=True))
    assert robot.model.dof_damping[0] == pytest.approx(0.8 * truth["damping_shoulder"])
    assert robot.model.actuator_gainprm[1, 0] == pytest.approx(18 * truth["kp_elbow"])
    assert robot.model.body("tool").mass[0] == pytest.approx(0.15 * truth["load"])


def test_the_delay_to_be_found_is_the_mean_latency() -> None:
    """The mean of exp(0.3 n), n normal, is exp(0.045): 4.6 % above the median."""
    robot = individual(KIND, 0)
    (delay,) = (x for x, n in zip(robot.truth, KIND.space.names, strict=True) if "delay" in n)
    assert robot.flaws.latency_ms * np.exp(0.045) == pytest.approx(1e3 * delay)
    assert robot.flaws.lost_commands == BUS.lost_commands


def test_play_of_worn_gears_is_a_row() -> None:
    worn = kinds()["reach_gears"]
    robot = individual(worn, 0)
    play = robot.truth[worn.space.index("backlash")]
    assert np.deg2rad(robot.flaws.backlash_deg) == pytest.approx(play)
    assert robot.flaws.deadband_deg > 0


def test_positions_alone_are_fitted(logged: IdentifyProblem) -> None:
    (recording,) = logged.recordings
    assert {c.kind for c in recording.channels} == {"joint_pos"}
    assert np.ptp(recording.readings, axis=0).min() > 0.3, "the motion must move every joint"


def test_the_true_numbers_replay_the_log(still: Individual, logged: IdentifyProblem) -> None:
    """Encoders alone: a count is 1.5 mrad; starts are estimated, so a few of them remain."""
    windows = cut(logged)
    truth = still.truth[np.isin(KIND.space.names, ROWS)]
    right = replay_error(logged, windows, truth)
    assert right < 8e-3
    assert replay_error(logged, windows, logged.space.nominal) > 2 * right


@pytest.mark.skipif(bool(sysid_lacks()), reason="mujoco[sysid] is not installed")
def test_mujoco_sysid_gets_the_same_problem(still: Individual, logged: IdentifyProblem) -> None:
    """Gains are what such a log tells best: to a tenth."""
    found = fit_by_sysid(logged, cut(logged), TWO_LINK).values
    truth = still.truth[np.isin(KIND.space.names, ROWS)]
    gains = [i for i, row in enumerate(logged.space.rows) if row.array == "actuator_kp"]
    assert found[gains] == pytest.approx(truth[gains], rel=0.1)


def test_an_experiment_is_judged_beside_nominal_and_truth() -> None:
    done = experiment(kinds()["pan_tilt"], 1, seconds=SHORT_S)
    nominal, fitted, true = done.errors
    assert fitted < nominal
    assert fitted < 2 * true
    assert done.inside.shape == done.width.shape == (len(done.space),)
