"""Recipe files: settings that a command line starts from, beside those that fit its task.

A recipe is JSON in the shape of the settings, with as many of them as it cares to name. The
config.json of any run is one.
"""

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import tyro

from mjx_s2r.io.config import ConfigError

ONCE = ("run", "resume", "recipe")  # settings of one run, which no other takes over


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


def read(file: Path) -> dict[str, Any]:
    """Returns the settings in a recipe's file, without those of one run only.

    Raises:
        ConfigError: no such file, or not an object in JSON.
    """
    try:
        body = json.loads(file.read_text())
    except OSError as error:
        raise ConfigError(
            f"recipe {file}: cannot be read ({error.strerror}); name a JSON file, such as the "
            "config.json of a run"
        ) from error
    except ValueError as error:
        raise ConfigError(f"recipe {file}: not JSON ({error})") from error
    if not isinstance(body, dict):
        raise ConfigError(f"recipe {file}: expected settings in braces, got {str(body)[:40]}")
    return {name: value for name, value in body.items() if name not in ONCE}
