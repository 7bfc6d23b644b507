"""From settings to a schedule: every kind by name, rows by pattern, schedules side by side."""

from dataclasses import dataclass, fields, replace

import jax
import numpy as np
import pytest
import tyro

from mjx_s2r.curriculum.interface import Curriculum
from mjx_s2r.curriculum.mixture import STRIDE
from mjx_s2r.curriculum.registry import (
    ADR,
    CURRICULA,
    CurriculumConfig,
    NoCurriculum,
    Schedules,
    Uniform,
    make_schedules,
)
from mjx_s2r.curriculum.uniform import uniform
from mjx_s2r.params import Param, ParamError, ParamSpace

SPACE = ParamSpace(
    (
        Param("mass", "model.body_mass", ("a",), limits=(0.5, 1.5)),
        Param("noise", "sensor.noise", ("p",), None, "set", 0.0, (0, 0), (0, 0.2)),
        Param("look", "visual.brightness", limits=(0.5, 2.0)),
    )
)


def drawn(config: CurriculumConfig, key: jax.Array, count: int = 256) -> np.ndarray:
    """Returns (count, D) first draws."""
    chosen = config.build(SPACE)
    return np.asarray(chosen.sample(chosen.init(), count, key).xi)


@pytest.mark.parametrize("kind", CURRICULA)
def test_every_kind_schedules_what_a_teacher_feels(kind: str, key: jax.Array) -> None:
    chosen = CurriculumConfig(kind).build(SPACE)
    state = chosen.init()
    xi = np.asarray(chosen.sample(state, 64, key).xi)
    np.testing.assert_array_equal(xi[:, 2], 1.0)
    report = chosen.report(state)
    wide = kind in ("uniform", "hard", "replay")
    assert (float(report.low[0]), float(report.high[0])) == pytest.approx((0.5, 1.5)) or not wide
    assert (np.ptp(xi[:, 0]) > 0.5) == wide
    closed = ("adr", "none", "initial", "expand", "difficulty", "staged")
    assert (np.ptp(xi[:, 0]) == 0) == (kind in closed)


def test_a_narrow_fixed_range_is_a_share_of_the_limits() -> None:
    chosen = Uniform(width=0.2).build(SPACE)
    report = chosen.report(chosen.init())
    np.testing.assert_allclose((report.low[0], report.high[0]), (0.9, 1.1), rtol=1e-6)
    with pytest.raises(ParamError, match=r"uniform\.width 1\.5"):
        Uniform(width=1.5)


def test_rows_are_chosen_by_pattern_and_may_be_looks(key: jax.Array) -> None:
    xi = drawn(Uniform(rows=("visual.*", "noise")), key)
    assert np.ptp(xi[:, 2]) > 1.2 and np.ptp(xi[:, 1]) > 0.15
    np.testing.assert_array_equal(xi[:, 0], 1.0)
    np.testing.assert_array_equal(drawn(Uniform(rows="~mass"), key), xi)
    np.testing.assert_array_equal(drawn(Uniform(rows="~visual.*"), key), drawn(Uniform(), key))
    with pytest.raises(ParamError, match="'nois'; did you mean 'noise'"):
        ADR(rows="nois").build(SPACE)


def test_a_curriculum_is_written_in_one_call() -> None:
    config = ADR(rows="~visual.*", window=5)
    assert (config.kind, config.adr.window) == ("adr", 5)
    assert NoCurriculum() == CurriculumConfig("none")
    with pytest.raises(TypeError, match="windw"):
        ADR(windw=5)


def test_a_table_without_rows_has_a_curriculum() -> None:
    empty = CurriculumConfig().build(ParamSpace(()))
    assert empty.sample(empty.init(), 3, jax.random.key(0)).xi.shape == (3, 0)


def test_schedules_can_be_mixed_by_row(key: jax.Array) -> None:
    """ADR keeps what the entries leave: it is the last part."""
    mixed = CurriculumConfig(mix=("uniform:visual.*", "progressive:noise")).build(SPACE)
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
        CurriculumConfig(mix=(entry,)).build(SPACE)
    with pytest.raises(ParamError, match="unknown curriculum 'unifrm'; did you mean 'uniform'"):
        CurriculumConfig("unifrm")


@dataclass(frozen=True)
class ToyConfig:
    """Toy schedule: a fixed share of the limits."""

    share: float = 0.5
    """That share."""


def toy(space: ParamSpace, config: ToyConfig, active: np.ndarray) -> Curriculum:
    """Returns ranges that reach ``share`` of the way up."""
    nominal, high = space.nominal, space.limits[1]
    top = np.where(active, nominal + config.share * (high - nominal), nominal)
    ranges = zip(space.names, nominal.tolist(), top.tolist(), strict=True)
    return uniform(space.with_ranges({name: (low, high) for name, low, high in ranges}), active)


def test_a_schedule_is_one_function_and_one_line(
    monkeypatch: pytest.MonkeyPatch, key: jax.Array
) -> None:
    monkeypatch.setitem(CURRICULA, "toy", (ToyConfig, toy))
    xi = drawn(CurriculumConfig("toy"), key, 2000)
    assert xi[:, 0].max() == pytest.approx(1.25, abs=0.01) and xi[:, 1].max() <= 0.1 + 1e-6
    settings = tyro.cli(make_schedules(CURRICULA), args=["--toy.share", "1"])
    xi = drawn(CurriculumConfig("toy", mix=("none:noise",), schedules=settings), key, 2000)
    assert xi[:, 0].max() == pytest.approx(1.5, abs=0.01) and not xi[:, 1].any()


def test_every_setting_is_on_the_command_line() -> None:
    without = {"adr", "none", "initial"}  # ADR's stand beside them, the others have none
    assert {f.name for f in fields(Schedules)} == {*CURRICULA} - without  # type: ignore[arg-type]
    config = tyro.cli(CurriculumConfig, args=["--kind", "hard", "--schedules.hard.share", "0.5"])
    assert config.schedules == replace(Schedules(), hard=CURRICULA["hard"][0](share=0.5))  # type: ignore[type-var]
