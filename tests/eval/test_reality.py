"""Reality files: what is read from them, what is drawn, and what is refused."""

import json
import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from mjx_s2r.eval.reality import (
    Reality,
    Spread,
    check_rows,
    draw_robot,
    effects_of,
    imperfections_of,
    load_reality,
    row_values,
)
from mjx_s2r.io.config import ConfigError
from mjx_s2r.params import ParamError, ParamSpace, scale, set_to
from mjx_s2r.robot.drivers.imperfections import SERVO_ARM

SPACE = ParamSpace(
    (
        scale("mass", "model.body_mass", ("a",), (0.5, 2.0)),
        set_to("delay", "actuator.delay_s", (), (0, 0.02), unit="s"),
    )
)


def written(folder: Path, text: str, name: str = "desk.toml") -> Path:
    """Returns the path of a file that holds ``text``."""
    path = folder / name
    path.write_text(text)
    return path


def test_a_file_says_what_the_robots_are(tmp_path: Path) -> None:
    text = """
    count = 2
    seed = 5
    rows.mass = { normal = [1.2, 0.1] }
    rows.delay = 0.01
    effects.gain = { uniform = [0.9, 1.1] }
    effects.camera_latency_frames = 2
    scene.tilt = { base = [0.0, 1.0, 0.0] }
    """
    found = load_reality(written(tmp_path, text))
    assert (found.name, found.count, found.folder) == ("desk", 2, tmp_path)
    assert found.rows == {"mass": Spread(normal=(1.2, 0.1)), "delay": 0.01}
    one = draw_robot(found, 0)
    flaws = imperfections_of(one, 0)
    assert flaws.camera_latency_frames == 2 and flaws.seed == 5000
    assert len(set(flaws.gain)) == 3 and all(0.9 <= x <= 1.1 for x in flaws.gain)
    body = {"count": 2, "seed": 5, "rows": {"mass": {"normal": [1.2, 0.1]}, "delay": 0.01}}
    same = load_reality(written(tmp_path, json.dumps(body), "desk.json"))
    assert row_values(draw_robot(same, 0), SPACE) == row_values(one, SPACE)


def test_numbers_follow_their_laws_and_stay_in_their_limits() -> None:
    laws = {
        "uniform": Spread(uniform=(0.6, 1.8)),
        "normal": Spread(normal=(1.0, 0.1)),
        "lognormal": Spread(lognormal=(1.2, 0.2)),
    }
    drawn = {}
    for name, law in laws.items():
        reality = Reality(rows={"mass": law})
        values = [row_values(draw_robot(reality, i), SPACE)["mass"] for i in range(800)]
        drawn[name] = np.array(values)
    assert drawn["uniform"].min() < 0.65 and drawn["uniform"].max() > 1.75
    assert drawn["uniform"].mean() == pytest.approx(1.2, abs=0.05)
    assert (drawn["normal"].mean(), drawn["normal"].std()) == pytest.approx((1, 0.1), abs=0.02)
    log = np.log(drawn["lognormal"])
    assert (log.mean(), log.std()) == pytest.approx((math.log(1.2), 0.2), abs=0.04)
    wide = Reality(rows={"mass": Spread(normal=(1.0, 5.0))})
    cut = [row_values(draw_robot(wide, i), SPACE)["mass"] for i in range(50)]
    assert (min(cut), max(cut)) == (0.5, 2.0)


def test_a_draw_depends_on_seed_robot_and_place_alone() -> None:
    one = Reality(rows={"mass": Spread(uniform=(0.5, 2.0))})
    more = replace(one, rows={"delay": Spread(uniform=(0.0, 0.02)), **one.rows})
    value = draw_robot(one, 3).rows["mass"]
    assert draw_robot(more, 3).rows["mass"] == value
    assert draw_robot(one, 4).rows["mass"] != value
    assert draw_robot(replace(one, seed=1), 3).rows["mass"] != value


def test_flaws_that_are_drawn_are_flaws_that_can_be() -> None:
    wild = Spread(normal=(0.01, 3.0))
    names = ("lost_commands", "backlash_deg", "encoder_counts", "offset_deg")
    reality = Reality(effects=dict.fromkeys(names, wild))
    found = [imperfections_of(draw_robot(reality, i), i) for i in range(30)]
    assert {f.lost_commands for f in found} >= {0.0, 1.0}
    assert min(f.backlash_deg for f in found) == 0 > min(f.offset_deg for f in found)
    assert all(isinstance(f.encoder_counts, int) for f in found)
    arm = imperfections_of(draw_robot(Reality(effects=effects_of(SERVO_ARM)), 7), 7)
    assert arm == replace(SERVO_ARM, seed=7)


BAD = [
    ("", "is empty"),
    ("rows = 3", r"rows: Expected `object`"),
    ("rows.mass = 'heavy'", r"rows.*got `str`"),
    ("rows.mass = true", r"rows.*got `bool`"),
    ("rows.mass = nan", r"rows.mass: nan is not a finite number"),
    ("rows.mass = { uniform = [1.0, inf] }", r"rows.mass.uniform\[1\]: inf"),
    ("rows.mass = { uniform = [2.0, 1.0] }", "low is above high"),
    ("rows.mass = { unifrom = [1.0, 2.0] }", r"law|unifrom"),
    ("rows.mass = { uniform = [1.0, 2.0], normal = [1.0, 0.1] }", "has 2 laws"),
    ("rows.mass = { normal = [1.0, -0.1] }", "deviation must not be negative"),
    ("rows.mass = { lognormal = [0.0, 0.1] }", "median must be above zero"),
    ("rows.mass = { uniform = [1.0] }", "length 2"),
    ("rosw.mass = 1.0", "unknown setting of Reality: 'rosw'; did you mean 'rows'"),
    ("effects.backlash = 1.0", "unknown effect 'backlash'; did you mean 'backlash_deg'"),
    ("effects.seed = 1", "unknown effect 'seed'"),
    ("effects.latency_ms = -1.0", r"effects.latency_ms = -1.0 must be at least 0"),
    ("effects.lost_commands = 1.5", "between 0 and 1"),
    ("effects.encoder_counts = 10.5", "whole number"),
    ("effects.gain = [1.0, 1.0]", "2 values; give one number, or three"),
    ("effects.strength = [1.0, 1.0, 1.0]", "3 values; give one number"),
    ("count = 0", "count = 0 must be at least 1"),
    ("count = -3", "count = -3 must be at least 1"),
    ("count = 2.5", "count"),
    ("seed = -1", "seed = -1 must be at least 0"),
    ("physics.timestep = 0.0", "timestep = 0.0 must be above zero"),
    ("physics.iterations = 0", "iterations = 0 must be at least 1"),
    ("physics.integrator = 'euler'", "must be one of 'Euler', 'RK4'"),
    ("physics.gravity = 9.81", "unknown setting of physics: 'gravity'"),
    ("scene.geoms = [{name='a', size=[1.0]}, {name='a', size=[1.0]}]", "'a' is there twice"),
    ("scene.geoms = [{name='', size=[1.0]}]", "'' is no name"),
    ("scene.geoms = [{name='a'}]", "size"),
    ("scene.geoms = [{name='a', size=[1.0], type='cube'}]", "must be one of 'sphere'"),
    ("looks.colours = { cube = [1.0, 0.0] }", "length 3"),
    ("looks.colours = { cube = [255.0, 0.0, 0.0] }", r"looks.colours.cube: 255.0 must be between"),
    ("looks.lights.sun.diffuse = -1.0", "brightness -1.0 must be at least 0"),
    (
        "looks.speckles.a = { rgb = [0, 0, 0], marks = [1.0, 1.0, 1.0], size_px = 0 }",
        "px",
    ),
    ("folder = '/tmp'", "unknown key 'folder'"),
    ("rows.mass = 1.0\nrows.mass = 2.0", "is no TOML.*mend that first"),
    ("[rows\nmass = 1", "is no TOML"),
]


@pytest.mark.parametrize(("text", "says"), BAD)
def test_a_file_that_is_wrong_is_refused_in_one_sentence(
    tmp_path: Path, text: str, says: str
) -> None:
    path = written(tmp_path, text)
    with pytest.raises(ConfigError, match=says) as caught:
        load_reality(path)
    assert str(path) in str(caught.value) and "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("name", "text", "says"),
    [
        ("desk.yaml", "rows: {mass: 1.0}", "ends with '.yaml'; write TOML"),
        ("desk.json", "rows: 1", "is no JSON"),
        ("desk.json", "[1, 2]", "holds no JSON object"),
        ("desk.json", '{"rows": {"mass": NaN}}', "rows.mass: nan is not a finite number"),
        ("desk.json", '{"seed": 1, "seed": 2}', "key 'seed' is there twice"),
        ("desk.json", "  ", "is empty"),
    ],
)
def test_other_formats_are_refused(tmp_path: Path, name: str, text: str, says: str) -> None:
    with pytest.raises(ConfigError, match=says):
        load_reality(written(tmp_path, text, name))


def test_what_is_no_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"none\.toml does not exist; name a TOML"):
        load_reality(tmp_path / "none.toml")
    with pytest.raises(ConfigError, match="is a folder"):
        load_reality(tmp_path)
    binary = tmp_path / "desk.toml"
    binary.write_bytes(b"\xff\xfe\x00")
    with pytest.raises(ConfigError, match="is no TOML"):
        load_reality(binary)


@pytest.mark.parametrize(
    ("rows", "error", "says"),
    [
        ({"mas": 1.0}, ParamError, "unknown parameter 'mas'; did you mean 'mass'"),
        ({"mass": 3.0}, ConfigError, r"rows.mass = 3.0 is outside the row's limits"),
        ({"mass": Spread(uniform=(0.4, 1.0))}, ConfigError, "0.4 is outside"),
        ({"delay": Spread(normal=(0.03, 0.001))}, ConfigError, r"0.03 is outside.*\(s\)"),
    ],
)
def test_rows_are_those_of_the_table(rows: Any, error: type[Exception], says: str) -> None:
    with pytest.raises(error, match=says):
        check_rows(Reality(rows=rows), SPACE)
