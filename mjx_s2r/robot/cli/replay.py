"""The verb replay: a log through policy and guard again, and every difference."""

import argparse
import json
from pathlib import Path

from mjx_s2r.robot.cli.parser import OK, STOPPED, Parser, Verb
from mjx_s2r.robot.cli.session import say
from mjx_s2r.robot.log import read
from mjx_s2r.robot.policy import Policy
from mjx_s2r.robot.replay import replay


def _add(parser: Parser) -> None:
    """Adds the options."""
    parser.add_argument("log", type=Path, metavar="LOG", help="a flight log")
    parser.add_argument("policy", metavar="POLICY", help="the policy that flew, or another one")
    parser.add_argument("--json", action="store_true", help="for programs")


def _do(args: argparse.Namespace) -> int:
    """Replays."""
    report = replay(read(args.log), Policy.load(args.policy))
    say([json.dumps(report.to_json(), indent=1) if args.json else report.describe()])
    return OK if report.exact else STOPPED


VERB = Verb(_add, _do, ("replay flights/arm/2026-03-01-1/episode-1.log policy.onnx",))
