"""The page of suggested ranges: every limit on it is that of the row it names."""

import re
from pathlib import Path

import pytest

from mjx_s2r.envs.registry import make_task

PAGE = (Path(__file__).parents[2] / "docs" / "coverage.md").read_text()
NAMED = re.findall(r"`(\w+)\.(\w+)` (-?[\d.]+) to (-?[\d.]+)", PAGE)


@pytest.mark.parametrize("task", sorted({task for task, *_ in NAMED}))
def test_limits_on_the_page_are_those_of_the_rows(task: str) -> None:
    space = make_task(task).space
    told = {row: (float(low), float(high)) for name, row, low, high in NAMED if name == task}
    assert {row: space.rows[space.index(row)].limits for row in told} == told


def test_every_row_on_the_page_has_its_limits() -> None:
    assert len(NAMED) == len(re.findall(r"`(?!visual)\w+\.(?!md)\w+`", PAGE)) > 60
