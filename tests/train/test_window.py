"""How fast a training is said to be: without the iteration that compiled."""

import time

import jax.numpy as jnp
import pytest

from mjx_s2r.learn.train_logger import MetricsWindow


def test_the_first_iteration_is_left_out_of_the_speed(monkeypatch: pytest.MonkeyPatch) -> None:
    """60 s of compiling, then iterations of 2 s, in lines of three, two and one."""
    now = [100.0]
    monkeypatch.setattr(time, "perf_counter", lambda: now[0])
    window = MetricsWindow(now[0])
    speeds = []
    for count in (3, 2, 1):
        for _ in range(count):
            now[0] += 60.0 if now[0] == 100.0 else 2.0
            window.add(jnp.zeros(()))
        stretch = window.close(0, None)
        speeds.append(stretch.iterations_per_s)
    assert speeds == pytest.approx([0.5, 0.5, 0.5])
    assert stretch.seconds == 60.0 + 2.0 * 5 and stretch.iterations == 1


def test_a_line_of_the_first_iteration_alone_counts_its_compiling(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    now = [0.0]
    monkeypatch.setattr(time, "perf_counter", lambda: now[0])
    window = MetricsWindow(0.0)
    now[0] = 50.0
    window.add(jnp.zeros(()))
    assert window.close(1, None).iterations_per_s == pytest.approx(0.02)
