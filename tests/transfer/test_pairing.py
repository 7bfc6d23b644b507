"""Links that pull one another are no swapped columns, and swapped columns are found."""

from dataclasses import replace

import numpy as np
import pytest

from mjx_s2r.transfer.recording import Channel, Recording
from mjx_s2r.transfer.recording_checks import check_recordings
from tests.transfer.logged_arm import JOINTS, arm

RATE_HZ = 50
STEP = 2 * np.pi / 4096  # of the encoders, rad
PULLED = {1: 0.97, 2: 0.95, 3: 0.93}  # seed -> share of the elbow's motion that is the shoulder's


def noise(rng: np.random.Generator, rows: int) -> np.ndarray:
    """Returns a motion (rows,) of deviation 0.3 rad between 0.2 and 2 Hz."""
    hz = np.fft.rfftfreq(rows, 1 / RATE_HZ)
    band = (hz > 0.2) & (hz < 2.0)
    wave = np.fft.irfft(band * (rng.normal(size=hz.size) + 1j * rng.normal(size=hz.size)), rows)
    return np.asarray(0.3 * wave / wave.std())


def later(x: np.ndarray, seconds: float) -> np.ndarray:
    """Returns a signal some time later, which begins where it ends."""
    return np.roll(x, round(seconds * RATE_HZ))


def log(seed: int, pulled: float = 0.0, seconds: float = 10.0) -> Recording:
    """Returns the log of an arm whose elbow is moved by the shoulder, and the rest by its servo.

    Args:
        seed: of the motions.
        pulled: share of the elbow's deviation that the shoulder's motion makes, 0.38 s late.
        seconds: of the log.
    """
    rng = np.random.default_rng(seed)
    rows = round(seconds * RATE_HZ)
    shoulder, elbow = noise(rng, rows), noise(rng, rows)
    own = np.sqrt(1 - pulled**2)
    moved = later(shoulder, 0.06), own * later(elbow, 0.06) + pulled * later(shoulder, 0.38)
    speeds = [np.gradient(x, 1 / RATE_HZ) for x in moved]
    channels = [Channel("joint_pos", j) for j in JOINTS]
    channels += [Channel("joint_vel", j, unit="rad/s") for j in JOINTS]
    return Recording(
        name=f"log {seed}",
        time_s=np.arange(rows) / RATE_HZ,
        joints=JOINTS,
        mode="position",
        commands=np.stack([shoulder, elbow], 1),
        driven=np.ones(rows, bool),
        channels=tuple(channels),
        readings=np.stack([*(np.round(x / STEP) * STEP for x in moved), *speeds], 1),
    )


def codes(recording: Recording, severity: str) -> set[str]:
    """Returns the codes of what is found, of one severity."""
    found = check_recordings([recording], arm()).findings
    return {x.code for x in found if x.severity == severity}


@pytest.mark.parametrize("seed", PULLED)
def test_a_weak_joint_that_another_pulls_along_is_no_error(seed: int) -> None:
    """It follows the other's command by 0.9 and its own by 0.3, in columns that are right."""
    right = log(seed, PULLED[seed])
    assert codes(right, "error") == set()
    assert "pulled along" in codes(right, "warning")
    swapped = replace(right, commands=right.commands[:, ::-1])
    assert "swapped signals" in codes(swapped, "error")


@pytest.mark.parametrize("seconds", [2.0, 4.0, 10.0])
def test_right_columns_never_alarm_and_swapped_ones_do(seconds: float) -> None:
    rng, alarms, found = np.random.default_rng(0), 0, 0
    for seed in range(30):
        right = log(seed, float(rng.uniform(0, 0.95)), seconds)
        alarms += bool(codes(right, "error"))
        order = [1, 0, 3, 2]
        swapped = replace(right, readings=right.readings[:, order])
        found += "swapped signals" in codes(swapped, "error")
    assert alarms == 0
    assert found >= {2.0: 15, 4.0: 24, 10.0: 29}[seconds]


@pytest.mark.parametrize("pulled", [0.0, 0.5, 0.8])
def test_exchanged_speeds_are_found_however_the_joints_are_coupled(pulled: float) -> None:
    right = log(0, pulled)
    swapped = replace(right, readings=right.readings[:, [0, 1, 3, 2]])
    assert "swapped signals" in codes(swapped, "error")


def test_one_column_under_two_names_is_found() -> None:
    right = log(0, 0.9)
    twice = replace(right, readings=right.readings[:, [0, 0, 2, 3]])
    found = [x for x in check_recordings([twice], arm()).errors if x.code == "same signal"]
    assert [x.element for x in found] == ["joint_pos elbow"]
    assert "joint_pos shoulder" in found[0].what
