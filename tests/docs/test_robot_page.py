"""The page about the robot: its table of causes and its commands are those of the code."""

import re
import shlex
from pathlib import Path

import pytest

from mjx_s2r.robot.cli.inspect import HEAD, cause_rows
from mjx_s2r.robot.cli.main import VERBS
from mjx_s2r.robot.cli.parser import Parser
from mjx_s2r.robot.safety import CAUSES
from mjx_s2r.robot.stages import STAGES
from mjx_s2r.robot.table import markdown_table

DOCS = Path(__file__).parents[2] / "docs"
PAGE = (DOCS / "robot.md").read_text()
COMMANDS = sorted(
    {
        found
        for page in DOCS.glob("*.md")
        for found in re.findall(r"^mjx-s2r-robot (\w+) ([^#\n]*)", page.read_text(), re.M)
    }
)


def test_the_table_of_causes_is_the_codes() -> None:
    _, _, rest = PAGE.partition("<!-- mjx-s2r-robot inspect causes --markdown -->\n")
    assert rest.partition("<!-- end of causes -->")[0].strip().splitlines() == markdown_table(
        HEAD, cause_rows()
    )
    assert len({c.code for c in CAUSES}) == len(CAUSES)


@pytest.mark.parametrize(("verb", "words"), COMMANDS)
def test_every_command_can_be_read(verb: str, words: str) -> None:
    """Options that the page shows exist; nothing is run."""
    import importlib

    parser = Parser(verb, VERBS[verb])
    importlib.import_module(f"mjx_s2r.robot.cli.{verb}").VERB.add(parser)
    parser.read(shlex.split(words))


def test_the_stages_are_the_codes() -> None:
    rows = re.findall(r"^\| (\d+) % \|", PAGE, re.M)
    assert [int(x) for x in rows] == [round(100 * s.fraction) for s in STAGES]
