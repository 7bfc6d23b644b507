"""mjx-s2r-robot VERB [options]: checks, drives and records a robot with a policy.

This file only finds the verb; nothing heavy is imported until it is known.
"""

import importlib
import os
import sys
from collections.abc import Sequence

from mjx_s2r.contract import ContractError
from mjx_s2r.params import ParamError, unknown
from mjx_s2r.robot.cli.parser import (
    EXIT_CODES,
    INTERRUPTED,
    LATCHED,
    OK,
    PROGRAM,
    REFUSED,
    WRONG,
    Parser,
    RefusedError,
    StillLatchedError,
    UsageError,
    Verb,
    complain,
)

GROUPS = {
    "before the robot moves": {
        "inspect": "print what a policy reads and writes, or what happened in a flight log",
        "check": "compare a policy with a robot and look at its readings; nothing moves",
        "bench": "measure how fast this machine runs a policy, and how evenly",
    },
    "the robot moves": {
        "run": "fly a policy: plan, checklist, stages of speed, log",
        "collect": "make logs: motions for identification, demonstrations by policy or hand",
        "diagnose": "move a joint and fit at once: friction, inertia, delay, gains, noise, play",
    },
    "after it moved": {
        "replay": "run a log through a policy and the guard again and show any difference",
        "export": "logs as MCAP or a LeRobot dataset, a contract as files of ros2_control",
        "stage": "show, raise or lower the stage of speed of a policy on a robot",
        "reset": "clear a latched emergency stop, after asking",
    },
}
VERBS = {verb: what for group in GROUPS.values() for verb, what in group.items()}
EXAMPLES = (
    "run policy.onnx --driver bench",
    "check policy.onnx --driver udp://192.168.1.20:7771",
    "inspect flights/bench/2026-03-01-1",
)


def main(argv: Sequence[str] | None = None) -> int:
    """Runs a verb; returns the exit status."""
    words = list(sys.argv[1:] if argv is None else argv)
    if not words or words[0] in ("-h", "--help"):
        print(_help())
        return OK if words else WRONG
    try:
        return _run(words[0], words[1:])
    except KeyboardInterrupt:
        print("\ninterrupted", file=sys.stderr)
        return INTERRUPTED
    except BrokenPipeError:  # `| head` has read enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return OK
    except RefusedError as error:
        complain(error)
        return REFUSED
    except StillLatchedError as error:
        complain(error)
        return LATCHED
    except _user_errors() as error:
        complain(error)
        return WRONG


def _run(name: str, words: Sequence[str]) -> int:
    """Runs one verb.

    Raises:
        ParamError: a verb or an option that does not exist.
    """
    if name not in VERBS:
        raise unknown("verb", name, list(VERBS))
    verb: Verb = importlib.import_module(f"mjx_s2r.robot.cli.{name}").VERB
    parser = Parser(f"{PROGRAM} {name}", f"{VERBS[name].capitalize()}.", verb.examples)
    verb.add(parser)
    return verb.do(parser.read(words))


def _help() -> str:
    """Returns the help of the command."""
    lines = [f"usage: {PROGRAM} VERB [options]", "", "Drives a robot with a policy, carefully."]
    for group, verbs in GROUPS.items():
        lines += ["", f"{group}:", *(f"  {verb:<9} {what}" for verb, what in verbs.items())]
    lines += ["", "examples:", *(f"  {PROGRAM} {x}" for x in EXAMPLES)]
    lines += ["", "exit status:", *(f"  {code:<4} {what}" for code, what in EXIT_CODES)]
    return "\n".join([*lines, "", f"{PROGRAM} VERB --help shows the options of a verb."])


def _user_errors() -> tuple[type[Exception], ...]:
    """Returns the errors that name their own remedy; anything else keeps its traceback."""
    from mjx_s2r.robot.driver import DriverError
    from mjx_s2r.robot.log import LogError
    from mjx_s2r.robot.stages import StageError
    from mjx_s2r.robot.state_folder import BusyError
    from mjx_s2r.robot.watchdog.proxy import WatchdogError

    files = (LogError, StageError, OSError)
    return (UsageError, ParamError, ContractError, BusyError, DriverError, WatchdogError, *files)
