"""Noise, quantum and drift of readings that were made with known ones."""

import numpy as np
import pytest

from mjx_s2r.robot.diagnose.noise import column_noise, quantum_of

TIME_S = np.arange(2000) / 50


@pytest.mark.parametrize("share", [0.25, 0.5, 1.0, 4.0])
def test_noise_is_found_behind_rounding(share: float) -> None:
    quantum, inside = 2e-3, 0
    for seed in range(20):
        rng = np.random.default_rng(seed)
        values = 0.3 + rng.uniform(0, quantum) + share * quantum * rng.standard_normal(len(TIME_S))
        values = np.round(values / quantum) * quantum
        found = column_noise("q", "rad", TIME_S, values)["sensor.noise"]
        inside += found.low <= share * quantum <= found.high
        if share >= 0.5:  # below, two levels fit many deviations
            assert found.value == pytest.approx(share * quantum, rel=0.15)
    assert inside >= 16, "95 % of 20 is 19"


def test_the_quantum_is_that_of_the_encoder() -> None:
    count = 2 * np.pi / 4096
    rng = np.random.default_rng(1)
    assert quantum_of(np.round(rng.normal(0, 3, 500)) * count) == pytest.approx(count, rel=1e-6)
    assert quantum_of(rng.normal(size=500)) == 0.0
    assert quantum_of(np.ones(500)) == 0.0


def test_a_drift_is_told_from_noise() -> None:
    rng = np.random.default_rng(2)
    found = column_noise("q", "rad", TIME_S, 1e-3 * TIME_S + 1e-3 * rng.standard_normal(2000))
    drift = found["drift"]
    assert drift.low < 1e-3 < drift.high and drift.low > 0.9e-3
    assert found["sensor.noise"].value == pytest.approx(1e-3, rel=0.1)


def test_a_dead_sensor_is_called_one() -> None:
    found = column_noise("q", "rad", TIME_S, np.zeros(2000))
    assert found["sensor.noise"].value == 0 and "dead sensor" in found.limits[0]
