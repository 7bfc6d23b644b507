"""python -m train student --teacher runs/teacher: a camera student that copies the teacher."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import tyro

from mjx_s2r.api.student import StudentConfig, student_recipe, train_student
from train.command_line import gather_ranges


@dataclass(frozen=True)
class _Teacher:
    """The first look at the command line: whose task's recipe to start from."""

    teacher: Path = Path("runs/teacher")
    run: Path = StudentConfig.run


def main(argv: Sequence[str]) -> None:
    """Parses the command line and distils."""
    argv = gather_ranges(argv)
    found = tyro.cli(_Teacher, args=argv, return_unknown_args=True, add_help=False)[0]
    recipe = student_recipe(found.teacher, found.run)
    train_student(tyro.cli(StudentConfig, args=argv, default=recipe))
