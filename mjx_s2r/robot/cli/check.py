"""The verb check: does a policy fit a robot, and are its readings what they should be."""

import argparse

from mjx_s2r.contract import ContractError, PolicyContract
from mjx_s2r.robot.cli.parser import OK, STOPPED, Parser, Verb, positive
from mjx_s2r.robot.cli.robots import add_robot, choose_robot, open_robot
from mjx_s2r.robot.cli.session import say
from mjx_s2r.robot.clock import RealClock
from mjx_s2r.robot.driver import check
from mjx_s2r.robot.first_look import Remark, look, remarks
from mjx_s2r.robot.policy import Policy
from mjx_s2r.robot.state_folder import only_one, state_folder

MARKS = {"ok": "ok", "note": "--", "fault": "NO"}


def _add(parser: Parser) -> None:
    """Adds the options."""
    parser.add_argument("policy", metavar="POLICY", help="the ONNX file")
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
    policy = Policy.load(args.policy)
    contract = policy.contract
    say([f"{args.policy}: {contract.task}, {contract.control_hz:g} Hz, it runs here"])
    if args.driver is None:
        say(["no robot was named (--driver), so only the file was checked"])
        return OK
    found = _robot(args, contract)
    say([f"  {MARKS[r.verdict]} {r.about}: {r.text}" for r in found])
    faults = sum(r.verdict == "fault" for r in found)
    if faults:
        say([f"{faults} faults; nothing was moved"])
        return STOPPED
    say(["the policy fits the robot; nothing was moved"])
    return OK


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
    ("check policy.onnx", "check policy.onnx --driver udp://192.168.1.20:7771 --seconds 10"),
)
