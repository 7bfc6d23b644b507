"""What of a command line is read first: task and recipe, and options that may come repeatedly."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import tyro

RANGE = r"--(?:teacher\.)?range"
RANGES_FILE = re.compile(r"^--(?:teacher\.)?ranges((?:=.*)?)$", re.S)


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


def gather_ranges(argv: Sequence[str], inside: str = "") -> list[str]:
    """Returns a command line in which all --range are one, with the values of all.

    Args:
        argv: the command line.
        inside: the settings that the ranges are part of, e.g. "teacher."; --range and --ranges
            may be written without it.
    """
    words = [RANGES_FILE.sub(rf"--{inside}ranges\1", word) for word in argv]
    return gather_option(words, RANGE, f"--{inside}range")


def gather_option(argv: Sequence[str], option: str, name: str) -> list[str]:
    """Returns a command line in which an option that may come repeatedly stands once, with all.

    Args:
        argv: the command line.
        option: pattern of its names.
        name: what it is called in what is returned.
    """
    rest: list[str] = []
    found: list[str] = []
    taking = False
    for word in argv:
        match = re.fullmatch(rf"{option}(?:=(.*))?", word, re.S)
        if match and match[1] is not None:
            found.append(match[1])
        elif not match and taking and not word.startswith("--"):
            found.append(word)
            continue
        elif not match:
            rest.append(word)
        taking = match is not None and match[1] is None
    return [*rest, name, *found] if found else rest
