"""Ranges of rows from a command line, a file or a notebook."""

import json
from pathlib import Path

import numpy as np
import pytest

from mjx_s2r.params import ParamError, ParamSpace, scale, set_to
from mjx_s2r.params.ranges import as_ranges, changed_space, read_range, read_ranges

SPACE = ParamSpace(
    (
        scale("mass", "model.body_mass", ("arm",), (0.5, 2.0), law="log_uniform"),
        set_to("delay", "actuator.delay_s", (), (0, 0.06), unit="s"),
    )
)


def test_a_range_becomes_the_limits_of_its_row() -> None:
    mass, delay = changed_space(SPACE, ("mass=0.8,1.25", "delay=0.02,0.04")).rows
    assert (mass.limits, mass.initial, mass.nominal) == ((0.8, 1.25), (1.0, 1.0), 1.0)
    # what lay outside moves to the nearest end
    assert (delay.limits, delay.initial, delay.nominal) == ((0.02, 0.04), (0.02, 0.02), 0.02)


def test_a_fixed_row_is_constant_in_whatever_is_drawn() -> None:
    space = changed_space(SPACE, ("mass=1.5",))
    unit = np.random.default_rng(0).uniform(size=(100, 2))
    drawn = space.sample(np, unit, *space.limits)
    assert (drawn[:, 0] == 1.5).all() and np.ptp(drawn[:, 1]) > 0.05
    assert space.nominal[0] == 1.5


def test_a_table_says_more(tmp_path: Path) -> None:
    text = 'mass = {low = 0.4, high = 3, limits = [0.25, 4], nominal = 1.1, law = "uniform"}\n'
    (tmp_path / "a.toml").write_text(text + "delay = 0.03\n")
    body = {"mass": {"limits": [0.25, 4]}, "delay": [0, 0.01]}
    (tmp_path / "a.json").write_text(json.dumps(body))
    found = read_ranges(tmp_path / "a.toml")
    assert found == ("mass=0.4,3;nominal=1.1;limits=0.25,4;law=uniform", "delay=0.03")
    mass = changed_space(SPACE, found).rows[0]
    assert (mass.limits, mass.nominal, mass.law) == ((0.4, 3.0), 1.1, "uniform")
    wider = changed_space(SPACE, read_ranges(tmp_path / "a.json")).rows[0]
    assert wider.limits == (0.25, 4.0) and wider.law == "log_uniform"


def test_texts_files_and_notebooks_say_the_same() -> None:
    given = {"mass": (0.8, 1.25), "delay": 0.02}
    assert as_ranges(given) == ("mass=0.8,1.25", "delay=0.02")
    assert as_ranges(("mass=1", "delay=0.020", " mass = 0.8, 1.25")) == as_ranges(given)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("mas=0.8,1.2", "unknown parameter 'mas'; did you mean 'mass'"),
        ("mass=1.2,0.8", "low 1.2 is above high 0.8; swap them"),
        ("mass=0.4,1.2", "0.4 to 1.2 leaves the row's hard limits, 0.5 to 2.*limits=0.4,2"),
        ("mass=40,1200", "leaves the row's hard limits, 0.5 to 2; narrow it$"),
        ("delay=20", r"20 to 20 leaves .* 0 to 0.06 s; 20 to 20 ms are 0.02,0.02 in s; narrow"),
        (
            "delay=0.02,0.3",
            "narrow it, or give limits of its own as well: delay=0.02,0.3;limits=0,",
        ),
        ("mass=nan,1", "low nan must be a finite number"),
        ("mass=0.8,inf", "high inf must be a finite number"),
        ("mass=heavy", "'heavy' is no number; write name=low,high"),
        ("mass=1,1.1,1.2", "not two numbers"),
        ("mass", "has no value"),
        ("=1,2", "has no name"),
        ("mass=1,1.1;nominl=1", "unknown key in the range of 'mass': 'nominl'.*'nominal'"),
        ("mass=1,1.1;limits=3", "limits 3.0 must be two numbers"),
        ("mass=1,1.1;limits=2,0.5", "limits low 2 is above high 0.5"),
        ("mass=1,1.1;law=flat", "unknown law .*'flat'"),
        ("mass=-1,1;limits=-1,2", "log_uniform needs limits above zero"),
    ],
)
def test_a_range_that_cannot_be_is_one_sentence(text: str, words: str) -> None:
    with pytest.raises(ParamError, match=words) as caught:
        changed_space(SPACE, (text,))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("name", "text", "words"),
    [
        ("none.toml", None, "cannot be read .No such file"),
        ("a.toml", "mass = [0.8", "is no TOML"),
        ("a.json", "[1, 2]", "expected rows by name"),
        ("a.json", '{"mass": "heavy"}', "'heavy' is no number"),
        ("a.json", '{"mass": [1, 2, 3]}', "must be .low, high., a value or a table"),
        ("a.json", '{"mass": {}}', "range of 'mass' is empty"),
        ("a.toml", "mass = true", "low True is no number"),
    ],
)
def test_a_file_that_holds_no_ranges_is_refused(
    name: str, text: str | None, words: str, tmp_path: Path
) -> None:
    if text is not None:
        (tmp_path / name).write_text(text)
    with pytest.raises(ParamError, match=words):
        read_ranges(tmp_path / name)


def test_a_range_reads_as_it_is_written() -> None:
    for text in ("a=1,2", "a=0.1", "a=1,2;initial=1,1.5", "a=nominal=2", "a=low=1;law=uniform"):
        assert str(read_range(text)) == text
