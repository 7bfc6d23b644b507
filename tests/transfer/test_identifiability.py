"""What logs can tell of rows: unseen ones, ties in words, and which reading informs which row."""

from dataclasses import replace

import numpy as np
import pytest

from mjx_s2r.transfer import identifiability
from mjx_s2r.transfer.identifiability import IdentifiabilityError
from tests.transfer.linear import linear_log


@pytest.mark.parametrize(
    ("effect", "words"),
    [
        ([[1.0, 1.0], [0.0, 0.0]], "only the product of row0 and row1 is seen"),
        ([[1.0, -1.0], [0.0, 0.0]], "only the ratio of row0 to row1 is seen"),
        ([[1.0, 1.0], [0.02, -0.02]], "only the product of row0 and row1 is seen"),
        # both go from 0.5 to 2 by the logarithm: 4^0.1 = 1.15 up, and half of that way down
        ([[0.5, 1.0], [0.0, 0.0]], "row0 +0.15, row1 -0.067: together this changes hardly any"),
    ],
)
def test_rows_seen_only_together_are_named_with_what_is_seen(
    effect: list[list[float]], words: str, rng: np.random.Generator
) -> None:
    middle = np.full(2, 0.5)
    found = identifiability.check([linear_log(np.array(effect), rng, truth=middle).fit])
    (group,) = found.groups
    assert group.rows == ("row0", "row1") and words in group.words
    assert found.condition > 100 and not found.unseen


def test_rows_that_are_seen_apart_are_no_group(rng: np.random.Generator) -> None:
    found = identifiability.check([linear_log(np.eye(4), rng).fit])
    assert not found.groups and not found.unseen
    assert found.condition < 1.5 and (found.left < 0.15).all()
    found.require()


def test_a_product_of_three_and_another_pair_are_two_groups(rng: np.random.Generator) -> None:
    effect = np.zeros((6, 6))
    effect[0, [0, 2, 4]] = 1, 0.5, 0.8
    effect[1, [1, 5]] = 1, -1
    found = identifiability.check([linear_log(effect, rng).fit])
    assert {group.rows for group in found.groups} == {("row0", "row2", "row4"), ("row1", "row5")}
    assert found.unseen == ("row3",) and found.left[3] == pytest.approx(1.0)


def test_logs_that_say_nothing_are_refused(rng: np.random.Generator) -> None:
    found = identifiability.check([linear_log(1e-3 * np.eye(2), rng).fit])
    assert found.unseen == ("row0", "row1")
    with pytest.raises(IdentifiabilityError, match=r"say nothing of row0, row1: .*record motions"):
        found.require()


def test_what_is_seen_at_one_point_is_seen(rng: np.random.Generator) -> None:
    """A dry friction from zero says nothing at zero, and two rows that part elsewhere are apart."""
    blind = linear_log(np.array([[1.0, 1.0, 0.0], [0.0, 0.0, 0.0], [0.0, 0.0, 0.0]]), rng).fit
    found = identifiability.check([blind, linear_log(np.eye(3), rng).fit])
    assert not found.unseen and not found.groups
    assert identifiability.check([blind]).unseen == ("row2",)


def test_each_row_is_told_by_its_channel_and_its_recording(rng: np.random.Generator) -> None:
    fit = linear_log(np.eye(2), rng, recordings=4).fit
    jacobian = fit.jacobian.copy()
    jacobian[:, :, 0, 0] = 0.0  # row0 shows in the second channel alone
    jacobian[fit.recording != 2, :, :, 1] = 0.0  # and row1 in the third recording
    found = identifiability.check([replace(fit, jacobian=jacobian)])
    assert found.channel[:, 0] == pytest.approx([0.0, 1.0])
    assert found.recording[:, 1] == pytest.approx([0.0, 0.0, 1.0, 0.0])
    assert found.recording[:, 0] == pytest.approx(np.full(4, 0.25), abs=0.05)
