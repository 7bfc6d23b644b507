"""Ranges of a posterior on a table: ties between rows, and what makes a table another one."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from mjx_s2r.params import ParamError, ParamSpace, scale, set_to
from mjx_s2r.params.ranges import as_ranges, changed_space, kind_of_row, read_ranges

NAMES = ("kp", "strength", "damping", "armature")
SPACE = ParamSpace(
    (
        *(scale(n, f"model.{n}", ("arm",), (0.5, 2.0), law="log_uniform") for n in NAMES),
        set_to("delay", "actuator.delay_s", (), (0, 0.06), unit="s"),
    )
)


def tied(space: ParamSpace, group: str, **rho: float) -> ParamSpace:
    """Returns the table with rows drawn together."""
    rows = (
        replace(r, correlation=group, rho=rho[r.name]) if r.name in rho else r for r in space.rows
    )
    return ParamSpace(tuple(rows))


def given(space: ParamSpace, **ranges: str) -> dict[str, tuple[str, float]]:
    """Returns group and correlation of each row after ranges, without those of no group."""
    texts = tuple(f"{name}={text}" for name, text in ranges.items())
    rows = changed_space(space, texts).rows
    return {row.name: (row.correlation, row.rho) for row in rows if row.correlation}


def test_rows_are_drawn_together_as_their_ranges_say() -> None:
    texts = (
        "kp=nominal=1;initial=0.8,1.25;correlation=posterior_1",
        "strength=nominal=1;initial=0.8,1.25;correlation=posterior_1;rho=-0.98",
    )
    space = changed_space(SPACE, texts)
    unit = np.random.default_rng(0).uniform(size=(4000, len(space)))
    drawn = space.sample(np, unit, *space.initial)
    both = np.log(drawn[:, :2])
    # a copula of -0.98 between normal scores is 6/pi asin(-0.98/2) = -0.978 between uniform ones
    assert np.corrcoef(both.T)[0, 1] == pytest.approx(-0.978, abs=0.005)
    assert abs(both).max() <= np.log(1.25) + 1e-5
    assert (drawn[:, 2:4] == 1).all()
    assert space.rows[0].limits == (0.5, 2.0)


def test_a_row_that_a_posterior_ties_leaves_its_group_of_the_table() -> None:
    supply = tied(SPACE, "supply", kp=1, strength=0.8, damping=0.5)
    new = given(supply, kp="correlation=posterior_1", armature="correlation=posterior_1;rho=0.9")
    # strength leads those that stay; by one factor its correlation with damping is 0.8 x 0.5
    assert new == {
        "kp": ("posterior_1", 1.0),
        "armature": ("posterior_1", 0.9),
        "strength": ("supply", 1.0),
        "damping": ("supply", 0.4),
    }


def test_a_row_that_is_left_alone_by_a_posterior_is_free() -> None:
    supply = tied(SPACE, "supply", kp=1, strength=0.8)
    new = given(supply, kp="correlation=p", damping="correlation=p;rho=-1")
    assert new == {"kp": ("p", 1.0), "damping": ("p", -1.0)}


def test_a_table_keeps_the_ties_that_no_range_speaks_of() -> None:
    supply = tied(SPACE, "supply", kp=1, strength=0.8)
    assert given(supply, kp="0.9,1.1") == {"kp": ("supply", 1.0), "strength": ("supply", 0.8)}


def test_a_narrower_range_by_hand_does_not_untie_a_row() -> None:
    posterior = ("kp=nominal=1;initial=0.8,1;correlation=p", "strength=correlation=p;rho=-1")
    texts = as_ranges((*posterior, "kp=0.9,1.1"))
    assert texts == ("kp=0.9,1.1;correlation=p", "strength=correlation=p;rho=-1")
    changed_space(SPACE, (*posterior, "kp=0.9,1.1"))
    free = changed_space(SPACE, (*texts, "kp=correlation=", "strength=correlation="))
    assert not any(row.correlation for row in free.rows)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("kp=initial=1,3;of={}", "initial range, 1 to 3 1, leaves 0.5 to 2;.* kp=limits=0.5,3"),
        ("kp=nominal=1;of=set model.kp in N m", "it is of a row that is set model.kp in N m, and"),
        ("servo=nominal=1;of={}", "of a posterior of another table: unknown parameter 'servo'"),
        ("kp=correlation=p", "'kp' is alone in group 'p'"),
        ("kp=correlation=p;rho=2", "rho 2.0 is a correlation"),
    ],
)
def test_a_posterior_of_another_table_is_refused(text: str, words: str) -> None:
    with pytest.raises(ParamError, match=words):
        changed_space(SPACE, (text.format(kind_of_row(SPACE.rows[0])),))


@pytest.mark.parametrize("body", [{"format": "mjx_s2r posterior 9", "ranges": {}}, {"format": "x"}])
def test_a_posterior_of_another_version_is_refused(body: dict[str, object], tmp_path: Path) -> None:
    (tmp_path / "posterior.json").write_text(json.dumps(body))
    with pytest.raises(ParamError, match=r"is no 'mjx_s2r posterior 1'.*identify again"):
        read_ranges(tmp_path / "posterior.json")
