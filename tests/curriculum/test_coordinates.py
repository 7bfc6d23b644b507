"""Rows by pattern, the unit box, and boxes between nominal and limits."""

import jax.numpy as jnp
import numpy as np
import pytest

from mjx_s2r.curriculum.coordinates import (
    bounds_at_width,
    from_unit,
    movable_rows,
    position_in_range,
    select_rows,
    space_at_width,
    to_unit,
)
from mjx_s2r.params import Param, ParamError, ParamSpace
from tests.curriculum.fakes import SPACE


def test_rows_are_named_by_name_or_field() -> None:
    np.testing.assert_array_equal(select_rows(SPACE, ["mass"]), (True, False, False))
    np.testing.assert_array_equal(select_rows(SPACE, ["model.body_*"]), (True, True, False))
    np.testing.assert_array_equal(select_rows(SPACE, ["fri*", "fixed"]), (False, True, True))


def test_a_tilde_takes_rows_out() -> None:
    np.testing.assert_array_equal(select_rows(SPACE, "~mass"), (False, True, True))
    np.testing.assert_array_equal(select_rows(SPACE, "~mass, ~fixed"), (False, False, True))
    np.testing.assert_array_equal(select_rows(SPACE, ("model.*", "~fri*")), (True, True, False))
    np.testing.assert_array_equal(select_rows(SPACE, "~visual.*"), (True, True, True))
    assert not select_rows(SPACE, ()).any()
    with pytest.raises(ParamError, match="'masss'; did you mean 'mass'"):
        select_rows(SPACE, "~masss")


def test_a_pattern_without_rows_lists_the_near_names() -> None:
    with pytest.raises(ParamError, match="'masss'; did you mean 'mass'"):
        select_rows(SPACE, ["masss"])


def test_only_open_active_rows_move() -> None:
    np.testing.assert_array_equal(movable_rows(SPACE), (True, False, True))
    np.testing.assert_array_equal(movable_rows(SPACE, np.array((True, True, False))), (True, 0, 0))
    with pytest.raises(ParamError, match=r"mask of shape \(2,\) for 3 rows"):
        movable_rows(SPACE, np.ones(2, bool))


def test_the_unit_box_is_even_in_the_law_coordinate() -> None:
    """Friction in [0.1, 10]: 1 is half way, 10^-0.5 a quarter; mass in [0.5, 2.5]: 1 a quarter."""
    xi = jnp.array((1.0, 1.0, 10**-0.5))
    np.testing.assert_allclose(to_unit(SPACE, xi), (0.25, 0.5, 0.25), rtol=1e-5)
    np.testing.assert_allclose(from_unit(SPACE, to_unit(SPACE, xi)), xi, rtol=1e-5)
    outside = jnp.array((9.0, 1.0, 0.01))
    np.testing.assert_allclose(to_unit(SPACE, outside), (1, 0.5, 0), rtol=1e-6)
    low, high = jnp.array((1.0, 1.0, 1.0)), jnp.array((2.0, 1.0, 4.0))
    xi = jnp.array((1.5, 1.0, 2.0))
    np.testing.assert_allclose(position_in_range(SPACE, xi, low, high), (0.5, 0.5, 0.5), rtol=1e-5)


@pytest.mark.parametrize(
    ("width", "mass", "friction"),
    [(0, (1, 1), (1, 1)), (0.5, (0.75, 1.75), (10**-0.5, 10**0.5)), (1, (0.5, 2.5), (0.1, 10))],
)
def test_a_box_goes_a_share_of_the_way_to_the_limits(
    width: float, mass: tuple, friction: tuple
) -> None:
    found = bounds_at_width(SPACE, width)
    np.testing.assert_allclose(found.T, (mass, (1, 1), friction), rtol=1e-5)
    np.testing.assert_allclose(space_at_width(SPACE, width).initial, found, rtol=1e-6)
    still = bounds_at_width(SPACE, width, np.array((True, True, False)))
    np.testing.assert_array_equal(still[:, 2], 1)


def test_a_box_of_whole_numbers_has_whole_ends() -> None:
    row = Param("steps", "actuator.delay_s", (), None, "set", 0, (0, 0), (0, 5), "categorical")
    space = ParamSpace((row,))
    np.testing.assert_array_equal(
        bounds_at_width(space, 0.5), [[0], [2]]
    )  # 2.5, rounded towards nominal
    assert space_at_width(space, 0.5).rows[0].initial == (0, 2)


def test_a_width_beyond_the_limits_is_refused() -> None:
    with pytest.raises(ParamError, match=r"width 1\.5"):
        bounds_at_width(SPACE, 1.5)
