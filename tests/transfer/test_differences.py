"""Derivatives by differences: of which replay they are, and how near to the model's own."""

from dataclasses import replace

import numpy as np
import pytest

from mjx_s2r.params import ParamSpace
from mjx_s2r.transfer.differences import linearize, quick_replay
from mjx_s2r.transfer.fit import RowFitConfig, fit_rows
from mjx_s2r.transfer.problem import model_problem
from mjx_s2r.transfer.simulator import ReplaySimulator
from mjx_s2r.transfer.unit_coordinates import nominal_z, unit_of, values_at
from mjx_s2r.transfer.windows import channel_noise, cut_windows
from tests.transfer.rig import pendulum, record, wave

NAMES = ("damping_servo", "armature_servo", "gain_servo", "delay")
TRUTH = {"friction": 0.0, "limit": 30.0, "damping": 0.045, "armature": 0.009, "kp": 9.0}
DELAY_S = 0.0137


def replay(names: tuple[str, ...] = NAMES, **changed: object) -> ReplaySimulator:
    """Returns the replay of 3 s of a robot by a model with some other numbers."""
    changed = {"friction": 0.0, "limit": 30.0, **changed}
    log = record(pendulum(**TRUTH), *wave(3.0), delay_s=DELAY_S, quantum=1e-3, finer=5, seed=0)
    whole = model_problem(pendulum(**changed), [log], "pendulum")
    rows = tuple(whole.space.rows[whole.space.index(name)] for name in names)
    problem = replace(whole, space=ParamSpace(rows))
    return ReplaySimulator(problem, cut_windows(problem.recordings, 0.5))


def left(simulator: ReplaySimulator, z: np.ndarray) -> np.ndarray:
    """Returns (W, K, C) reading minus prediction."""
    return simulator.windows.readings - simulator.predict(values_at(simulator.space, z[None]))[0]


def test_longer_steps_give_nearly_the_same_derivatives() -> None:
    """The oracle takes central differences of the model's own replay, one row after the other."""
    simulator = replay()
    z = np.maximum(nominal_z(simulator.space), 0.05)
    assert _taken_by(simulator, z).dt_s >= 2 * simulator.dt_s
    expect_derivatives(simulator, z)


def test_no_step_is_longer_than_a_filter() -> None:
    """A filter of 5 ms hardly changes a slow motion, so steps of 16 ms would look as good."""
    names = ("lag_servo", "delay")
    simulator = replay(names, filter="filter", lag=0.005)
    z = unit_of(simulator.space, np.array([0.005, DELAY_S]))
    assert simulator.shortest_lag_s(np.array([0.005, DELAY_S])) == pytest.approx(0.005)
    assert _taken_by(simulator, z).dt_s <= 0.005
    expect_derivatives(simulator, z)
    assert replay().shortest_lag_s(nominal_z(replay().space)) == np.inf


def _taken_by(simulator: ReplaySimulator, z: np.ndarray) -> ReplaySimulator:
    """Returns the replay whose derivatives are taken at ``z``."""
    windows = simulator.windows
    everyone = np.ones(len(windows), bool)
    return quick_replay(simulator, z, windows.start, everyone, left(simulator, z))


def expect_derivatives(simulator: ReplaySimulator, z: np.ndarray) -> None:
    """Checks derivatives at ``z`` against central differences of the model's own replay."""
    windows = simulator.windows
    everyone = np.ones(len(windows), bool)
    local = linearize(simulator, z, windows.start, everyone, channel_noise(windows))
    np.testing.assert_array_equal(local.residual, left(simulator, z))
    seen = np.isfinite(local.residual)
    for d, unit in enumerate(np.eye(len(z))):
        exact = (left(simulator, z - 1e-4 * unit) - left(simulator, z + 1e-4 * unit)) / 2e-4
        apart = np.linalg.norm((local.jacobian[..., d] - exact)[seen])
        name = simulator.space.names[d]
        assert apart < 0.05 * np.linalg.norm(exact[seen]), name


def test_a_servo_that_long_steps_cannot_follow_keeps_its_own() -> None:
    """Of 1,000 rad/s, sqrt(kp / inertia): a step of 4 ms is beyond 2 / w, where leapfrog breaks."""
    simulator = replay(kp=9000.0)
    windows, z = simulator.windows, nominal_z(simulator.space)
    everyone = np.ones(len(windows), bool)
    assert quick_replay(simulator, z, windows.start, everyone, left(simulator, z)) is simulator


@pytest.mark.parametrize("candidates", [0, 16])
def test_a_fit_without_generations_finds_the_numbers(candidates: int) -> None:
    """To two in a hundred of limits that are decades apart, the delay to a millisecond."""
    simulator = replay()
    config = RowFitConfig(candidates=candidates, generations=0, starts=1, held_out=0.0)
    made = fit_rows(simulator, config)
    truth = unit_of(simulator.space, np.array([0.045, 0.009, 1.5, DELAY_S]))
    assert np.abs(made.z - truth).max() < 0.02
    assert made.values[-1] == pytest.approx(DELAY_S, abs=1e-3)


def test_a_single_row_is_searched_for_along_its_limits() -> None:
    """The other numbers are the robot's own."""
    simulator = replay(("armature_servo",), **{**TRUTH, "armature": 0.004})
    config = RowFitConfig(candidates=8, generations=2, starts=1, held_out=0.0)
    assert fit_rows(simulator, config).values[0] == pytest.approx(0.009, rel=0.15)
