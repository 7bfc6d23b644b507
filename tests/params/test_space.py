"""The table: every refusal by name, values from nominal, laws inside their limits."""

import jax.numpy as jnp
import numpy as np
import pytest

from mjx_s2r.params import (
    Param,
    ParamError,
    ParamSpace,
    Range,
    add,
    apply,
    bind,
    scale,
    set_to,
    unknown,
)

BODIES = ("world", "gripper", "upper_arm", "lower_arm")
NOMINAL = {
    "body_mass": np.array((0.0, 1.0, 2.0, 3.0), np.float32),
    "body_ipos": np.arange(12, dtype=np.float32).reshape(4, 3),
    "gravity": np.array((0.0, 0.0, -9.8), np.float32),
}
ELEMENTS = {"body_mass": BODIES, "body_ipos": BODIES}


def row(name: str = "mass", field: str = "model.body_mass", **others: object) -> Param:
    """Returns a row on the gripper's mass, with other settings where given."""
    return Param(name, field, **{"elements": ("gripper",), "limits": (0.5, 2.0), **others})  # type: ignore


def table(*rows: Param) -> ParamSpace:
    """Returns the table of ``rows``."""
    return ParamSpace(rows)


def enter(rows: tuple[Param, ...], xi: tuple[float, ...]) -> dict[str, np.ndarray]:
    """Returns the arrays that ``rows`` touch with ``xi`` entered, on numpy."""
    edits = bind(table(*rows), "model", NOMINAL, ELEMENTS)
    return apply(np, NOMINAL, edits, np.array(xi, np.float32))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"field": "modle.body_mass"}, "field 'modle.body_mass' must start with one of"),
        ({"field": "model"}, "and a dot"),
        ({"mode": "multiply"}, "mode 'multiply' must be 'scale', 'add' or 'set'"),
        ({"law": "normal"}, "law 'normal' must be"),
        ({"limits": (2.0, 0.5)}, r"limits low 2.0 is above high 0.5; swap them"),
        ({"initial": (1.5, 1.0)}, r"initial low 1.5 is above high 1.0; swap them"),
        ({"initial": (0.4, 1.0)}, r"initial range \(0.4, 1.0\) leaves the limits \(0.5, 2.0\)"),
        ({"initial": (1.0, 2.5)}, "widen the limits or narrow the range"),
        ({"limits": (float("nan"), 2.0)}, r"limits \(nan, 2.0\) must be finite"),
        ({"initial": (1.0, float("nan"))}, r"initial \(1.0, nan\) must be finite"),
        ({"limits": (0.5, float("inf"))}, "must be finite"),
        ({"nominal": float("nan")}, "must be finite"),
        ({"law": "log_uniform", "limits": (0.0, 2.0)}, "log_uniform needs limits above zero"),
        ({"law": "categorical"}, r"categorical needs whole numbers .* limits \(0.5, 2.0\)"),
        ({"rho": 1.5, "correlation": "g"}, r"rho 1.5 is a correlation; it must lie in \[-1, 1\]"),
        ({"rho": 0.5}, "rho 0.5 needs a correlation; name it"),
        ({"resample": "day"}, "resample 'day' must be 'episode', 'world' or 'step'"),
        ({"resample": "step"}, "a row of group 'model' cannot change at every step"),
        ({"resample": "step", "field": "world.push"}, "a row of group 'world' cannot change"),
        (
            {"resample": "step", "field": "sensor.noise", "law": "log_uniform", "nominal": 0.0},
            "log_uniform needs a nominal above zero, got 0.0",
        ),
    ],
)
def test_a_row_that_cannot_be_is_refused_by_name(changes: dict, message: str) -> None:
    with pytest.raises(ParamError, match=message) as caught:
        row("link mass", **changes)
    assert "parameter 'link mass'" in str(caught.value)


def test_two_rows_with_one_name_are_refused() -> None:
    with pytest.raises(ParamError, match="'mass' appears twice; rename"):
        table(row(), row("other"), row())


def test_unknown_names_list_the_near_ones() -> None:
    error = unknown("camera", "frnt", ["front", "wrist"])
    assert str(error).startswith("unknown camera 'frnt'; did you mean 'front'")
    assert "known: a, b" in str(unknown("camera", "zzz", ["a", "b"]))
    assert "did you mean 'Front'" in str(unknown("camera", "FRONT", ["Front", "wrist"]))
    assert str(unknown("camera", "front", [])) == "unknown camera 'front'; there are none"


def test_unknown_parameter_names_the_near_ones() -> None:
    space = table(row("link_mass"), row("damping"))
    for call in (
        lambda: space.index("link_maas"),
        lambda: space.with_ranges({"link_maas": (1.0, 1.0)}),
        lambda: space.values({"link_maas": 1.0}),
    ):
        with pytest.raises(
            ParamError, match="unknown parameter 'link_maas'; did you mean 'link_mass'"
        ):
            call()
    with pytest.raises(ParamError, match="unknown group 'visuals'; did you mean 'visual'"):
        space.in_group("visuals")


def test_bind_names_what_it_does_not_find() -> None:
    cases = {
        r"array of group 'model' in parameter 'mass': 'body_masss'; did you mean": row(
            field="model.body_masss"
        ),
        r"element of 'body_mass' in parameter 'mass': 'griper'; did you mean 'gripper'": row(
            elements=("griper",)
        ),
        r"element of 'body_mass' .* 'leg\*'": row(elements=("leg*",)),
        r"'mass': say which of 'body_mass' it touches": row(elements=()),
        r"'mass': 'gravity' has no named elements, drop \('gripper',\)": row(field="model.gravity"),
        r"'mass': column 3 is not in 'body_ipos' \(4, 3\)": row(field="model.body_ipos", column=3),
        r"'mass': column -1 is not in": row(field="model.body_ipos", column=-1),
    }
    for message, wrong in cases.items():
        with pytest.raises(ParamError, match=message):
            bind(table(wrong), "model", NOMINAL, ELEMENTS)


def test_bind_takes_only_its_group() -> None:
    space = table(row(), row("look", "visual.geom_rgb", elements=("cube",)))
    edits = bind(space, "model", NOMINAL, ELEMENTS)
    assert [(e.array, e.row) for e in edits] == [("body_mass", 0)]


@pytest.mark.parametrize(
    ("changes", "x", "expected"),
    [
        ({"mode": "scale"}, 1.5, [0, 1.5, 2, 3]),
        ({"mode": "add", "elements": ("*_arm",)}, 0.25, [0, 1, 2.25, 3.25]),
        ({"mode": "set", "elements": ("gripper", "world")}, 0.7, [0.7, 0.7, 2, 3]),
    ],
)
def test_modes_enter_only_where_they_are_told(changes: dict, x: float, expected: list) -> None:
    out = enter((row(**changes),), (x,))
    assert set(out) == {"body_mass"}
    np.testing.assert_allclose(out["body_mass"], expected, rtol=1e-6)


def test_columns_touch_one_component() -> None:
    com = row("com", "model.body_ipos", elements=("gripper",), column=2, mode="add")
    down = row("g", "model.gravity", elements=(), column=2)
    out = enter((com, down), (0.5, 1.1))
    changed = NOMINAL["body_ipos"].copy()
    changed[1, 2] += 0.5
    np.testing.assert_allclose(out["body_ipos"], changed)
    np.testing.assert_allclose(out["gravity"], (0, 0, -9.8 * 1.1), rtol=1e-6)


def test_rows_on_one_array_act_in_table_order() -> None:
    """(1 x 2) + 0.5 = 2.5, but (1 + 0.5) x 2 = 3."""
    twice, more = row("twice"), row("more", mode="add")
    assert enter((twice, more), (2.0, 0.5))["body_mass"][1] == pytest.approx(2.5)
    assert enter((more, twice), (0.5, 2.0))["body_mass"][1] == pytest.approx(3.0)


def test_applying_twice_equals_applying_once() -> None:
    before = {name: value.copy() for name, value in NOMINAL.items()}
    rows = (row(), row("all", elements=("*",), mode="add"))
    first, second = (enter(rows, (1.7, 0.2))["body_mass"] for _ in range(2))
    np.testing.assert_array_equal(first, second)
    for name, value in before.items():
        np.testing.assert_array_equal(NOMINAL[name], value)


def test_numpy_and_jax_agree() -> None:
    space = table(
        row(law="log_uniform"),
        row(
            "com", "model.body_ipos", elements=("*_arm",), column=1, mode="add", limits=(-1.0, 3.0)
        ),
        row("g", "model.gravity", elements=(), mode="set"),
    )
    low, high = space.limits
    unit = np.random.default_rng(0).uniform(size=(5, 3)).astype(np.float32)
    xi = space.sample(np, unit, low, high)
    np.testing.assert_allclose(space.sample(jnp, jnp.array(unit), low, high), xi, rtol=1e-6)
    np.testing.assert_allclose(
        space.normalize(jnp, jnp.array(xi)), space.normalize(np, xi), rtol=1e-5, atol=1e-6
    )
    edits = bind(space, "model", NOMINAL, ELEMENTS)
    ours, theirs = (apply(xp, NOMINAL, edits, xp.asarray(xi[0])) for xp in (np, jnp))
    assert ours.keys() == theirs.keys()
    for name, value in ours.items():
        np.testing.assert_allclose(theirs[name], value, rtol=1e-6)


@pytest.mark.parametrize(("law", "median"), [("uniform", 5.05), ("log_uniform", 1.0)])
def test_draws_keep_their_law_and_limits(law: str, median: float) -> None:
    """Limits 0.1 and 10: the arithmetic mean is 5.05, the geometric mean is 1."""
    space = table(row(limits=(0.1, 10.0), law=law))
    unit = np.random.default_rng(1).uniform(size=(4001, 1)).astype(np.float32)
    unit[:2] = [[0.0], [1.0]]
    x = space.sample(np, unit, *space.limits)
    assert x.min() == pytest.approx(0.1) and x.max() == pytest.approx(10.0)
    assert (x >= space.limits[0]).all() and (x <= space.limits[1]).all()
    spread = 0.05 * (9.9 if law == "uniform" else 3.0)
    assert np.median(x) == pytest.approx(median, abs=spread)


def test_a_closed_range_draws_its_value() -> None:
    space = table(row(initial=(1.3, 1.3)), row("b", law="log_uniform", initial=(0.7, 0.7)))
    x = space.sample(np, np.full((4, 2), 0.6, np.float32), *space.initial)
    np.testing.assert_allclose(x, np.tile(space.initial[0], (4, 1)), rtol=1e-6)


def test_normalize_maps_limits_to_one_and_closed_rows_to_zero() -> None:
    space = table(row(limits=(0.5, 2.5)), row("closed", limits=(1.0, 1.0)))
    xi = np.array([(0.5, 1), (2.5, 1), (1.5, 1)], np.float32)
    np.testing.assert_allclose(space.normalize(np, xi), [(-1, 0), (1, 0), (0, 0)], atol=1e-6)


def test_vectors_follow_the_rows() -> None:
    space = table(row(initial=(0.9, 1.2)), row("shift", "sensor.noise", nominal=0.6, mode="set"))
    assert len(space) == 2 and space.names == ("mass", "shift")
    np.testing.assert_allclose(space.nominal, (1.0, 0.6))
    np.testing.assert_allclose(space.initial, [(0.9, 1.0), (1.2, 1.0)])
    np.testing.assert_allclose(space.limits, [(0.5, 0.5), (2.0, 2.0)])
    assert space.in_group("sensor").tolist() == [False, True]
    assert space.in_group("sensor", "model").tolist() == [True, True]
    assert space.rows[1].array == "noise"


def test_an_empty_table_works() -> None:
    empty = table()
    assert empty.limits.shape == (2, 0)
    assert empty.sample(np, np.zeros((3, 0)), *empty.limits).shape == (3, 0)
    assert apply(np, NOMINAL, bind(empty, "model", NOMINAL, ELEMENTS), np.zeros(0)) == {}


def test_with_ranges_replaces_and_refuses() -> None:
    space = table(row(), row("other"))
    ranges: dict[str, Range] = {"other": (0.8, 1.2)}
    changed = space.with_ranges(ranges)
    np.testing.assert_allclose(changed.initial, [(1.0, 0.8), (1.0, 1.2)])
    np.testing.assert_allclose(space.initial, np.ones((2, 2)))
    with pytest.raises(ParamError, match="'other': initial range"):
        space.with_ranges({"other": (0.1, 1.2)})


def test_pinned_closes_every_range_and_keeps_limits() -> None:
    space = table(row(initial=(0.9, 1.2)), row("other", nominal=0.7, initial=(0.6, 0.8)))
    pinned = space.pinned()
    np.testing.assert_allclose(pinned.initial, np.tile(space.nominal, (2, 1)))
    np.testing.assert_array_equal(pinned.limits, space.limits)


def test_values_replace_by_name_inside_limits() -> None:
    space = table(row(), row("other"))
    np.testing.assert_allclose(space.values({"other": 1.9}), (1.0, 1.9))
    with pytest.raises(ParamError, match=r"'other': 2.1 is outside its limits \(0.5, 2.0\)"):
        space.values({"other": 2.1})
    with pytest.raises(ParamError, match="'other': nan is outside"):
        space.values({"other": float("nan")})


def test_short_hands_are_closed_at_nominal_and_change_nothing() -> None:
    limits, of = (-2.0, 2.0), ("upper_arm",)
    rows = (
        scale("a", "model.body_mass", of, limits, unit="1"),
        add("b", "model.body_mass", of, limits, unit="kg"),
        set_to("c", "model.gravity", (), limits, column=0),
        set_to("d", "model.gravity", (), limits, column=1, nominal=1.5),
    )
    space = table(*rows)
    assert [r.mode for r in rows] == ["scale", "add", "set", "set"]
    np.testing.assert_allclose(space.nominal, (1, 0, 0, 1.5))
    np.testing.assert_allclose(space.initial, np.tile(space.nominal, (2, 1)))
    assert all(r.limits == limits for r in rows) and rows[1].unit == "kg"
    out = enter(rows, tuple(space.nominal))
    np.testing.assert_array_equal(out["body_mass"], NOMINAL["body_mass"])
    np.testing.assert_allclose(out["gravity"], (0, 1.5, -9.8))


def test_a_group_needs_company_that_is_drawn_with_it() -> None:
    with pytest.raises(ParamError, match="'mass' is alone in group 'supply'; name the group"):
        table(row(correlation="supply"), row("other"))
    with pytest.raises(ParamError, match=r"group 'g': rows \['mass', 'b'\] must all be drawn per"):
        table(row(correlation="g"), row("b", correlation="g", resample="world"))


def test_groups_are_drawn_together_within_their_ranges() -> None:
    """The leader rises, its follower of rho -1 falls, and a bound that is pinned stays pinned."""
    rows = (
        row(correlation="g"),
        row("free"),
        row("b", correlation="g", rho=-1.0, law="log_uniform"),
    )
    space = table(*rows)
    unit = np.random.default_rng(0).uniform(0.01, 0.99, size=(500, 3)).astype(np.float32)
    low, high = space.limits
    x = space.sample(np, unit, low, high)
    order = np.argsort(x[:, 0])
    assert (np.diff(x[order, 2]) <= 1e-6).all()
    assert abs(np.corrcoef(x[:, 1], x[:, 0])[0, 1]) < 0.15
    assert (x >= low).all() and (x <= high).all()
    ours = space.sample(jnp, jnp.asarray(unit), low, high)
    np.testing.assert_allclose(ours, x, rtol=1e-3)
    pinned = space.sample(np, unit, np.array((1.7, 0.5, 0.5)), np.array((1.7, 2, 2)))
    np.testing.assert_allclose(pinned[:, 0], 1.7)


def test_a_gaussian_row_gathers_in_the_middle_of_its_bounds() -> None:
    """68.3 % of a normal within one deviation; cut at two, 0.6827 / 0.9545 = 71.5 %."""
    space = table(row(law="gaussian", limits=(0.0, 4.0)))
    unit = ((np.arange(10000) + 0.5) / 10000)[:, None]
    x = space.sample(np, unit, np.array([1.0]), np.array([3.0]))
    assert x.min() >= 1.0 and x.max() <= 3.0 and x.mean() == pytest.approx(2.0, abs=1e-3)
    assert np.mean(np.abs(x - 2.0) < 0.5) == pytest.approx(0.6827 / 0.9545, abs=0.002)


def test_a_categorical_row_draws_whole_numbers_alike() -> None:
    space = table(row(law="categorical", limits=(-1.0, 4.0)))
    unit = ((np.arange(6000) + 0.5) / 6000)[:, None]
    numbers, counts = np.unique(space.sample(np, unit, *space.limits), return_counts=True)
    np.testing.assert_array_equal(numbers, (-1, 0, 1, 2, 3, 4))
    np.testing.assert_array_equal(counts, 1000)
    between = space.sample(np, unit, np.array([0.4]), np.array([2.7]))
    np.testing.assert_array_equal(np.unique(between), (1, 2))
    edges = space.sample(np, np.array([[0.0], [1.0]]), *space.limits)
    np.testing.assert_array_equal(edges[:, 0], (-1, 4))


def test_settling_rounds_categorical_rows_towards_nominal() -> None:
    space = table(row(law="categorical", limits=(-2.0, 4.0)), row("free"))
    xi = np.array([(2.7, 1.3), (-0.6, 0.7), (3.0, 1.0), (2.99999, 1.0)], np.float32)
    settled = space.snap_discrete(np, xi)
    np.testing.assert_array_equal(settled[:, 0], (2, 0, 3, 3))
    np.testing.assert_array_equal(settled[:, 1], xi[:, 1])
    plain = table(row("free"))
    assert plain.snap_discrete(np, xi) is xi


def test_a_row_per_step_lies_between_nominal_and_xi() -> None:
    """Uniform: nominal + (xi - nominal) u; log_uniform: nominal (xi / nominal)^u; both ways."""
    space = table(
        row("still", "sensor.noise"),
        row("up", "sensor.noise", resample="step"),
        row("late", "actuator.delay_s", elements=(), resample="step", law="log_uniform"),
    )
    xi, unit = np.array((1.5, 0.6, 2.0), np.float32), np.array((0.25, 0.5), np.float32)
    for xp in (np, jnp):
        now = space.resample_steps(xp, xp.asarray(xi), xp.asarray(unit))
        expected = (1.5, 0.6 + 0.4 * 0.25, 2.0**0.5)
        np.testing.assert_allclose(now, expected, rtol=1e-5)
    np.testing.assert_array_equal(space.where("resample", "step"), (False, True, True))


def test_scaling_a_zero_is_refused_with_the_remedy() -> None:
    shift = row("shift", field="model.body_ipos", elements=("world",), column=0)
    with pytest.raises(ParamError, match="'shift' scales 'body_ipos', which is zero there"):
        bind(table(shift), "model", NOMINAL, ELEMENTS)
