"""Task and recipe of a command line, read first: its other settings start from them."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import tyro


@dataclass(frozen=True)
class _Start:
    """The first look at a command line."""

    task: str = ""
    recipe: Path | None = None


def base(argv: Sequence[str]) -> tuple[str, Path | None]:
    """Returns the task and the recipe's file that the other settings of a command line start from.

    They are called --task and --recipe, or --teacher.task and --teacher.recipe.
    """
    words = [re.sub(r"^--teacher\.(task|recipe)\b", r"--\1", word) for word in argv]
    found = tyro.cli(_Start, args=words, return_unknown_args=True, add_help=False)[0]
    return found.task, found.recipe
