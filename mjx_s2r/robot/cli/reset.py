"""The verb reset: clears a latched emergency stop after a person said that its cause is gone."""

import argparse
import json

from mjx_s2r.robot.cli.folder import utc_now
from mjx_s2r.robot.cli.parser import OK, Parser, RefusedError, Verb
from mjx_s2r.robot.cli.session import say
from mjx_s2r.robot.cli.terminal import ask, ask_name, somebody_there
from mjx_s2r.robot.latch import reset_latch
from mjx_s2r.robot.state_folder import history_path, known_robot, latch_path, only_one


def _add(parser: Parser) -> None:
    """Adds the options."""
    parser.add_argument("robot", metavar="ROBOT", help="its name, as the driver gives it")
    parser.add_argument("--by", default="", metavar="NAME", help="who clears it")
    parser.add_argument(
        "--yes", action="store_true", help="ask nothing: NAME says that the cause is gone"
    )


def _do(args: argparse.Namespace) -> int:
    """Clears the latch."""
    folder, robot = known_robot(args.robot)
    with only_one(folder):
        latch = latch_path(folder)
        if not latch.exists():
            say([f"no emergency stop of {robot!r} is latched"])
            return OK
        why = latch.read_text(errors="replace").strip()
        say([f"latched: {why}"])
        by = _allowed(args)
        line = {"at": utc_now(), "by": by, "asked": not args.yes, "latched": why}
        with open(history_path(folder), "a") as file:
            file.write(json.dumps(line) + "\n")
        reset_latch(latch)
    say([f"cleared by {by}; the next flight begins with the checklist"])
    return OK


def _allowed(args: argparse.Namespace) -> str:
    """Returns who clears it.

    Raises:
        RefusedError: nobody says yes.
    """
    if args.yes and args.by:
        return str(args.by)
    if args.yes or not somebody_there():
        raise RefusedError(
            "an emergency stop is cleared by a person: do this at a terminal, or add "
            "--yes --by NAME, which is kept"
        )
    by = args.by or ask_name()
    if not ask("is the cause found and gone, and nobody within the robot's reach?"):
        raise RefusedError("the emergency stop stays latched")
    return by


VERB = Verb(_add, _do, ("reset my_arm", "reset my_arm --yes --by Ada"))
