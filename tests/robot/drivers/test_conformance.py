"""The check of drivers finds what it is there for, and finds nothing in the template."""

import time
from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest

from mjx_s2r.robot.driver import DriverInfo, Reading
from mjx_s2r.robot.drivers.conformance import DriverFinding, check_driver
from mjx_s2r.robot.drivers.template import COUNTS, MIDDLE, MyRobot


def hurried(seconds: float) -> None:
    """Waits a tenth of the time: the template's servos move at once."""
    time.sleep(seconds / 10)


def tried(driver: MyRobot, *, moves: bool = True) -> list[DriverFinding]:
    """Returns the findings on a driver."""
    return check_driver(driver, moves=moves, wait=hurried)


class AtAnEnd(MyRobot):
    """Stands 1 % of its range from an end of its elbow."""

    side = 1.0

    def connect(self) -> None:
        """Puts the elbow there, as a person does before the bus is opened."""
        super().connect()
        self._open().goal(np.array([MIDDLE, round(self.side * 1.57 * COUNTS) + MIDDLE, MIDDLE]))
        super().connect()


class AtTheLowEnd(AtAnEnd):
    """Likewise at its other end."""

    side = -1.0


@pytest.mark.parametrize("kind", [AtAnEnd, AtTheLowEnd])
def test_the_template_keeps_every_rule(kind: Callable[[], MyRobot]) -> None:
    findings = tried(kind())
    assert [finding for finding in findings if not finding.is_kept] == []
    assert len(findings) > 15
    assert len(tried(kind(), moves=False)) < len(findings)  # nothing moves unless it may


def test_what_lies_beyond_an_end_is_not_tried_from_afar() -> None:
    untried = [finding for finding in tried(MyRobot()) if not finding.is_kept]
    assert [finding.is_kept for finding in untried] == [None, None]
    assert all("'shoulder', which is at 0, within 2% of its range of" in f.seen for f in untried)


class Clips(AtAnEnd):
    """Clips in silence."""

    def write(self, command: np.ndarray) -> None:
        """Sends what fits."""
        super().write(np.clip(command, self.describe().low, self.describe().high))


class OldStamps(MyRobot):
    """Stamps that stand still."""

    def read(self) -> Reading:
        """Returns a reading of long ago."""
        return Reading(1.0, super().read().signals)


class OneArray(MyRobot):
    """The same array in every reading."""

    _array = np.zeros(3)

    def read(self) -> Reading:
        """Returns the array again."""
        reading = super().read()
        self._array[:] = reading.signals["joint_pos"]
        return Reading(reading.time_s, {**reading.signals, "joint_pos": self._array})


class Shapes(MyRobot):
    """Another number of joints than described."""

    def read(self) -> Reading:
        """Returns two joints."""
        reading = super().read()
        return Reading(reading.time_s, {"joint_pos": reading.signals["joint_pos"][:2]})


class StopsBadly(MyRobot):
    """A stop that needs a connection."""

    def stop(self) -> None:
        """Stops an open bus."""
        self._open()
        super().stop()


class TakesAll(AtAnEnd):
    """Sends whatever it is given."""

    def write(self, command: np.ndarray) -> None:
        """Sends without a look."""
        self._open().counts = np.nan_to_num(np.resize(command, 3) * 651.9 + 2048)


class Journal(AtAnEnd):
    """Writes down what the servos are told, and each stop as None."""

    def __init__(self) -> None:
        """Begins with nothing told."""
        super().__init__()
        self.told: list[list[float] | None] = []

    def write(self, command: np.ndarray) -> None:
        """Takes every finite command; clips it, in silence."""
        if np.any(np.isnan(command)):
            raise ValueError("NaN")
        super().write(np.clip(command, self.describe().low, self.describe().high))
        self.told.append(command.tolist())

    def stop(self) -> None:
        """Stops, and writes it down."""
        super().stop()
        self.told.append(None)


class JournalAfar(Journal):
    """Likewise, with its elbow in the middle."""

    side = 0.0


def test_no_joint_travels_to_its_end() -> None:
    """Joints leave their places by 2 % of their range; one command beyond an end is taken back."""
    near, afar = Journal(), JournalAfar()
    broken = [f.rule for f in tried(near) if f.is_kept is False]
    assert broken == ["write refuses a command beyond the limits"]
    assert not [f.rule for f in tried(afar) if f.is_kept is False]
    span = np.subtract(near.describe().high, near.describe().low)
    for driver, far in ((near, 1), (afar, 0)):
        place = np.array([0.0, driver.side * 1.57, 0.0])
        beyond = [
            number
            for number, command in enumerate(driver.told)
            if command is not None and np.any(np.abs(np.array(command) - place) > 0.021 * span)
        ]
        assert len(beyond) == far
        for number in beyond:
            wrong, then, last = driver.told[number : number + 3]
            assert wrong is not None and then is not None and last is None
            assert wrong[1] == pytest.approx(1.6 + 0.05 * 3.2)
            np.testing.assert_allclose(then, place, atol=2 / COUNTS)


class ServoByServo(MyRobot):
    """Pairs servos with values, as a first driver does, and writes down what each is told."""

    pose = (0.5, -0.4, 0.3)
    told: list[tuple[float, ...]]

    def __init__(self) -> None:
        """Begins with nothing told."""
        super().__init__()
        self.told = []

    def read(self) -> Reading:
        """Returns the pose that the servos hold."""
        return Reading(
            time.monotonic(), {"joint_pos": np.array(self.pose), "joint_vel": np.zeros(3)}
        )

    def write(self, command: np.ndarray) -> None:
        """Tells each servo its value."""
        self.told.append(tuple(v for _, v in zip(range(3), command.tolist(), strict=False)))


class PassiveToo(ServoByServo):
    """Reads a joint more than it commands."""

    def describe(self) -> DriverInfo:
        """Returns the data sheet."""
        return replace(super().describe(), signals={"joint_pos": 4, "joint_vel": 3})

    pose = (0.5, -0.4, 0.3, 1.0)


class InDegrees(ServoByServo):
    """Forgot to convert."""

    pose = (45.0, -40.0, 30.0)


class BeyondItsEnd(ServoByServo):
    """Rests 1 % of its range beyond an end, as a folded arm does."""

    pose = (-1.632, -0.4, 0.3)


@pytest.mark.parametrize("kind", [ServoByServo, BeyondItsEnd])
def test_no_servo_is_told_to_go_elsewhere_unless_it_may(kind: type[ServoByServo]) -> None:
    driver = kind()
    broken = [f.rule for f in tried(driver, moves=False) if f.is_kept is False]
    assert "write refuses another number of joints" in broken
    assert set(driver.told) == {kind.pose}


@pytest.mark.parametrize(
    ("kind", "why"), [(PassiveToo, "shape (4,) instead of (3,)"), (InDegrees, "reads 45, outside")]
)
def test_nothing_is_sent_where_the_pose_is_not_known(kind: type[ServoByServo], why: str) -> None:
    driver = kind()
    untried = [f for f in tried(driver) if f.is_kept is None]
    assert len(untried) == 1 and why in untried[0].seen and not driver.told


@pytest.mark.parametrize(
    ("kind", "rule"),
    [
        (Clips, "a command beyond the limits"),
        (OldStamps, "time stamps advance"),
        (OldStamps, "fresh"),
        (OneArray, "arrays of its own"),
        (Shapes, "as described"),
        (StopsBadly, "stop before connect"),
        (TakesAll, "refuses NaN"),
        (TakesAll, "refuses another number of joints"),
    ],
)
def test_a_broken_rule_is_found(
    kind: Callable[[], MyRobot], rule: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("mjx_s2r.robot.drivers.conformance.MOVE_S", 0.1)
    assert any(rule in f.rule and not f.is_kept for f in tried(kind()))
