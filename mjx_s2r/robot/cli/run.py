"""The verb run: a plan, the checklist, then one episode after another, and a summary."""

import argparse
from pathlib import Path
from typing import get_args

from mjx_s2r.robot.cli.flying import USUAL_S
from mjx_s2r.robot.cli.parser import Parser, Verb, positive, whole
from mjx_s2r.robot.cli.robots import add_robot
from mjx_s2r.robot.cli.session import Session, add_session, robot_session, say
from mjx_s2r.robot.interpolation import Interpolation
from mjx_s2r.robot.policy import Policy
from mjx_s2r.robot.stages import policy_digest


def _add(parser: Parser) -> None:
    """Adds the options."""
    parser.add_argument("policy", metavar="POLICY", help="the ONNX file")
    parser.add_argument("--episodes", type=whole, default=1, metavar="N", help="how many (1)")
    parser.add_argument(
        "--seconds",
        type=positive,
        metavar="S",
        help="time of each (20; of a stand-in until its task is decided, at most the task's time)",
    )
    parser.add_argument(
        "--no-home", action="store_true", help="begin where the robot is, not at the policy's home"
    )
    parser.add_argument(
        "--inner-hz",
        type=positive,
        default=0.0,
        metavar="HZ",
        help="commands per second, a multiple of the policy's rate (the policy's rate)",
    )
    parser.add_argument(
        "--interpolation",
        choices=get_args(Interpolation),
        default="linear",
        help="how commands between two answers of the policy go (linear)",
    )
    parser.add_argument(
        "--camera-calibration",
        type=Path,
        action="append",
        default=[],
        metavar="FILE",
        help="camera.json of train calibrate: the camera's pictures are turned into those of the "
        "camera that the policy was trained with; once for each camera",
    )
    add_robot(parser, flies=True)
    add_session(parser)


def _do(args: argparse.Namespace) -> int:
    """Flies."""
    policy = Policy.load(args.policy)
    digest = policy_digest(args.policy)
    contract = policy.contract
    facts = {"verb": "run", "policy": args.policy, "sha256": digest, "task": contract.task}
    home = not args.no_home and contract.action.mode != "effort"
    with robot_session(args, contract, digest, facts) as session:
        count = f"{args.episodes} episode{'s' * (args.episodes > 1)} {_length(session, args)}"
        what = f"{contract.task}, {contract.control_hz:g} Hz, {args.policy} ({digest[:12]})"
        rows = session.home_rows() if home else []
        say(session.plan(("policy", what), ("time", count + ", home first" * home), *rows))
        session.permit()
        for number in range(1, args.episodes + 1):
            if not session.may_start(f"start episode {number} of {args.episodes}?"):
                break
            if not session.fly_one(policy, args.seconds, number, home=home):
                break
        return session.finish()


def _length(session: Session, args: argparse.Namespace) -> str:
    """Returns how long an episode is, in words."""
    rules = session.cockpit().rules
    if rules is None:
        return f"of {args.seconds or USUAL_S:g} s"
    if args.seconds is None:
        return f"until the task is decided, at most its {rules.episode_s:g} s"
    return f"of {args.seconds:g} s; the task is judged by its own {rules.episode_s:g} s"


VERB = Verb(
    _add,
    _do,
    (
        "run policy.onnx --driver bench",
        "run policy.onnx --driver udp://192.168.1.20:7771 --episodes 5 --seconds 30",
        "run policy.onnx --driver stand-in --virtual --episodes 20",
    ),
)
