"""Mistakes put into a good log of a simulated arm are found and named; the good log has none."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import mujoco
import numpy as np
import pytest

from mjx_s2r.transfer.mapping import read_mapping
from mjx_s2r.transfer.readers import read_recordings
from mjx_s2r.transfer.readers.repeats import repeat_period
from mjx_s2r.transfer.recording import Recording, RecordingError
from mjx_s2r.transfer.recording_checks import TelemetryReport, check_recordings
from mjx_s2r.transfer.telemetry.finding import TelemetryFinding
from mjx_s2r.transfer.windows import cut_windows
from tests.transfer.logged_arm import RATE_HZ, STEP, arm, arm_recording, reading, with_readings
from tests.transfer.rig import pendulum, record, wave

DEGREES = 180 / np.pi


def checked(*recordings: Recording) -> TelemetryReport:
    """Returns the report on some recordings of the arm."""
    return check_recordings(recordings, arm())


def found(report: TelemetryReport, severity: str = "error") -> set[tuple[str, str]]:
    """Returns code and element of the findings of one severity."""
    return {(x.code, x.element) for x in report.findings if x.severity == severity}


def test_a_good_log_has_no_finding() -> None:
    assert checked(arm_recording()).findings == ()


def test_the_step_and_the_noise_of_each_channel() -> None:
    report = checked(arm_recording())
    assert report.channels == arm_recording().channels
    np.testing.assert_allclose(report.quantum, [STEP, STEP, 0, 0], rtol=1e-4)
    # Rounding alone: step / sqrt(12), more where the motion is faster than the rows can follow.
    assert (report.noise_std[:2] >= 0.99 * STEP / np.sqrt(12)).all()
    assert (report.noise_std[:2] < STEP).all()
    np.testing.assert_allclose(report.noise_std[2:], 0.02, rtol=0.25)


def test_the_step_is_found_beside_an_offset_and_in_short_clips() -> None:
    shifted = with_readings(pos_elbow=reading("pos_elbow") + 0.0123)
    clips = [
        replace(
            shifted,
            name=f"clip {i}",
            time_s=shifted.time_s[i : i + 12],
            commands=shifted.commands[i : i + 12],
            driven=shifted.driven[i : i + 12],
            readings=shifted.readings[i : i + 12],
        )
        for i in range(0, 1200, 12)
    ]
    np.testing.assert_allclose(checked(*clips).quantum[1], STEP, rtol=1e-4)


def swapped() -> Recording:
    """Returns the log with both readings of the joints exchanged."""
    return with_readings(
        pos_elbow=reading("pos_shoulder"),
        pos_shoulder=reading("pos_elbow"),
        vel_elbow=reading("vel_shoulder"),
        vel_shoulder=reading("vel_elbow"),
    )


def late(rows: int) -> np.ndarray:
    """Returns the elbow's speed some rows later."""
    return np.concatenate((np.zeros(rows), reading("vel_elbow")[:-rows]))


def wrapped(values: np.ndarray) -> np.ndarray:
    """Returns angles between -pi and pi."""
    return (values + np.pi) % (2 * np.pi) - np.pi


def commands(change: Callable[[np.ndarray], np.ndarray]) -> Recording:
    """Returns the log with other commands."""
    return replace(arm_recording(), commands=change(arm_recording().commands))


ELBOW, SPEED = "joint_pos elbow", "joint_vel elbow"
MISTAKES = {
    "swapped joints": (swapped, "swapped signals", "elbow"),
    "swapped speeds": (
        lambda: with_readings(vel_elbow=reading("vel_shoulder"), vel_shoulder=reading("vel_elbow")),
        "swapped signals",
        "elbow",
    ),
    "a position in degrees": (
        lambda: with_readings(pos_elbow=DEGREES * reading("pos_elbow")),
        "degrees for radians",
        ELBOW,
    ),
    "a speed in degrees": (
        lambda: with_readings(vel_elbow=DEGREES * reading("vel_elbow")),
        "degrees for radians",
        SPEED,
    ),
    "commands in degrees": (
        lambda: commands(lambda x: DEGREES * x),
        "degrees for radians",
        "elbow",
    ),
    "commands converted twice": (
        lambda: commands(lambda x: x / DEGREES),
        "degrees for radians",
        "elbow",
    ),
    "a position turned around": (
        lambda: with_readings(pos_elbow=-reading("pos_elbow"), vel_elbow=-reading("vel_elbow")),
        "flipped sign",
        "elbow",
    ),
    "a speed turned around": (
        lambda: with_readings(vel_elbow=-reading("vel_elbow")),
        "flipped sign",
        SPEED,
    ),
    "a speed that is none": (
        lambda: with_readings(vel_elbow=np.random.default_rng(1).normal(0, 1, 1200)),
        "wrong velocity",
        SPEED,
    ),
    "a constant position": (
        lambda: with_readings(pos_elbow=np.full(1200, 0.25)),
        "constant signal",
        ELBOW,
    ),
    "no position": (lambda: with_readings(pos_elbow=np.full(1200, np.nan)), "no values", ELBOW),
    "a position that wraps": (
        lambda: with_readings(pos_elbow=wrapped(reading("pos_elbow") + np.pi)),
        "wraps",
        ELBOW,
    ),
    "a position of another turn": (
        lambda: with_readings(pos_elbow=reading("pos_elbow") + 4 * np.pi),
        "winds over turns",
        ELBOW,
    ),
    "another zero": (
        lambda: with_readings(pos_elbow=reading("pos_elbow") + 3.6),
        "beyond the joint's range",
        ELBOW,
    ),
    "too little motion": (
        lambda: with_readings(
            pos_elbow=np.round(0.004 * reading("pos_elbow") / STEP) * STEP,
            vel_elbow=0.004 * reading("vel_elbow"),
        ),
        "too little motion",
        ELBOW,
    ),
}
DOUBTS = {
    "a scaled speed": (
        lambda: with_readings(vel_elbow=1.5 * reading("vel_elbow")),
        "scaled velocity",
        SPEED,
    ),
    "a late speed": (lambda: with_readings(vel_elbow=late(8)), "late velocity", SPEED),
    "a command that never changes": (
        lambda: commands(lambda x: x * np.array([1.0, 0.0])),
        "constant command",
        "elbow",
    ),
    "commands that would be clipped": (
        lambda: commands(lambda x: 3 * x),
        "commands out of range",
        "shoulder",
    ),
    "one direction": (
        lambda: with_readings(pos_elbow=np.linspace(0, 1, 1200) ** 2),
        "one direction",
        ELBOW,
    ),
    "no rest": (
        lambda: with_readings(pos_elbow=np.abs((np.linspace(0, 12, 1200) % 2) - 1)),
        "no rest",
        ELBOW,
    ),
    "a hole": (
        lambda: with_readings(
            pos_elbow=np.where(np.arange(1200) // 100 == 4, np.nan, reading("pos_elbow"))
        ),
        "missing values",
        ELBOW,
    ),
    "broken messages": (
        lambda: with_readings(
            pos_elbow=np.where(np.arange(1200) == 500, 1.9, reading("pos_elbow"))
        ),
        "spikes",
        ELBOW,
    ),
    "a saturated speed": (
        lambda: with_readings(vel_elbow=np.clip(reading("vel_elbow"), -1.0, 1.0)),
        "saturated",
        SPEED,
    ),
    "a kick at the end": (
        lambda: with_readings(
            vel_elbow=np.where(np.arange(1200) > 1196, 40.0, reading("vel_elbow"))
        ),
        "rough end",
        SPEED,
    ),
}


@pytest.mark.parametrize("mistake", MISTAKES)
def test_mistakes_are_errors(mistake: str) -> None:
    make, code, element = MISTAKES[mistake]
    report = checked(make())
    assert (code, element) in found(report), [str(x) for x in report.findings]
    with pytest.raises(RecordingError, match=element):
        report.require_usable()


@pytest.mark.parametrize("doubt", DOUBTS)
def test_doubts_are_warnings(doubt: str) -> None:
    make, code, element = DOUBTS[doubt]
    report = checked(make())
    assert (code, element) in found(report, "warning"), [str(x) for x in report.findings]


def test_units_are_told_of_the_right_joint_alone() -> None:
    report = checked(with_readings(pos_elbow=DEGREES * reading("pos_elbow")))
    assert {x.element.split()[-1] for x in report.errors} == {"elbow"}


def test_rows_with_the_actuators_off_are_no_pair() -> None:
    """A joint that falls while its command moves the other way is no flipped sign."""
    record = arm_recording()
    backward = replace(record, commands=-record.commands, driven=np.zeros(1200, bool))
    assert not {x.code for x in checked(backward).findings} - {"constant command"}


def test_actuators_that_are_not_in_the_log() -> None:
    record = arm_recording()
    one = replace(record, joints=("shoulder",), commands=record.commands[:, :1])
    report = checked(one)
    assert any(x.code == "uncommanded" and "elbow" in x.what for x in report.findings)
    none = mujoco.MjModel.from_xml_string("<mujoco><worldbody/></mujoco>")
    assert {x.code for x in check_recordings([record], none).errors} == {"no actuator"}


def test_the_same_of_many_recordings_is_told_once() -> None:
    record = replace(arm_recording(), time_s=np.cumsum(np.tile([0.004, 0.016], 600)))
    many = [replace(record, name=f"log {i}") for i in range(5)]
    told = [x for x in checked(*many).findings if x.code == "mixed rates"]
    assert [x.where for x in told] == ["log 0 (and 4 more like it)"]


def test_a_joint_that_was_not_moved_is_a_warning_and_none_that_was_an_error() -> None:
    record = arm_recording()
    fixed = replace(
        with_readings(
            pos_elbow=np.round(0.002 * reading("pos_elbow") / STEP) * STEP,
            vel_elbow=0.0 * reading("vel_elbow"),
        ),
        commands=record.commands * np.array([1.0, 0.0]),
    )
    assert ("too little motion", ELBOW) in found(checked(fixed), "warning")
    shoulder = np.round(0.002 * reading("pos_shoulder") / STEP) * STEP
    rows = np.stack([shoulder, fixed.readings[:, 1]], 1)
    still = replace(fixed, channels=fixed.channels[:2], readings=rows)
    assert ("too little motion", "") in found(checked(still))


def test_one_bad_log_among_good_ones_shows() -> None:
    good = [replace(arm_recording(), name=f"log {i}") for i in range(4)]
    bad = replace(swapped(), name="bad")
    assert {x.where for x in checked(*good, bad).errors} == {"bad"}
    stuck = replace(with_readings(pos_elbow=np.zeros(1200)), name="stuck")
    told = [x for x in checked(*good, stuck).findings if x.code == "constant signal"]
    assert [(x.where, x.element) for x in told] == [("stuck", ELBOW)]


def test_what_the_reader_found_is_told_too() -> None:
    note = TelemetryFinding("warning", "torn log", "a.csv", "its end is missing", "fetch it")
    report = check_recordings([arm_recording()], arm(), [note])
    assert str(report.findings[0]) == "warning: a.csv: its end is missing; fetch it"


@pytest.mark.parametrize("rows", [3, 4, 12, 40])
@pytest.mark.parametrize("values", [0.0, np.nan, 1e300, -1e-300])
def test_odd_values_end_no_check(rows: int, values: float) -> None:
    record = arm_recording()
    odd = replace(
        record,
        time_s=record.time_s[:rows],
        commands=np.full((rows, 2), values),
        driven=np.arange(rows) % 2 == 0,
        readings=np.full((rows, 4), values),
    )
    assert checked(odd).findings
    checked(odd, record)


def test_degrees_of_a_joint_without_a_range_show_by_speed_and_turns() -> None:
    """Commands and readings are both in degrees, so that their ratio tells nothing."""
    log = record(pendulum(), *wave(4.0))
    assert not check_recordings([log], pendulum()).errors
    degrees = replace(log, commands=DEGREES * log.commands, readings=DEGREES * log.readings)
    slow = replace(degrees, time_s=10 * degrees.time_s)  # 120 degrees, at 30 a second
    for one, severity in ((degrees, "error"), (slow, "warning")):
        report = check_recordings([one], pendulum())
        assert ("degrees for radians", "joint_pos servo") in found(report, severity)
    once = replace(log, joints=(), commands=np.empty((len(log), 0)))
    assert not found(check_recordings([once], pendulum()), "error")


def test_no_recording_is_refused() -> None:
    with pytest.raises(RecordingError, match="no recording"):
        checked()


@pytest.mark.parametrize("times", [(10,), (2,), (1, 2)])
def test_readings_that_are_written_again_count_once(times: tuple[int, ...], tmp_path: Path) -> None:
    """A table of 500 rows/s that was filled forward from encoders of 50, 250 and 333 Hz."""
    rows = 3000
    fresh = np.cumsum(np.resize(times, rows)) - times[0]
    time_s = np.arange(rows) * 0.002
    true = 0.8 * np.sin(2.1 * time_s) + 0.3 * np.sin(7.3 * time_s)
    true[1000:1500] = true[1000]  # a rest
    true = np.round(true / STEP) * STEP
    held = true[fresh[np.searchsorted(fresh, np.arange(rows), side="right") - 1]]
    for values, kept in ((held, fresh[fresh < rows]), (true, np.arange(rows))):
        lines = [f"{t:.3f},{c:.6f},{q:.9f}" for t, c, q in zip(time_s, true, values, strict=True)]
        (tmp_path / "a.csv").write_text("\n".join(["t,u,q", *lines]))
        (tmp_path / "m.toml").write_text(
            '[time]\ncolumn = "t"\n[commands]\njoints.servo = "u"\n[readings]\n'
            'joint_pos.servo = "q"\n'
        )
        mapping = read_mapping(tmp_path / "m.toml")
        book = read_recordings([tmp_path / "a.csv"], pendulum(), mapping)
        codes = {f.code for f in book.findings}
        assert codes == ({"repeated readings"} if values is held else set())
        read = np.flatnonzero(np.isfinite(book.recordings[0].readings[:, 0]))
        moving, told = (x[(x < 990) | (x > 1510)] for x in (read, kept))
        # Where it turns around, neighbours are equal and may stand for each other.
        assert len(moving) == pytest.approx(len(told), rel=0.02)
        assert np.abs(values - true)[moving].max() < 1.01 * STEP
        assert np.array_equal(moving, told) or times == (1, 2)
        resting = (read >= 1000) & (read < 1500)
        assert resting.sum() == pytest.approx(500 / max(times) if values is held else 500, abs=3)
        found = {f.code for f in check_recordings(book.recordings, pendulum()).findings}
        assert "missing values" not in found


def test_a_gripper_that_opens_and_shuts_is_read_in_every_row() -> None:
    values = np.tile(np.repeat([0.0, 0.04], 5), 60)
    assert repeat_period(values) == 0.0
    assert repeat_period(np.repeat(reading("pos_elbow"), 3)) == pytest.approx(3)


def test_a_recording_that_lacks_a_joint_is_named() -> None:
    whole = arm_recording()
    lost = replace(with_readings(pos_elbow=np.full(len(whole), np.nan)), name="second.log")
    report = checked(whole, lost)
    (told,) = [f for f in report.findings if f.code == "not fitted"]
    assert told.where == "second.log" and "'elbow'" in told.what
    assert len(cut_windows([whole, lost], 0.5)) == len(cut_windows([whole], 0.5))
    with pytest.raises(RecordingError, match=r"second\.log holds no position of 'elbow'"):
        cut_windows([lost], 0.5)


def test_windows_begin_where_joints_are_read_in_turn() -> None:
    """Row by row one joint or the other; start states are those of the whole log."""
    whole = arm_recording()
    turns = whole.readings.copy()
    turns[::2, 0], turns[1::2, 1] = np.nan, np.nan
    found = cut_windows([replace(whole, readings=turns)], 0.5)
    usual = cut_windows([whole], 0.5)
    assert len(found) == len(usual)
    at = np.round(found.start_s * RATE_HZ).astype(int)
    assert np.median(np.abs(found.start[:, :2] - whole.readings[at, :2])) < STEP
