"""Identification of simulated servos whose parameters are known, and of a real one."""

from dataclasses import replace
from pathlib import Path

import mujoco
import numpy as np
import pytest

from mjx_s2r.params import ParamSpace
from mjx_s2r.transfer.fit import RowFitConfig
from mjx_s2r.transfer.identifiability import IdentifiabilityError
from mjx_s2r.transfer.identify import identify, prepare_windows
from mjx_s2r.transfer.problem import IdentifyProblem, model_problem
from mjx_s2r.transfer.recording import Channel, Recording
from mjx_s2r.transfer.recording_checks import check_recordings
from mjx_s2r.transfer.unit_coordinates import unit_of
from tests.transfer.rig import pendulum, record, wave

QUICK = RowFitConfig(candidates=32, generations=8, search_windows=8, starts=1, iterations=10)
TRUTH = {"damping": 0.045, "friction": 0.05, "armature": 0.009, "kp": 9.0}
DELAY_S = 0.0137


def robot_log(seed: int = 0, **changed: float) -> Recording:
    """Returns a log of a robot with other numbers than its model, by an encoder of 12 bits."""
    model = pendulum(**{**TRUTH, **changed})
    time_s, commands = wave(6.0, seed=seed)
    return record(
        model, time_s, commands, delay_s=DELAY_S, quantum=2 * np.pi / 4096, finer=5, seed=seed
    )


def problem(log: Recording, *names: str) -> IdentifyProblem:
    """Returns the problem of some of the model's rows."""
    whole = model_problem(pendulum(), [log], "pendulum")
    rows = tuple(whole.space.rows[whole.space.index(name)] for name in names)
    return replace(whole, space=ParamSpace(rows))


NAMES = ("damping_servo", "friction_servo", "armature_servo", "gain_servo", "delay")


@pytest.fixture(scope="module")
def found() -> object:
    """The identification of five rows."""
    return identify(prepare_windows(problem(robot_log(), *NAMES), QUICK), QUICK)


def test_the_truth_lies_in_narrow_intervals(found: object) -> None:
    """Five rows at 99.9 %: intervals are widened to twice, since one log is one experiment."""
    posterior = found.posterior  # type: ignore[attr-defined]
    truth = np.array([0.045, 0.05, 0.009, 1.5, DELAY_S])
    z, low, high = (unit_of(posterior.space, x) for x in (truth, *posterior.interval.T))
    middle, half = (low + high) / 2, (high - low) / 2
    assert (np.abs(z - middle) <= 2 * half).all()
    assert (half < 0.1).all(), "a fit that says nothing holds every truth"


def test_the_delay_is_found_to_a_millisecond(found: object) -> None:
    posterior = found.posterior  # type: ignore[attr-defined]
    assert posterior.best[-1] == pytest.approx(DELAY_S, abs=1e-3)


def test_what_was_held_out_is_predicted_ten_times_better(found: object) -> None:
    held = [fit for fit in found.fits if fit.held_out]  # type: ignore[attr-defined]
    assert held
    for fit in held:
        assert (fit.error("nominal") / fit.error("fitted") > 10).all()
        assert (fit.coverage() > 0.8).all()


def test_a_row_that_moves_nothing_is_refused_and_named() -> None:
    """A force limit that is never reached."""
    log = record(pendulum(limit=500.0), *wave(2.0), quantum=1e-3)
    whole = model_problem(pendulum(limit=500.0), [log], "pendulum")
    rows = (replace(whole.space.rows[whole.space.index("limit_servo")], limits=(0.5, 2.0)),)
    with pytest.raises(IdentifiabilityError, match="limit_servo"):
        prepare_windows(replace(whole, space=ParamSpace(rows)), QUICK)


def test_a_pair_that_only_acts_together_is_named() -> None:
    """While the servo is on and has force left, its own damping and the joint's are one."""
    log = record(pendulum(**TRUTH, limit=500.0), *wave(3.0), quantum=1e-3, seed=1)
    whole = problem(log, "damping_servo", "kd_servo", "gain_servo")
    found = identify(prepare_windows(replace(whole, mj_model=pendulum(limit=500.0)), QUICK), QUICK)
    assert [set(g) for g in found.posterior.groups] == [{"damping_servo", "kd_servo"}]


def free_swing(seed: int) -> Recording:
    """Returns a log of a robot that swings with its servo off and that nobody commands."""
    model = pendulum(**{**TRUTH, "kp": 0.0, "kd": 0.0})
    time_s = np.arange(200) / 50
    data, angles = mujoco.MjData(model), np.empty((len(time_s), 1))
    data.qpos[0] = (1.8, -1.2)[seed]
    steps = round(0.02 / model.opt.timestep)
    for t in range(len(time_s)):
        angles[t] = data.qpos
        mujoco.mj_step(model, data, steps)
    quantum = 2 * np.pi / 4096
    return Recording(
        name=f"swing {seed}",
        time_s=time_s,
        joints=(),
        mode="position",
        commands=np.empty((len(time_s), 0)),
        driven=np.ones(len(time_s), bool),
        channels=(Channel("joint_pos", "servo"),),
        readings=np.round(angles / quantum) * quantum,
    )


def test_free_motion_that_nobody_commands_tells_of_the_joint() -> None:
    """The model has a servo, which is taken as off; friction and inertia come out, no delay is."""
    logs = [free_swing(0), free_swing(1)]
    report = check_recordings(logs, pendulum())
    assert not report.errors
    assert [f.code for f in report.findings if "taken as off" in f.what] == ["uncommanded"]
    whole = model_problem(pendulum(), logs, "pendulum")
    assert "taken as off" in whole.notes[-1]
    joint = ("armature_servo", "damping_servo", "friction_servo", "zero_servo")
    assert whole.space.names == (*joint, "mass_rod", "mass_bob")
    fitted = ("damping_servo", "friction_servo", "armature_servo")
    rows = tuple(whole.space.rows[whole.space.index(name)] for name in fitted)
    made = identify(prepare_windows(replace(whole, space=ParamSpace(rows)), QUICK), QUICK)
    for name in fitted:
        low, high = made.posterior.range_of(name)
        truth = TRUTH[name.removesuffix("_servo")]
        assert low / 1.1 <= truth <= 1.1 * high and high < 2 * low


def test_a_fit_is_kept_and_taken_up(tmp_path: Path) -> None:
    made = prepare_windows(problem(robot_log(), "gain_servo", "delay"), QUICK)
    keep = tmp_path / "fit.json"
    first = identify(made, QUICK, keep=keep)
    stages: list[str] = []
    again = identify(made, QUICK, lambda stage, share, cost: stages.append(stage), keep)
    assert "search" not in stages
    assert again.posterior.best == pytest.approx(first.posterior.best, rel=1e-6)
    other = prepare_windows(problem(robot_log(1), "gain_servo", "delay"), QUICK)
    identify(other, QUICK, lambda stage, share, cost: stages.append(stage), keep)
    assert "search" in stages, "another log must be fitted anew"
