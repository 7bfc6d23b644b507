"""The first look at a robot finds what is wrong with its readings, and nothing with good ones."""

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest

from mjx_s2r.contract import PolicyContract, TrainedRange
from mjx_s2r.robot.clock import VirtualClock
from mjx_s2r.robot.driver import Reading
from mjx_s2r.robot.first_look import Glance, Remark, look, remarks, trained_delays
from tests.robot.fakes import CAMERA, FakeDriver, contract_for, info_for, reading_at

CONTRACT = contract_for(cameras=True)
INFO = info_for(CONTRACT)
Change = Callable[[int, Reading], Reading]


def glances(change: Change, count: int = 40, contract: PolicyContract = CONTRACT) -> list[Glance]:
    """Returns ``count`` readings at 10 Hz with noise and a new picture each, changed."""
    rng = np.random.default_rng(0)
    found = []
    for i in range(count):
        now_s = 5.0 + i / 10
        noisy = {"joint_pos": 1e-3 * rng.standard_normal(2), "joint_vel": rng.standard_normal(2)}
        reading = reading_at(now_s - 0.002, contract, **noisy)
        image = rng.integers(0, 256, (CAMERA.height, CAMERA.width, 3), np.uint8)
        reading = replace(reading, images={"front": image}, image_time_s={"front": now_s - 0.01})
        found.append(Glance(now_s - 0.001, now_s, change(i, reading)))
    return found


def said(change: Change, contract: PolicyContract = CONTRACT) -> list[Remark]:
    """Returns the remarks on changed readings."""
    return remarks(contract, INFO, glances(change, contract=contract))


def with_signal(reading: Reading, name: str, value: object) -> Reading:
    """Returns a reading with another signal."""
    return replace(reading, signals={**reading.signals, name: value})  # type: ignore[dict-item]


def scaled(factor: float) -> Change:
    """Returns what multiplies a pose of half a radian."""
    return lambda i, r: with_signal(r, "joint_pos", factor * (np.array([0.5, -0.7]) + 1e-4 * i))


def still_picture(i: int, reading: Reading) -> Reading:
    """Shows one picture under fresh times."""
    return replace(reading, images={"front": np.arange(144, dtype=np.uint8).reshape(8, 6, 3)})


def slow_camera(i: int, reading: Reading) -> Reading:
    """Brings every fourth picture only."""
    return replace(reading, image_time_s={"front": 5.0 + (i // 4) * 0.4})


def test_nothing_is_wrong_with_good_readings() -> None:
    found = said(lambda i, r: r)
    assert not [r for r in found if r.verdict == "fault"], found
    assert {"joint_pos", "joint_vel", "front", "time"} <= {r.about for r in found}


@pytest.mark.parametrize(
    ("change", "about", "words"),
    [
        (scaled(180 / np.pi), "joint_pos", "looks like degrees"),
        (scaled(300.0), "joint_pos", "outside the joints' ranges"),
        (lambda i, r: with_signal(r, "joint_pos", None), "joint_pos", "is missing"),
        (lambda i, r: with_signal(r, "joint_pos", "text"), "joint_pos", "is str"),
        (lambda i, r: with_signal(r, "joint_vel", np.zeros(3)), "joint_vel", "(3,)"),
        (
            lambda i, r: with_signal(r, "joint_vel", np.array([np.nan, 0])) if i == 7 else r,
            "joint_vel",
            "not finite in 1 of 40",
        ),
        (lambda i, r: with_signal(r, "joint_vel", np.array([25.0, i])), "joint_vel", "believed"),
        (lambda i, r: replace(r, images={}), "front", "no picture"),
        (lambda i, r: replace(r, estop=i == 3), "e-stop", "is pressed"),
        (
            lambda i, r: replace(r, images={"front": np.zeros((8, 6, 4), np.uint8)}),
            "front",
            "8x6 rgb is read",
        ),
        (still_picture, "front", "frozen"),
        (slow_camera, "front", "2.5 pictures/s, 10 are expected"),
        (lambda i, r: replace(r, time_s=r.time_s + 0.5), "time", "from the future"),
        (lambda i, r: replace(r, time_s=9.0 - i), "time", "backwards"),
    ],
)
def test_what_is_wrong_is_named(change: Change, about: str, words: str) -> None:
    faults = [r for r in said(change) if r.verdict == "fault"]
    assert [r for r in faults if r.about == about and words in r.text], faults


def test_a_sensor_without_noise_and_a_shaking_joint_are_worth_a_word() -> None:
    notes = [r for r in said(lambda i, r: with_signal(r, "joint_vel", np.zeros(2)))]
    assert any(r.about == "joint_vel" and "has noise" in r.text for r in notes)
    shaking = said(lambda i, r: with_signal(r, "joint_pos", np.array([0.1 * (i % 2), 0])))
    assert any("standard deviation" in r.text and "[0]" in r.text for r in shaking)


def test_what_training_never_met_is_worth_a_word() -> None:
    first = replace(CONTRACT.signals[0], seen_low=(-0.1, -0.1), seen_high=(0.1, 0.1))
    contract = replace(CONTRACT, signals=(first, *CONTRACT.signals[1:]))
    assert not [r for r in said(lambda i, r: r, contract) if "met in training" in r.text]
    away = said(scaled(1.0), contract)
    assert [r.verdict for r in away if "met in training" in r.text] == ["note"]


def test_latency_is_compared_with_the_delays_of_training() -> None:
    rows = (
        TrainedRange("sensor_delay", "s", 0, 0, 0.001),
        TrainedRange("action_delay", "s", 0, 0, 0.0005),
        TrainedRange("camera_delay", "s", 0, 0, 0.04),
        TrainedRange("mass", "kg", 1, 1, 2),
    )
    assert [r.name for r in trained_delays(rows, cameras=False)] == ["sensor_delay", "action_delay"]
    contract = replace(CONTRACT, ranges=rows)
    found = said(lambda i, r: r, contract)
    verdicts = {r.about: r for r in found if "trained up to" in r.text}
    assert verdicts["front"].verdict == "ok" and "10.0 ms" in verdicts["front"].text
    # 2 ms of 100 are more than was trained on, and nothing that a policy feels
    assert verdicts["time"].verdict == "ok" and "1.5 ms" in verdicts["time"].text
    found = said(lambda i, r: replace(r, time_s=r.time_s - 0.02), contract)
    late = next(r for r in found if r.about == "time" and "trained up to" in r.text)
    assert late.verdict == "fault" and "22.00 ms old" in late.text


def test_looking_reads_often_and_sends_nothing() -> None:
    clock = VirtualClock()
    driver = FakeDriver(CONTRACT, clock.now_s)
    found = look(driver, clock, CONTRACT.control_hz, 2.0)
    assert len(found) == 80 and set(driver.calls) == {"read"}
    assert np.allclose(np.diff([g.got_s for g in found]), 0.025)


def test_degrees_are_found_on_a_robot_of_hinges_and_slides() -> None:
    """The slide is in metres either way."""
    mixed = replace(CONTRACT.signals[0], unit="rad, m")
    contract = replace(CONTRACT, signals=(mixed, *CONTRACT.signals[1:]))
    info = replace(INFO, low=(-1.0, 0.02), high=(1.0, 0.06))

    def degrees(_: int, reading: Reading) -> Reading:
        return with_signal(reading, "joint_pos", np.array([np.rad2deg(0.03), 0.04]))

    told = [r for r in remarks(contract, info, glances(degrees)) if r.about == "joint_pos"]
    assert told[0].verdict == "fault" and "looks like degrees" in told[0].text
