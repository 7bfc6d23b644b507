"""The verb export: flight logs in other libraries' formats, a contract as files of ros2_control."""

import argparse
from pathlib import Path
from typing import get_args

from mjx_s2r.contract import ContractError
from mjx_s2r.robot.calibration import read_calibration
from mjx_s2r.robot.cli.parser import OK, Parser, Verb, whole
from mjx_s2r.robot.cli.session import say
from mjx_s2r.robot.log import Flight, read
from mjx_s2r.robot.ros2_control import RosController, to_ros2_control

OPTIONS = {  # of one form alone
    **dict.fromkeys(("task", "fps", "calibration"), "lerobot"),
    **dict.fromkeys(("controller", "max_acceleration"), "ros2"),
}


def _add(parser: Parser) -> None:
    """Adds the options."""
    parser.add_argument(
        "paths", nargs="+", type=Path, metavar="PATH", help="flight logs; of --ros2 a policy"
    )
    form = parser.add_mutually_exclusive_group(required=True)
    form.add_argument("--mcap", type=Path, metavar="FILE", help="one log for Foxglove, ROS tools")
    form.add_argument("--lerobot", type=Path, metavar="DIR", help="logs as a LeRobot v3 dataset")
    form.add_argument("--ros2", type=Path, metavar="DIR", help="limits and controllers, YAML")
    parser.add_argument("--task", default="", metavar="TEXT", help="of a dataset: what is done")
    parser.add_argument("--fps", type=whole, metavar="N", help="of a dataset (the control rate)")
    parser.add_argument(
        "--calibration", type=Path, metavar="FILE", help="of a dataset: joints in motors' units"
    )
    parser.add_argument("--controller", choices=get_args(RosController), help="of --ros2 (forward)")
    parser.add_argument(
        "--max-acceleration",
        type=float,
        nargs="+",
        metavar="X",
        help="of --ros2: rad/s^2 or m/s^2, for all joints or one each",
    )


def _do(args: argparse.Namespace) -> int:
    """Exports."""
    for name, form in OPTIONS.items():
        if getattr(args, name) and getattr(args, form) is None:
            raise ContractError(f"--{name.replace('_', '-')} is of --{form}; leave it out")
    if args.lerobot is None and len(args.paths) > 1:
        raise ContractError(f"{len(args.paths)} paths were named; this form takes one")
    if args.ros2 is not None:
        return _ros2(args.paths[0], args)
    flights = [_open(path) for path in args.paths]
    if args.mcap is not None:
        from mjx_s2r.robot.log.mcap_export import export_mcap

        counts = export_mcap(flights[0], args.mcap)
        say(
            [
                f"{args.mcap}: {sum(counts.values())} messages",
                *(f"  {t} {n}" for t, n in counts.items()),
            ]
        )
        return OK
    from mjx_s2r.robot.log.lerobot_export import export_lerobot

    motors = () if args.calibration is None else read_calibration(args.calibration)
    done = export_lerobot(flights, args.lerobot, task=args.task, fps=args.fps, calibration=motors)
    say([f"{done.folder}: {done.episodes} episodes, {done.frames} frames at {done.fps}/s"])
    say([f"  left out: {text}" for text in done.left_out])
    return OK


def _open(path: Path) -> Flight:
    """Returns an opened log.

    Raises:
        ContractError: a folder; LogError: no log.
    """
    if path.is_dir():
        raise ContractError(f"{path} is a folder; name the logs in it, e.g. {path}/episode-1.log")
    return read(path)


def _ros2(policy: Path, args: argparse.Namespace) -> int:
    """Writes the files of ros2_control into a folder."""
    from mjx_s2r.robot.policy import Policy

    files = to_ros2_control(
        Policy.load(policy).contract,
        controller=args.controller or "forward",
        max_acceleration=args.max_acceleration or (),
    )
    args.ros2.mkdir(parents=True, exist_ok=True)
    for name, text in files.items():
        (args.ros2 / name).write_text(text)
        say([str(args.ros2 / name)])
    return OK


VERB = Verb(
    _add,
    _do,
    (
        "export flights/arm/2026-03-01-1/episode-1.log --mcap flight.mcap",
        "export flights/arm/2026-03-01-1/episode-*.log --lerobot dataset",
        "export policy.onnx --ros2 config --max-acceleration 10",
    ),
)
