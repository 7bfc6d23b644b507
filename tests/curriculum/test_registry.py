"""From settings to a schedule: every kind by name, rows by pattern, schedules side by side."""

from dataclasses import replace
from typing import get_args

import jax
import numpy as np
import pytest

from mjx_s2r.curriculum.mixture import STRIDE
from mjx_s2r.curriculum.registry import Kind
from mjx_s2r.params import Param, ParamError, ParamSpace
from train.teacher import TeacherConfig, schedule

SPACE = ParamSpace(
    (
        Param("mass", "model.body_mass", ("a",), limits=(0.5, 1.5)),
        Param("noise", "sensor.noise", ("p",), None, "set", 0.0, (0, 0), (0, 0.2)),
        Param("look", "visual.brightness", limits=(0.5, 2.0)),
    )
)
CONFIG = TeacherConfig()


@pytest.mark.parametrize("kind", get_args(Kind))
def test_every_kind_schedules_what_a_teacher_feels(kind: Kind, key: jax.Array) -> None:
    chosen = schedule(replace(CONFIG, curriculum=kind), SPACE)
    state = chosen.init()
    xi = np.asarray(chosen.sample(state, 64, key).xi)
    np.testing.assert_array_equal(xi[:, 2], 1.0)
    report = chosen.report(state)
    wide = kind in ("uniform", "hard", "replay")
    assert (float(report.low[0]), float(report.high[0])) == pytest.approx((0.5, 1.5)) or not wide
    assert (np.ptp(xi[:, 0]) > 0.5) == wide
    assert (np.ptp(xi[:, 0]) == 0) == (kind in ("adr", "none", "expand", "difficulty", "staged"))


def test_a_narrow_fixed_range_is_a_share_of_the_limits(key: jax.Array) -> None:
    config = replace(CONFIG, curriculum="uniform", schedules=replace(CONFIG.schedules, width=0.2))
    report = schedule(config, SPACE).report(schedule(config, SPACE).init())
    np.testing.assert_allclose((report.low[0], report.high[0]), (0.9, 1.1), rtol=1e-6)


def test_rows_are_chosen_by_pattern_and_may_be_looks(key: jax.Array) -> None:
    config = replace(CONFIG, curriculum="uniform", rows=("visual.*", "noise"))
    xi = np.asarray(schedule(config, SPACE).sample(schedule(config, SPACE).init(), 256, key).xi)
    assert np.ptp(xi[:, 2]) > 1.2 and np.ptp(xi[:, 1]) > 0.15
    np.testing.assert_array_equal(xi[:, 0], 1.0)
    with pytest.raises(ParamError, match="'nois'; did you mean 'noise'"):
        schedule(replace(CONFIG, rows=("nois",)), SPACE)


def test_schedules_can_be_mixed_by_row(key: jax.Array) -> None:
    """ADR keeps what the entries leave: it is the last part."""
    config = replace(CONFIG, mix=("uniform:visual.*", "progressive:noise"))
    mixed = schedule(config, SPACE)
    draw = mixed.sample(mixed.init(), 2000, key)
    assert set(np.unique(draw.kind)) == {-3, -2, -1, 2 * STRIDE, 2 * STRIDE + 1}
    assert np.ptp(draw.xi[:, 2]) > 1.2
    assert np.asarray(draw.xi[:, 1]).max() == pytest.approx(0.02, rel=0.1)  # a tenth of 0.2


@pytest.mark.parametrize(
    ("entry", "says"),
    [
        ("adr", "write it as kind:pattern"),
        ("ard:mass", "unknown curriculum 'ard'; did you mean .*'adr'"),
        ("adr:mas", "did you mean 'mass'"),
    ],
)
def test_an_entry_that_cannot_be_read_is_named(entry: str, says: str) -> None:
    with pytest.raises(ParamError, match=says):
        schedule(replace(CONFIG, mix=(entry,)), SPACE)
