"""Replay and blame, on flights of a simulated robot whose rows are known."""

from dataclasses import dataclass
from typing import cast

import numpy as np
import pytest

from mjx_s2r.eval.reality import Reality
from mjx_s2r.eval.robot_episodes import EvalConfig, log_name, run_episodes
from mjx_s2r.eval.stand_ins import stand_ins
from mjx_s2r.params import ParamError, ParamSpace, scale
from mjx_s2r.robot.controller import ControllerConfig
from mjx_s2r.robot.policy import Policy
from mjx_s2r.robot.safety import SafetyConfig
from mjx_s2r.sim.task import Task
from mjx_s2r.transfer.gap.blame import explained_together, find_blame, replay_error
from mjx_s2r.transfer.gap.replay import measure_replay, replayer
from mjx_s2r.transfer.readers import read_recordings
from mjx_s2r.transfer.recording import Channel, Recording
from mjx_s2r.transfer.simulator import ReplaySimulator
from mjx_s2r.transfer.windows import Windows, cut_windows
from tests.robot.fakes import write_onnx
from tests.transfer.gap.calm_arm import CalmArm

TASK = cast(Task, CalmArm())
TRUE = {"kp": 0.6, "delay": 0.03}
ROWS = ("mass", "kp", "delay")
HALF_STEP_S = 0.006  # a command acts from the next step on; the replay counts from its middle


@pytest.fixture(scope="module")
def simulator(tmp_path_factory: pytest.TempPathFactory) -> ReplaySimulator:
    """Returns the replay of three flights of a robot with weaker servos and a late bus."""
    folder = tmp_path_factory.mktemp("replay")
    policy = Policy.load(write_onnx(folder / "p.onnx", TASK.contract))
    effects = {"latency_ms": 30.0}
    reality = Reality("late", count=3, rows={"kp": TRUE["kp"]}, effects=effects)
    control = ControllerConfig(TASK.episode_s, SafetyConfig(ramp_s=0.0))
    rules = EvalConfig(hold_s=9.0, controller=control, logs=folder / "logs")
    names = [e.robot for e in run_episodes(policy, stand_ins(TASK, [reality]), 1, rules)]
    paths = [folder / "logs" / log_name(name) for name in names]
    recordings = read_recordings(paths, TASK.mj_model).recordings
    rows = np.isin(TASK.space.names, ROWS)
    return replayer("toy", TASK.mj_model, TASK.space, rows, recordings, 0.25)


def bounds(simulator: ReplaySimulator, ends: dict[str, tuple[float, float]]) -> np.ndarray:
    """Returns (2, D) the given ranges; nominal for the other rows."""
    rows = simulator.space.rows
    return np.array([ends.get(r.name, (r.nominal, r.nominal)) for r in rows]).T


def test_the_nominal_model_is_off_and_ranges_that_hold_the_robot_cover_it(
    simulator: ReplaySimulator,
) -> None:
    wide = measure_replay(simulator, *bounds(simulator, {"kp": (0.5, 1.2), "delay": (0.0, 0.05)}))
    narrow = measure_replay(simulator, *bounds(simulator, {}))
    kinds = [str(c) for c in wide.channels]
    assert kinds == ["joint_pos a", "joint_pos b", "joint_vel a", "joint_vel b"]
    assert (wide.share() > 0.1).all() and (narrow.error() == wide.error()).all()
    assert (wide.inside() > 0.9).all() and (narrow.inside() < 0.7).all()
    assert (wide.motion() > wide.noise_std).all()
    known = np.isfinite(narrow.low)
    width = np.broadcast_to(4 * narrow.noise_std, known.shape)  # two deviations on either side
    np.testing.assert_allclose((narrow.high - narrow.low)[known], width[known], rtol=1e-6)


def test_the_rows_to_blame_are_those_of_the_robot(simulator: ReplaySimulator) -> None:
    error = replay_error(simulator)
    assert error(simulator.space.nominal[None]) == pytest.approx(1.0)
    trained = bounds(simulator, {"kp": (0.8, 1.2), "delay": (0.0, 0.05)})
    found = find_blame(error, simulator.space, trained)
    best = {row.name: row for row in found.greedy}
    assert {row.name for row in found.greedy[:2]} == {"kp", "delay"}
    assert best["kp"].best == pytest.approx(TRUE["kp"], abs=0.05) and best["kp"].trained is False
    assert (
        best["delay"].best == pytest.approx(TRUE["delay"], abs=HALF_STEP_S)
        and best["delay"].trained
    )
    shares = [row.share for row in found.single]
    assert found.greedy[1].share > 0.995 > shares[0] and shares == sorted(shares, reverse=True)
    together, values = explained_together(simulator, error)
    assert together > 0.995 and values["delay"] == pytest.approx(TRUE["delay"], abs=HALF_STEP_S)


@dataclass(frozen=True)
class KnownReplay:
    """A simulator that is off by the row's value times a wave, in one joint of six.

    Attributes:
        windows: readings are waves with noise.
        space: one row, nominal 1.
        clean: (W, K, C) the readings without noise.
    """

    windows: Windows
    space: ParamSpace
    clean: np.ndarray

    def predict(self, xi: np.ndarray, which: np.ndarray) -> np.ndarray:
        """Returns (P, W, K, C), off in the fourth joint and its speed, a hair in an idle slide."""
        sizes = np.array([0, 0, 0, 0.05, 0, 0, 2.0, 1e-5])
        wave = np.sin(30 * self.windows.time_s)[..., None] * sizes
        return self.clean + xi[:, None, None] * wave


def test_one_bad_joint_of_six_counts_for_what_it_does() -> None:
    """Of 0.05^2 / 2 in one angle, at noise of 1e-3 in all: x^2 is left, not (5 + x^2) / 6."""
    rng, time_s = np.random.default_rng(0), np.arange(1000) / 100
    phases = np.arange(6.0)
    clean = 0.5 * np.sin(3 * time_s[:, None] + phases)
    speed = 1.5 * np.cos(3 * time_s[:, None] + phases[3:4])
    clean = np.concatenate([clean, speed], 1)
    readings = clean + 1e-3 * rng.standard_normal(clean.shape)
    clean, readings = (np.pad(x, ((0, 0), (0, 1))) for x in (clean, readings))  # a slide at rest
    joints = tuple(f"j{i}" for i in range(6))
    channels = tuple(Channel("joint_pos", j) for j in joints)
    channels += (Channel("joint_vel", "j3", unit="rad/s"), Channel("joint_pos", "s", unit="m"))
    driven, commands = np.ones(1000, bool), clean[:, :6]
    log = Recording("six", time_s, joints, "position", commands, driven, channels, readings)
    windows = cut_windows([log], 0.5)
    at = np.searchsorted(time_s, windows.start_s[:, None] + windows.time_s - 1e-6)
    whole = np.where(np.isnan(windows.time_s)[..., None], np.nan, clean[np.minimum(at, 999)])
    row = scale("one", "model.a", ("x",), (0.0, 1.0))
    error = replay_error(KnownReplay(windows, ParamSpace((row,)), whole))  # type: ignore[arg-type]
    for x in (1.0, 0.5, 0.0):
        assert error(np.array([[x]])) == pytest.approx([x**2], abs=0.01)


def test_blame_finds_the_bottom_of_a_known_bowl() -> None:
    """Half of the error is the first row's, at 0.2; a third is the second one's, at 3."""
    rows = (
        scale("one", "model.a", ("x",), (0.0, 1.0)),
        scale("two", "model.b", ("x",), (0.5, 4.0)),
    )
    space = ParamSpace(rows)

    def error(xi: np.ndarray) -> np.ndarray:
        """Returns a sum of squares."""
        return ((xi[:, 0] - 0.2) / 0.8) ** 2 / 2 + ((xi[:, 1] - 3) / 2) ** 2 / 3 + 1 / 6

    found = find_blame(error, space)
    assert [row.name for row in found.single] == ["one", "two"]
    assert [row.share for row in found.single] == pytest.approx([1 / 2, 1 / 3], abs=1e-3)
    assert [row.share for row in found.greedy] == pytest.approx([1 / 2, 5 / 6], abs=2e-3)
    assert [row.best for row in found.greedy] == pytest.approx([0.2, 3.0], abs=0.02)
    assert found.single[0].trained is None


def test_rows_that_motion_cannot_tell_are_refused(simulator: ReplaySimulator) -> None:
    recordings = simulator.windows.recordings
    rows = np.isin(TASK.space.names, ("hue", "push"))
    with pytest.raises(ParamError, match=r"\['push', 'hue'\] acts on motion"):
        replayer("toy", TASK.mj_model, TASK.space, rows, recordings, 0.25)
