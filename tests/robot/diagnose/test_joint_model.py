"""The model of a joint's motion against closed forms, and its fit against leaving out by hand."""

import numpy as np
import pytest
import scipy.stats

from mjx_s2r.robot.diagnose.estimate import DiagnosisError, student_t
from mjx_s2r.robot.diagnose.fit import JointFit, fit_joint, free_of, jackknife
from mjx_s2r.robot.diagnose.joint_model import CommandSignal, DriveMode, Trials, simulate
from mjx_s2r.robot.diagnose.motion_fit import fit_limits
from mjx_s2r.robot.diagnose.settings import DiagnosisSettings
from mjx_s2r.robot.diagnose.track import JointTrack

TIME_S = np.arange(0, 1.0, 0.02)


def one_trial(mode: DriveMode, issue_s: list[float], command: list[float]) -> Trials:
    """Returns a trial of 50 readings at 50 Hz under some commands."""
    grid = TIME_S[None]
    signal = CommandSignal.of(np.array(issue_s), np.array(command))
    here = np.zeros((1, 2))
    return Trials(mode, True, signal, grid, 0 * grid, grid >= 0, here, here + 1e-3, 1e-3)


def run(trials: Trials, start: tuple[float, float], **theta: float) -> np.ndarray:
    """Returns (50,) positions."""
    names = ("drive", "damping", "dry", "sine", "cosine", "delay")
    row = np.array([[theta.get(name, 0.0) for name in names]])
    return simulate(trials, row, np.array([[start]]))[0, 0]


def test_viscous_friction_alone_is_an_exponential() -> None:
    found = run(one_trial("effort", [0.0], [0.0]), (0.2, 3.0), drive=1.0, damping=4.0)
    assert np.max(np.abs(found - (0.2 + 3 / 4 * (1 - np.exp(-4 * TIME_S))))) < 1e-4


def test_dry_friction_alone_stops_after_half_v_squared_over_c() -> None:
    found = run(one_trial("effort", [0.0], [0.0]), (0.0, 2.0), drive=1.0, dry=5.0)
    until = np.minimum(TIME_S, 2 / 5)
    assert np.max(np.abs(found - (2 * until - 2.5 * until**2))) < 1e-9


def test_a_joint_stays_where_its_friction_holds_it() -> None:
    held = run(one_trial("effort", [0.0], [0.9]), (0.3, 0.0), drive=1.0, dry=1.0)
    assert np.all(held == 0.3)


@pytest.mark.parametrize("delay_s", [0.0, 0.0071, 0.0133, 0.0529])
def test_a_delayed_step_of_a_critical_servo(delay_s: float) -> None:
    rad_s = 30.0
    trials = one_trial("position", [0.0, 0.1], [0.0, 1.0])
    found = run(trials, (0.0, 0.0), drive=rad_s**2, damping=2 * rad_s, delay=delay_s)
    late = np.maximum(TIME_S - 0.1 - delay_s, 0.0)
    assert np.max(np.abs(found - (1 - (1 + rad_s * late) * np.exp(-rad_s * late)))) < 2e-3


def test_a_swing_has_the_period_of_a_pendulum() -> None:
    found = run(one_trial("effort", [0.0], [0.0]), (0.01, 0.0), drive=1.0, sine=25.0)
    assert np.max(np.abs(found - 0.01 * np.cos(5 * TIME_S))) < 1e-4


def test_quantiles_are_those_of_student() -> None:
    for dof in (1, 2, 3, 7, 19, 99):
        assert student_t(dof) == pytest.approx(scipy.stats.t.ppf(0.975, dof), rel=2e-3)


def test_the_jackknife_leaves_out_one_group_at_a_time() -> None:
    rng = np.random.default_rng(0)
    slope = rng.normal(size=(9, 5, 2))
    read = slope @ [1.0, -2.0] + 0.1 * rng.normal(size=(9, 5))
    best = np.linalg.lstsq(slope.reshape(-1, 2), read.ravel(), rcond=None)[0]
    others = [
        np.linalg.lstsq(
            np.delete(slope, g, 0).reshape(-1, 2), np.delete(read, g, 0).ravel(), rcond=None
        )[0]
        for g in range(9)
    ]
    apart = np.array(others) - best
    assert np.allclose(jackknife(slope, read - slope @ best), 8 / 9 * apart.T @ apart)


def test_two_trials_leave_no_interval() -> None:
    with pytest.raises(DiagnosisError, match="too few"):
        fit_joint(one_trial("effort", [0.0], [0.0]), np.ones(6), free_of(True, True))


@pytest.mark.parametrize(("spread_s", "said"), [(5e-4, False), (4e-3, True)])
def test_a_delay_that_jitters_by_a_tenth_of_the_period_is_said(spread_s: float, said: bool) -> None:
    """Twenty trials whose own delays lie so far apart, at 50 Hz: 2.5 and 20 % of the period."""
    steps = np.zeros(200)
    track = JointTrack(
        joint="j",
        mode="effort",
        unit="rad",
        command_unit="N m",
        issue_s=0.02 * np.arange(200),
        command=steps,
        time_s=0.02 * np.arange(200),
        position=steps,
        fresh=np.ones(200, bool),
        effort=None,
        others_moved=0.0,
    )
    fit = JointFit(
        theta=np.ones(6),
        covariance=np.zeros((6, 6)),
        predicted=np.zeros((20, 4)),
        residual=np.zeros((20, 4)),
        trials=20,
        delay_of_trial=0.01 + spread_s * np.tile([-1.0, 1.0], 10),
        delay_variance=np.full(20, 1e-9),
    )
    settings = DiagnosisSettings("inertia", "j")
    found = fit_limits(track, settings, fit, span=1.0)
    assert any("of the control period of 20 ms" in sentence for sentence in found) == said
