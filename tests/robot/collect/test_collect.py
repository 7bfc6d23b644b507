"""Motions for identification: against scipy and closed forms, inside limits, through the guard."""

from dataclasses import replace
from pathlib import Path
from typing import ClassVar, get_args

import numpy as np
import pytest
import scipy.signal

from mjx_s2r.contract import ContractError
from mjx_s2r.params import ParamError
from mjx_s2r.robot import controller
from mjx_s2r.robot.calibration import JointCalibration
from mjx_s2r.robot.clock import VirtualClock
from mjx_s2r.robot.collect import waves
from mjx_s2r.robot.collect.actors import MotionActor, TeleopActor, motion_contract
from mjx_s2r.robot.collect.motion_file import MotionFile, plan_from_file, read_motion, write_motion
from mjx_s2r.robot.collect.plan import MotionConfig, MotionKind, plan_motion
from mjx_s2r.robot.controller import ControllerConfig
from mjx_s2r.robot.safety import Guard, SafetyConfig
from tests.robot.fakes import FakeDriver, contract_for, info_for

TIME_S = np.arange(20_000) / 1000
INSIDE = slice(1100, -1100)  # after the fade and before it
CONTRACT = replace(contract_for("position"), control_hz=50.0)
GUARD = Guard.build(SafetyConfig(), CONTRACT, info_for(CONTRACT))
KINDS = get_args(MotionKind)


@pytest.mark.parametrize(("method", "wave"), [("linear", "linear_chirp"), ("log", "log_chirp")])
def test_chirps_are_those_of_scipy(method: str, wave: str) -> None:
    ours = getattr(waves, wave)(TIME_S, 0.1, 10.0)
    theirs = scipy.signal.chirp(TIME_S, 0.1, TIME_S[-1], 10.0, method=method, phi=-90)
    assert np.max(np.abs(ours - theirs)[INSIDE]) < 1e-6


@pytest.mark.parametrize("kind", ["multi_sine", "band_noise"])
def test_the_power_lies_within_the_band(kind: str) -> None:
    more = (np.random.default_rng(0),) if kind == "band_noise" else ()
    wave = getattr(waves, kind)(TIME_S, 1.0, 5.0, *more)
    hz, power = scipy.signal.welch(wave[INSIDE], 1000, nperseg=8000)
    inside = (hz > 0.7) & (hz < 5.3)
    assert power[inside].sum() > 0.99 * power.sum()
    assert np.max(np.abs(wave)) <= 1


def test_phases_after_schroeder_have_a_lower_peak_than_equal_ones() -> None:
    wave = waves.multi_sine(TIME_S, 1.0, 5.0)[INSIDE]
    crest = np.max(np.abs(wave)) / np.sqrt(np.mean(wave**2))
    assert crest < 2.0, "equal phases of 80 sines give sqrt(2 * 80) = 12.6"


def test_the_way_of_least_jerk_has_the_known_peaks() -> None:
    way = waves.minimum_jerk(np.linspace(0, 1, 10_001))
    speed = np.gradient(way, 1e-4)
    assert way[0] == 0 and way[-1] == 1
    assert speed.max() == pytest.approx(1.875, rel=1e-4)
    assert np.gradient(speed, 1e-4).max() == pytest.approx(10 / np.sqrt(3), rel=1e-3)


@pytest.mark.parametrize("together", [False, True])
@pytest.mark.parametrize("kind", KINDS)
def test_a_plan_says_what_the_motion_does(kind: MotionKind, together: bool) -> None:
    config = MotionConfig(kind, amplitude=0.3, seconds=12, last_hz=1.5, together=together)
    plan = plan_motion(config, GUARD, (0.2, -0.1))
    way = plan.targets - (0.2, -0.1)
    speed = np.abs(np.diff(plan.targets, axis=0)) * CONTRACT.control_hz
    assert np.allclose(way[0], 0, atol=1e-9)
    assert np.max(np.abs(way[-1])) < 0.02 and np.max(speed[-1]) < 0.05, "ends where it began"
    for j, said in enumerate(plan.joints):
        assert np.max(np.abs(way[:, j])) <= said.amplitude + 1e-9
        assert np.max(np.abs(way[:, j])) > 0.5 * said.amplitude
        assert np.max(speed[:, j]) <= said.speed * 1.001
        assert np.max(speed[:, j]) > 0.8 * said.speed
        assert said.speed <= 0.8 * said.max_speed + 1e-9
    assert np.all((plan.targets > GUARD.limits.low) & (plan.targets < GUARD.limits.high))
    assert len(plan.lines()) == 3


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("seed", range(5))
def test_a_motion_that_is_too_large_is_made_smaller(kind: MotionKind, seed: int) -> None:
    rng = np.random.default_rng(seed)
    config = MotionConfig(
        kind,
        amplitude=float(rng.uniform(0.2, 1.5)),
        seconds=8,
        last_hz=float(rng.uniform(1, 3)),
        max_acceleration=60.0,
        seed=seed,
    )
    plan = plan_motion(config, GUARD, rng.uniform(-0.4, 0.4, 2))
    for said in plan.joints:
        assert said.amplitude <= said.room and said.speed <= 0.8 * said.max_speed + 1e-9
        assert said.acceleration <= 0.8 * 60 + 1e-9
        assert bool(said.narrowed_by) == (said.amplitude < config.amplitude)


def test_what_the_limits_leave_nothing_of_is_refused() -> None:
    with pytest.raises(ContractError, match="limit of position leaves"):
        plan_motion(MotionConfig(amplitude=0.5), GUARD, (GUARD.limits.high[0] - 0.01, 0))
    with pytest.raises(ContractError, match="outside"):
        plan_motion(MotionConfig(), GUARD, (1.5, 0))
    with pytest.raises(ContractError, match="quarter of the control rate"):
        plan_motion(MotionConfig(last_hz=20), GUARD, (0, 0))
    with pytest.raises(ParamError, match="unknown joint 'elbow'"):
        plan_motion(MotionConfig(joints=("elbow",)), GUARD, (0, 0))
    effort = contract_for("effort")
    with pytest.raises(ContractError, match="efforts"):
        plan_motion(MotionConfig(), Guard.build(SafetyConfig(), effort, info_for(effort)), (0, 0))


@pytest.mark.parametrize(
    "wrong",
    [{"kind": "chrip"}, {"amplitude": 0}, {"seconds": np.inf}, {"first_hz": 3.0, "last_hz": 1.0}],
)
def test_settings_that_no_motion_can_have_are_refused(wrong: dict[str, object]) -> None:
    with pytest.raises(ContractError, match="motion"):
        MotionConfig(**wrong)  # type: ignore[arg-type]


def test_a_motion_passes_the_guard_without_a_change() -> None:
    clock = VirtualClock()
    driver = FakeDriver(CONTRACT, clock.now_s)
    config = MotionConfig("steps", amplitude=0.3, seconds=8)
    safety = SafetyConfig(ramp_s=0.0)
    plan = plan_motion(config, GUARD, driver.position)
    actor = MotionActor(plan)
    settings = ControllerConfig(duration_s=2 * plan.seconds, safety=safety)
    done = controller.run(driver, actor, clock, settings, until=lambda _: actor.done)
    assert done.reason == "until" and not set(done.events) & {"rate", "position", "effort"}
    sent = np.array(driver.commands)
    assert np.max(np.abs(sent[0] - (0.3, -0.2))) < 1e-6, "the first command is the pose"
    assert np.max(np.abs(sent[1:] - plan.targets)) < 1e-6


WAY = np.stack([0.3 * np.hanning(101), -0.2 * np.hanning(101)], axis=1)
MOTION = MotionFile("", "a test", 50.0, ("b", "a"), "rad", WAY)


def test_a_motion_survives_its_file(tmp_path: Path) -> None:
    write_motion(MOTION, tmp_path / "motion.json")
    back = read_motion(tmp_path / "motion.json")
    assert back.joints == ("b", "a") and back.unit == "rad" and back.control_hz == 50
    assert np.max(np.abs(back.targets - WAY)) < 1e-6
    plan = plan_from_file(back, GUARD)
    assert plan.targets[100:] == pytest.approx(back.targets[:, ::-1]), "columns go by their names"
    assert np.ptp(plan.targets[:100], axis=0).max() == 0, "two seconds of rest before it"
    assert [j.amplitude for j in plan.joints] == pytest.approx([0.2, 0.3], abs=1e-4)
    # hanning: (1 - cos(2 pi t / 2 s)) / 2 of 0.3 is fastest with 0.3 pi / 2
    assert plan.joints[1].speed == pytest.approx(0.3 * np.pi / 2, rel=0.01)
    assert len(plan.lines()) == 3


@pytest.mark.parametrize(
    ("wrong", "why"),
    [
        ({"joints": ("a", "elbow")}, "unknown joint 'elbow'"),
        ({"joints": ("a",), "targets": WAY[:, :1]}, "make it for this robot"),
        ({"unit": "m"}, "in m at 50 Hz"),
        ({"control_hz": 100.0}, "at 100 Hz"),
        ({"targets": WAY * 10}, "commands may use"),
        ({"targets": WAY[::5]}, "speed reaches"),
        ({"targets": WAY[:26]}, "begins or ends at speed"),
    ],
)
def test_a_motion_that_does_not_fit_is_refused(wrong: dict[str, object], why: str) -> None:
    with pytest.raises((ContractError, ParamError), match=why):
        plan_from_file(replace(MOTION, **wrong), GUARD)  # type: ignore[arg-type]


def test_a_motion_beyond_the_acceleration_is_refused() -> None:
    """0.2 (1 - cos(pi t)) / 2 reaches 0.1 pi^2."""
    slow = Guard.build(SafetyConfig(max_acceleration=(0.5,)), CONTRACT, info_for(CONTRACT))
    with pytest.raises(ContractError, match=r"acceleration reaches 0\.987"):
        plan_from_file(MOTION, slow)


@pytest.mark.parametrize(
    ("body", "why"),
    [
        ("{", "no JSON"),
        ("[1]", "has format None"),
        ('{"format": "mjx_s2r motion 1", "joints": ["a"]}', "broken at 'targets'"),
        (
            '{"format": "mjx_s2r motion 1", "joints": ["a"], "unit": "rad", "made_by": "", '
            '"control_hz": 50, "targets": [[0, 1], [0, 1]]}',
            "for 1 joints",
        ),
    ],
)
def test_a_file_that_is_no_motion_is_refused(tmp_path: Path, body: str, why: str) -> None:
    (tmp_path / "motion.json").write_text(body)
    with pytest.raises(ContractError, match=why):
        read_motion(tmp_path / "motion.json")


class Leader:
    """A teleoperator that shows a pose."""

    def __init__(self, shown: dict[str, float]) -> None:
        """Takes the pose."""
        self.shown = shown

    def get_action(self) -> dict[str, float]:
        """Returns the pose."""
        return self.shown

    def connect(self) -> None:
        """Does nothing."""

    def disconnect(self) -> None:
        """Does nothing."""


def test_a_robot_follows_a_hand_no_faster_than_the_guard_allows() -> None:
    clock = VirtualClock()
    driver = FakeDriver(CONTRACT, clock.now_s)
    actor = TeleopActor(CONTRACT, Leader({"a.pos": 0.9, "b": -0.9}))
    controller.run(driver, actor, clock, ControllerConfig(duration_s=3.0))
    sent = np.array(driver.commands)
    assert np.allclose(sent[-1], (0.9, -0.9), atol=1e-6)
    assert np.max(np.abs(np.diff(sent, axis=0))) <= 2.0 / 50 + 1e-6
    with pytest.raises(ContractError, match="not joints"):
        TeleopActor(CONTRACT, Leader({"a.pos": 0.9})).act(np.zeros(0), {})


class LeRobotLeader(Leader):
    """One of LeRobot's, which names what it shows; -100 to 100 in a motor's range."""

    action_features: ClassVar = {"left.pos": float, "right.pos": float}


def test_a_leaders_percents_are_no_radians() -> None:
    """35 % of a range taken as 35 rad would send the robot to the ends of its joints."""
    shown = {"left.pos": 35.2, "right.pos": -12.0}
    with pytest.raises(ContractError, match=r"LeRobotLeader.*-100 to 100.*--teleop-calibration"):
        TeleopActor(CONTRACT, LeRobotLeader(shown))
    motors = (
        JointCalibration("b", "right", range_min=1024, range_max=3072, sign=-1, zero=0.1),
        JointCalibration("a", "left", range_min=1024, range_max=3072),
    )
    clock = VirtualClock()
    driver = FakeDriver(CONTRACT, clock.now_s)
    actor = TeleopActor(CONTRACT, LeRobotLeader(shown), motors)
    controller.run(driver, actor, clock, ControllerConfig(duration_s=3.0))
    quarter = np.pi / 2  # 1024 counts on both sides of the middle
    expected = (0.352 * quarter, 0.1 + 0.12 * quarter)
    assert np.allclose(driver.commands[-1], expected, atol=1e-6)
    with pytest.raises(ContractError, match=r"calibration has no joint .'a'.*'b'"):
        TeleopActor(CONTRACT, LeRobotLeader(shown), motors[:1])
    with pytest.raises(ContractError, match=r"not motors .'left'"):
        TeleopActor(CONTRACT, LeRobotLeader({"right.pos": 0.0}), motors).pose()


@pytest.mark.parametrize("value", [35.2, -2.5, np.nan])
def test_a_shown_pose_that_the_robot_cannot_have_stops_it(value: float) -> None:
    """Before one command goes that way; the joints of this robot end at 2 rad."""
    clock = VirtualClock()
    driver = FakeDriver(CONTRACT, clock.now_s)
    actor = TeleopActor(CONTRACT, Leader({"a": value, "b": -0.2}), info=info_for(CONTRACT))
    with pytest.raises(ContractError, match=r"for joint 'a', which goes from -2.4 to 2.4 rad"):
        controller.run(driver, actor, clock, ControllerConfig(duration_s=3.0))
    assert driver.calls[-1] == "stop"
    assert np.array_equal(driver.commands, [np.float32([0.3, -0.2])]), "the pose alone"
    beyond = Leader({"a": 2.1, "b": -0.2})  # a hand leads beyond the ends: the guard limits it
    assert TeleopActor(CONTRACT, beyond, info=info_for(CONTRACT)).pose()[0] == 2.1


def test_a_contract_comes_from_the_data_sheet_alone() -> None:
    info = info_for(CONTRACT)
    contract = motion_contract(replace(info, max_rate=(np.inf, 0.5)), 50.0)
    assert contract.action.low == info.low and contract.action.max_rate == (1.0, 0.5)
    assert [s.name for s in contract.signals] == ["joint_pos", "joint_vel"]
    for wrong, why in (
        ({"command": "effort"}, "need positions"),
        ({"low": (-np.inf, -2.0)}, "has no ends"),
        ({"signals": {}}, "no 'joint_pos'"),
    ):
        with pytest.raises(ContractError, match=why):
            motion_contract(replace(info, **wrong), 50.0)  # type: ignore[arg-type]
