"""Normalized entropy: numbers by hand."""

import numpy as np
import pytest

from mjx_s2r.curriculum.interface import normalized_entropy
from mjx_s2r.params import ParamSpace
from tests.curriculum.fakes import SPACE


@pytest.mark.parametrize(
    ("mass", "friction", "expected"),
    [
        ((0.5, 2.5), (0.1, 10.0), 0.0),  # as wide as allowed
        ((0.5, 1.5), (0.1, 10.0), np.log(0.5) / 2),  # half of one, all of the other
        ((1.0, 2.0), (0.1, 1.0), np.log(0.5)),  # half of both; one decade of two
        ((1.0, 1.2), (1.0, 1.0), (np.log(0.1) + np.log(1e-3)) / 2),  # closed counts as 1e-3
        ((1.0, 1.0), (1.0, 1.0), np.log(1e-3)),
    ],
)
def test_entropy_is_the_mean_over_open_rows(mass: tuple, friction: tuple, expected: float) -> None:
    """The row whose limits are closed has no say."""
    low, high = np.array((mass, (1, 1), friction), np.float32).T
    assert float(normalized_entropy(SPACE, low, high)) == pytest.approx(expected, abs=1e-5)


def test_entropy_of_a_table_without_open_rows_is_zero() -> None:
    space = ParamSpace(SPACE.rows[1:2])
    assert float(normalized_entropy(space, *space.limits)) == 0.0
