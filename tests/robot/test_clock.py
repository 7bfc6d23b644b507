"""Deadlines: absolute while met, moved when missed."""

import time

import pytest

from mjx_s2r.robot.clock import RealClock, VirtualClock


def test_virtual_deadlines_do_not_drift() -> None:
    clock = VirtualClock(5.0)
    clock.start(0.04)
    for _ in range(1000):
        clock.advance(0.01)
        assert clock.wait() == 0.0
    assert clock.now_s() == pytest.approx(5.0 + 1000 * 0.04, abs=1e-9)
    assert clock.overruns == 0


def test_late_step_moves_the_grid() -> None:
    clock = VirtualClock()
    clock.start(0.1)
    clock.advance(0.25)
    assert clock.wait() == pytest.approx(0.15)
    assert clock.overruns == 1
    assert clock.now_s() == pytest.approx(0.25)
    assert clock.wait() == 0.0
    assert clock.now_s() == pytest.approx(0.35)


@pytest.mark.parametrize("period_s", [0.0, -1.0, float("nan"), float("inf")])
def test_period_is_positive(period_s: float) -> None:
    with pytest.raises(ValueError, match="must be positive"):
        VirtualClock().start(period_s)


def test_time_moves_forward_only() -> None:
    with pytest.raises(ValueError, match="forward"):
        VirtualClock().advance(-0.1)


@pytest.mark.parametrize("spin_s", [0.0, 0.002])
def test_real_clock_keeps_the_rate(spin_s: float) -> None:
    clock = RealClock(spin_s)
    begin = clock.now_s()
    clock.start(0.005)
    for _ in range(20):
        clock.wait()
    assert clock.now_s() - begin >= 20 * 0.005 - 1e-6


def test_real_clock_counts_overruns() -> None:
    clock = RealClock()
    clock.start(0.005)
    time.sleep(0.02)
    assert clock.wait() > 0.01
    assert clock.overruns == 1
