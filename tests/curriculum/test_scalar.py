"""One number opens all ranges: by success, in stages, never mixing old scores with new ones."""

from collections.abc import Callable
from dataclasses import replace

import jax
import numpy as np
import pytest

from mjx_s2r.curriculum.interface import Curriculum, Episodes
from mjx_s2r.curriculum.scalar import (
    DifficultyConfig,
    ExpandConfig,
    ProgressiveConfig,
    ScalarConfig,
    ScalarState,
    StagedConfig,
    scalar,
)
from mjx_s2r.params import Param, ParamError, ParamSpace
from tests.curriculum.fakes import SPACE, episodes

CONFIG = ScalarConfig(step=0.5, back=0.25, widen_above=0.7, narrow_below=0.3, window=4)
Update = Callable[[ScalarState, Episodes], ScalarState]


@pytest.fixture(scope="module")
def schedule() -> Curriculum:
    """The schedule over the small table."""
    return scalar(SPACE, CONFIG)


@pytest.fixture(scope="module")
def update(schedule: Curriculum) -> Update:
    """Its compiled update."""
    return jax.jit(schedule.update)


def scored(score: float, version: int = 0, n: int = 4) -> Episodes:
    """Returns ``n`` plain episodes of one score."""
    return episodes([-1] * n, [score] * n, [version] * n)


def test_success_opens_all_ranges_together(schedule: Curriculum, update: Update) -> None:
    """Half the way from (0.9, 1.1) to (0.5, 2.5), and from 1 to a decade either side."""
    state = update(schedule.init(), scored(0.75))
    report = schedule.report(state)
    np.testing.assert_allclose((report.low[0], report.high[0]), (0.7, 1.8), rtol=1e-5)
    np.testing.assert_allclose((report.low[2], report.high[2]), (10**-0.5, 10**0.5), rtol=1e-5)
    assert state.moves.count == 1 and state.window.count == 0


@pytest.mark.parametrize(("score", "scale"), [(1.0, 1.0), (0.5, 0.5), (0.0, 0.25)])
def test_the_mean_decides(schedule: Curriculum, update: Update, score: float, scale: float) -> None:
    state = update(schedule.init(), scored(1.0))
    state = update(state, scored(score, version=1))
    assert float(state.scale) == pytest.approx(scale)
    assert state.moves.count == 1 + (scale != 0.5)


def test_it_stays_between_start_and_the_limits(schedule: Curriculum, update: Update) -> None:
    state = update(schedule.init(), scored(0.0))
    assert state.scale == 0 and state.moves.count == 0
    for version in range(4):
        state = update(state, scored(1.0, version=min(version, 2)))
    assert state.scale == 1 and state.moves.count == 2
    report = schedule.report(state)
    np.testing.assert_allclose((report.low, report.high), SPACE.limits, rtol=1e-6)


def test_old_scores_and_special_worlds_do_not_count(schedule: Curriculum, update: Update) -> None:
    state = update(schedule.init(), scored(1.0))
    late = update(state, scored(0.0, version=0))
    assert late.window.count == 0 and late.scale == state.scale
    special = update(state, episodes([0, 5], [1, 1], [1, 1]))
    assert special.window.count == 0


def test_a_rest_delays_the_decision_but_not_the_counting() -> None:
    schedule = scalar(SPACE, replace(CONFIG, rest=3))
    update, state = jax.jit(schedule.update), schedule.init()
    for scale in (0.0, 0.0, 0.5):
        state = update(state, scored(1.0))
        assert float(state.scale) == scale


def test_a_factor_grows_from_its_start() -> None:
    """0.1 x 1.1 = 0.11 of the way; the ranges are open by a tenth before any success."""
    schedule = scalar(SPACE, ProgressiveConfig(window=4))
    state = schedule.init()
    assert float(schedule.report(state).high[0]) == pytest.approx(1.1 + 0.1 * 1.4)
    state = schedule.update(state, scored(0.7))
    assert float(state.scale) == pytest.approx(0.11)


def test_the_settings_are_those_of_the_sources() -> None:
    expand, progressive, difficulty = ExpandConfig(), ProgressiveConfig(), DifficultyConfig()
    assert (expand.step, expand.back) == (0.05, 0.02)
    assert (expand.widen_above, expand.narrow_below) == (0.7, 0.7)
    assert (progressive.start, progressive.factor) == (0.1, 1.1)
    assert 1 / difficulty.step == 50 and difficulty.widen_above == 0.4 and difficulty.rest == 5


STAGE_SPACE = ParamSpace(
    (
        Param("mass", "model.body_mass", ("a",), limits=(0.5, 2.0)),
        Param("noise", "sensor.noise", ("p",), None, "set", 0.0, (0, 0), (0, 1.0)),
        Param("delay", "actuator.delay_s", (), None, "set", 0.0, (0, 0), (0, 1.0)),
    )
)


@pytest.mark.parametrize(
    ("scale", "noise", "delay", "mass"),
    [(0, 0, 0, 1), (1 / 6, 0.5, 0, 1), (1 / 3, 1, 0, 1), (0.5, 1, 0.5, 1), (5 / 6, 1, 1, 1.5)],
)
def test_stages_open_one_after_another(
    scale: float, noise: float, delay: float, mass: float
) -> None:
    """Three stages: noise in the first third, delays in the second, physics in the last."""
    schedule = scalar(STAGE_SPACE, StagedConfig())
    state = schedule.init().replace(scale=np.float32(scale))
    high = np.asarray(schedule.report(state).high)
    np.testing.assert_allclose(high, (mass, noise, delay), atol=1e-5)


def test_stages_without_rows_are_skipped_and_rows_without_a_stage_named() -> None:
    schedule = scalar(SPACE, StagedConfig())  # physics only: one stage is left
    state = schedule.init().replace(scale=np.float32(0.5))
    assert float(schedule.report(state).high[0]) == pytest.approx(1.8)
    with pytest.raises(ParamError, match=r"rows \['mass', 'delay'\] are in no stage"):
        scalar(STAGE_SPACE, StagedConfig(stages=("sensor.*",)))


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"start": 1.5}, "start 1.5"),
        ({"factor": 0.9}, "factor 0.9"),
        ({"step": 0.0}, "would never open"),
        ({"step": 0.0, "factor": 1.1}, "would never open"),
        ({"narrow_below": 0.5}, "narrow_below 0.5 must not exceed widen_above 0.4"),
        ({"window": 0}, "window 0"),
    ],
)
def test_settings_that_cannot_work_are_named(settings: dict, message: str) -> None:
    with pytest.raises(ParamError, match=message):
        ScalarConfig(**settings)
