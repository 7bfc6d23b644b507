"""Options of a verb: argparse, with the nearest option named when one does not exist."""

import argparse
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import NoReturn

from mjx_s2r.params import unknown

PROGRAM = "mjx-s2r-robot"
OK, STOPPED, WRONG, REFUSED, LATCHED, INTERRUPTED = 0, 1, 2, 3, 4, 130
EXIT_CODES = (
    (OK, "done"),
    (STOPPED, "the guard stopped the robot, or a check found a fault"),
    (WRONG, "wrong input: one sentence says what and what to do"),
    (REFUSED, "refused: a person or the checklist said no, or nobody could be asked"),
    (LATCHED, "an emergency stop is, or was, pressed; `reset` clears it"),
    (INTERRUPTED, "ended by Ctrl-C, after the robot was stopped"),
)


class RefusedError(RuntimeError):
    """What a person, the checklist or a missing person refuses; the message says the remedy."""


class StillLatchedError(RuntimeError):
    """An emergency stop that nobody has cleared; the message says how."""


@dataclass(frozen=True)
class Verb:
    """One verb: ``add`` gives a parser its options, ``do`` runs it and returns the exit status."""

    add: Callable[["Parser"], None]
    do: Callable[[argparse.Namespace], int]
    examples: tuple[str, ...] = ()


class UsageError(ValueError):
    """A command line that cannot be read."""


class Parser(argparse.ArgumentParser):
    """argparse that raises `UsageError` and takes no abbreviations."""

    def __init__(self, prog: str, description: str, examples: Sequence[str] = ()) -> None:
        """Takes the name, one sentence, and lines that one can copy."""
        epilog = "\n".join(("examples:", *(f"  {PROGRAM} {x}" for x in examples)))
        super().__init__(
            prog=prog,
            description=description,
            epilog=epilog if examples else None,
            formatter_class=_Formatter,
            allow_abbrev=False,
        )

    def error(self, message: str) -> NoReturn:
        """Raises UsageError."""
        raise UsageError(f"{message}; see {self.prog} --help")

    def read(self, argv: Sequence[str]) -> argparse.Namespace:
        """Returns the options.

        Raises:
            UsageError: one that is missing or cannot be read.
            ParamError: one that does not exist; names the nearest.
        """
        words = list(argv)
        known = [x for action in self._actions for x in action.option_strings]
        for word in words[: words.index("--")] if "--" in words else words:
            name = word.partition("=")[0]
            if name.startswith("--") and name not in known:
                raise unknown("option", name, [x for x in known if x.startswith("--")])
        return self.parse_args(words)


class _Formatter(argparse.RawDescriptionHelpFormatter):
    """Help with the metavar written once and narrow first column."""

    def __init__(self, prog: str) -> None:
        """Leaves 30 columns for the options."""
        super().__init__(prog, max_help_position=30, width=94)


def positive(text: str) -> float:
    """Returns a positive, finite number.

    Raises:
        argparse.ArgumentTypeError: another one, or none.
    """
    try:
        value = float(text)
    except ValueError:
        value = float("nan")
    if not 0 < value < float("inf"):
        raise argparse.ArgumentTypeError(f"{text!r} must be a positive number")
    return value


def whole(text: str) -> int:
    """Returns a whole number of at least one.

    Raises:
        argparse.ArgumentTypeError: another one, or none.
    """
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text!r} must be a whole number, at least 1")
    return int(text)


def complain(text: object) -> None:
    """Prints an error."""
    print(f"error: {text}", file=sys.stderr)
