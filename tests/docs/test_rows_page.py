"""docs/rows.md names every array that a row can bind, and no other."""

import re
from dataclasses import fields
from pathlib import Path

from mjx_s2r.params.camera_rows import CAMERA_ARRAYS, FRAME_ARRAYS
from mjx_s2r.render.looks.appearance import Appearance
from mjx_s2r.sim.effects import actuator, sensor, world
from mjx_s2r.sim.model.fields import ELEMENTS

PAGE = Path(__file__).parents[2] / "docs" / "rows.md"


def _listed(group: str) -> dict[str, str]:
    """Returns array -> element of the page's table of a group."""
    section = PAGE.read_text().partition(f"\n## {group}:")[2].partition("\n## ")[0]
    return dict(re.findall(r"^\| `(\w+)` \| ([^|]*?) ?\|", section, re.M))


def test_every_array_of_the_table_is_on_the_page() -> None:
    assert _listed("model").keys() == ELEMENTS.keys()
    single = ("delay_s", "hold", "adversary")
    assert _listed("actuator").keys() == {*actuator.PER_JOINT, *single}
    assert _listed("sensor").keys() == {*sensor.PER_SIGNAL, *sensor.SINGLE}
    starts = {"start_pos", "start_vel", "mocap_shift", "mocap_hidden"}
    assert _listed("world").keys() == {*world.PUSHES, *world.TIMES, *starts}
    looks = {field.name for field in fields(Appearance)}  # type: ignore[arg-type]
    visual = _listed("visual")
    assert visual.keys() == looks | set(FRAME_ARRAYS)
    assert {name for name, of in visual.items() if of == "camera"} == CAMERA_ARRAYS
    for name, kind in ELEMENTS.items():
        of = {"dof": "joint", "qpos": "joint", "hfield": "height field", None: ""}.get(kind, kind)
        assert _listed("model")[name] == of
