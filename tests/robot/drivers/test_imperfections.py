"""Bus, gears, encoders and camera, each against its closed form."""

import math

import numpy as np
import pytest

from mjx_s2r.robot.drivers import imperfections
from mjx_s2r.robot.drivers.imperfections import Bus, Encoder, Imperfections


def arrivals(reality: Imperfections, count: int, period_s: float) -> np.ndarray:
    """Returns (count,) delays, s, of commands sent once a period; NaN for lost ones."""
    rng = np.random.default_rng(0)
    bus, delays = Bus(np.zeros(1)), np.full(count, np.nan)
    for index in range(count):
        before = len(bus.waiting)
        bus = imperfections.send(bus, reality, index * period_s, np.array([float(index)]), rng)
        if len(bus.waiting) > before:
            delays[index] = bus.waiting[-1][0] - index * period_s
    return delays


def test_latency_has_its_median_and_spread() -> None:
    delays = arrivals(Imperfections(latency_ms=15.0, latency_jitter=0.4), 4000, 10.0)
    logs = np.log(delays / 0.015)
    # Standard errors of the mean and of the deviation: 0.4 / sqrt(4000) and 0.4 / sqrt(8000).
    assert abs(logs.mean()) < 4 * 0.0063
    assert abs(logs.std() - 0.4) < 4 * 0.0045


def test_commands_are_lost_at_the_rate() -> None:
    lost = np.isnan(arrivals(Imperfections(lost_commands=0.2), 4000, 1.0)).mean()
    assert abs(lost - 0.2) < 4 * math.sqrt(0.2 * 0.8 / 4000)


def test_commands_do_not_overtake() -> None:
    rng = np.random.default_rng(1)
    reality, bus, seen = (
        Imperfections(latency_ms=50.0, latency_jitter=1.0),
        Bus(np.array([-1.0])),
        [],
    )
    for tick in range(400):
        if tick < 200:
            bus = imperfections.send(bus, reality, tick * 0.01, np.array([float(tick)]), rng)
        bus = imperfections.deliver(bus, tick * 0.01)
        seen.append(float(bus.command[0]))
    assert seen == sorted(seen) and seen[-1] == 199.0


def test_command_waits_for_its_time() -> None:
    rng = np.random.default_rng(0)
    bus = imperfections.send(Bus(np.zeros(1)), Imperfections(latency_ms=10.0), 1.0, np.ones(1), rng)
    assert imperfections.deliver(bus, 1.009).command == 0.0
    assert imperfections.deliver(bus, 1.010).command == 1.0


def test_play_is_a_hysteresis() -> None:
    half, y, path = np.array([0.1]), np.zeros(1), []
    for u in (0.05, 0.1, 0.3, 0.25, 0.15, 0.0, -0.3):
        y = imperfections.play(y, np.array([u]), half)
        path.append(float(y[0]))
    np.testing.assert_allclose(path, [0, 0, 0.2, 0.2, 0.2, 0.1, -0.2], atol=1e-12)


def test_deadband_sees_no_small_error() -> None:
    target, position = np.array([0.1, 0.1]), np.array([0.095, 0.05])
    np.testing.assert_array_equal(
        imperfections.deadband(target, position, np.full(2, 0.01)), [0.095, 0.1]
    )


def test_encoder_counts() -> None:
    quantum = 2 * math.pi / 4096
    position = np.linspace(-3, 3, 1001)
    read = imperfections.quantise(position, np.full(1001, quantum))
    assert np.abs(read - position).max() <= quantum / 2 + 1e-12
    np.testing.assert_allclose(read / quantum, np.round(read / quantum), atol=1e-9)
    np.testing.assert_array_equal(imperfections.quantise(position, np.zeros(1001)), position)


def test_velocity_is_a_low_pass_of_differences() -> None:
    encoder, dt, cutoff = Encoder(np.zeros(1), np.zeros(1)), 0.001, 5.0
    weight = 1 - math.exp(-2 * math.pi * cutoff * dt)
    for tick in range(1, 101):
        truth = np.array([2.0 * tick * dt]), np.array([2.0])
        encoder = imperfections.sense(encoder, truth, np.zeros(1), cutoff, dt)
    # Step response of a first-order low-pass to 2 rad/s after 100 samples.
    np.testing.assert_allclose(encoder.velocity, 2 * (1 - (1 - weight) ** 100), rtol=1e-9)


def test_exposure_drifts_with_its_spread() -> None:
    rng = np.random.default_rng(0)
    reality, x, seen = Imperfections(exposure_drift=0.1, exposure_time_s=0.5), 0.0, []
    for _ in range(20_000):
        x = imperfections.drift(x, reality, 0.1, rng)
        seen.append(x)
    keep = math.exp(-0.1 / 0.5)
    correlation = np.corrcoef(seen[:-1], seen[1:])[0, 1]
    assert np.std(seen) == pytest.approx(0.1, rel=0.06)
    assert correlation == pytest.approx(keep, abs=0.02)


def test_perfect_camera_changes_nothing() -> None:
    image = np.random.default_rng(0).integers(0, 256, (8, 8, 3), np.uint8)
    np.testing.assert_array_equal(
        imperfections.expose(image, Imperfections(), 0.0, np.random.default_rng(1)), image
    )


def test_camera_gain_and_noise() -> None:
    rng = np.random.default_rng(2)
    reality = Imperfections(gain=(1.5, 1.0, 0.5), shot_noise=0.002, read_noise=0.01)
    image = np.full((200, 200, 3), 102, np.uint8)
    seen = imperfections.expose(image, reality, 0.0, rng) / 255
    signal = 0.4 * np.array([1.5, 1.0, 0.5])
    np.testing.assert_allclose(seen.mean((0, 1)), signal, atol=1e-3)
    np.testing.assert_allclose(
        seen.std((0, 1)), np.sqrt(0.002 * signal + 0.01**2), rtol=0.03
    )  # rounding to 1/255 adds less than one per cent


@pytest.mark.parametrize(
    "change",
    [{"latency_ms": -1.0}, {"dropped_frames": 1.5}, {"gain": (1.0, float("nan"), 1.0)}],
)
def test_impossible_reality_is_refused(change: dict[str, float]) -> None:
    with pytest.raises(ValueError, match=f"reality.{next(iter(change))}"):
        Imperfections(**change)
