"""The verb check: does a policy fit a robot, and are its readings what they should be."""

import argparse

from mjx_s2r.contract import ContractError, PolicyContract
from mjx_s2r.robot.cli.flying import home_notes
from mjx_s2r.robot.cli.parser import OK, STOPPED, Parser, UsageError, Verb, positive
from mjx_s2r.robot.cli.robots import add_robot, choose_robot, open_robot, open_unknown
from mjx_s2r.robot.cli.session import refuse_latched, say
from mjx_s2r.robot.clock import RealClock
from mjx_s2r.robot.driver import check, lens_notes
from mjx_s2r.robot.drivers.conformance import check_driver
from mjx_s2r.robot.first_look import Remark, Verdict, look, remarks
from mjx_s2r.robot.policy import Policy
from mjx_s2r.robot.safety import SafetyConfig
from mjx_s2r.robot.state_folder import latch_path, only_one, state_folder

VERDICTS: dict[bool | None, Verdict] = {True: "ok", False: "fault", None: "note"}
MARKS = {"ok": "ok", "note": "--", "fault": "NO"}


def _add(parser: Parser) -> None:
    """Adds the options."""
    parser.add_argument(
        "policy", metavar="POLICY", nargs="?", help="the ONNX file; without it the driver alone"
    )
    parser.add_argument(
        "--rules",
        action="store_true",
        help="try the rules of drivers, too: sends commands, all to where the joints are",
    )
    parser.add_argument(
        "--seconds",
        type=positive,
        default=3.0,
        metavar="S",
        help="how long readings are looked at (3)",
    )
    add_robot(parser, flies=False)


def _do(args: argparse.Namespace) -> int:
    """Checks."""
    found: list[Remark] = []
    if args.policy is not None:
        contract = Policy.load(args.policy).contract
        say([f"{args.policy}: {contract.task}, {contract.control_hz:g} Hz, it runs here"])
        if args.driver is None:
            say(["no robot was named (--driver), so only the file was checked"])
            return OK
        found += _robot(args, contract)
    elif args.driver is None:
        raise UsageError("name a POLICY, a robot (--driver), or both")
    if args.rules or args.policy is None:
        found += _rules(args)
    say([f"  {MARKS[r.verdict]} {r.about}: {r.text}" for r in found])
    faults = sum(r.verdict == "fault" for r in found)
    say([f"{faults} fault{'s' * (faults != 1)} found" if faults else "nothing is wrong"])
    return STOPPED if faults else OK


def _rules(args: argparse.Namespace) -> list[Remark]:
    """Returns which rules of drivers a driver keeps.

    Raises:
        StillLatchedError: commands are sent, and the robot's emergency stop is latched.
    """
    clock, choice = RealClock(), choose_robot(args)
    if args.policy is None:
        driver = open_unknown(choice, clock)
    else:
        driver = open_robot(choice, Policy.load(args.policy).contract, clock)
    robot = driver.describe().name
    folder = state_folder(robot)
    with only_one(folder):
        refuse_latched(robot, latch_path(folder))
        return [
            Remark(VERDICTS[f.is_kept], "driver", f"{f.rule}{f': {f.seen}' * bool(f.seen)}")
            for f in check_driver(driver, clock=clock)
        ]


def _robot(args: argparse.Namespace, contract: PolicyContract) -> list[Remark]:
    """Returns the remarks on a robot."""
    clock = RealClock()
    driver = open_robot(choose_robot(args), contract, clock)
    info = driver.describe()
    try:
        check(contract, info)
    except ContractError as error:
        _, *problems = str(error).split("\n - ")
        return [Remark("fault", "contract", problem) for problem in problems or [str(error)]]
    found = [Remark("ok", "contract", f"fits {info.name!r}, {len(info.joints)} joints")]
    found += [Remark("note", "lens", text) for text in lens_notes(contract, info)]
    found += [Remark("note", "home", x) for x in home_notes(contract, SafetyConfig(), info)]
    with only_one(state_folder(info.name)):
        try:
            driver.connect()
            glances = look(driver, clock, contract.control_hz, args.seconds)
        finally:
            driver.close()
    return [*found, *remarks(contract, info, glances)]


VERB = Verb(
    _add,
    _do,
    (
        "check policy.onnx",
        "check --driver my_driver:MyRobot",
        "check policy.onnx --driver udp://192.168.1.20:7771 --seconds 10",
    ),
)
