"""The verb collect: logs for identification and demonstrations, through the same guard as a flight.

A motion is planned from where the robot stands, shown, and made smaller where it does not fit.
"""

import argparse
import importlib
from typing import Any, cast, get_args

import numpy as np

from mjx_s2r.contract import ContractError, PolicyContract
from mjx_s2r.robot.calibration import JointCalibration, read_calibration
from mjx_s2r.robot.cli.flying import fly
from mjx_s2r.robot.cli.parser import Parser, Verb, positive, whole
from mjx_s2r.robot.cli.robots import add_robot, choose_robot, open_unknown
from mjx_s2r.robot.cli.session import Session, add_session, robot_session, say
from mjx_s2r.robot.cli.terminal import ask, somebody_there
from mjx_s2r.robot.clock import VirtualClock
from mjx_s2r.robot.collect.actors import (
    MotionActor,
    TeleopActor,
    Teleoperator,
    motion_contract,
)
from mjx_s2r.robot.collect.motion_file import MotionFile, plan_from_file, read_motion
from mjx_s2r.robot.collect.plan import MotionConfig, MotionKind, MotionPlan, plan_motion
from mjx_s2r.robot.policy import Actor, Policy
from mjx_s2r.robot.safety import Guard
from mjx_s2r.robot.stages import contract_digest, policy_digest

DEMONSTRATIONS = ("policy", "teleop")
FILED = "plan"  # a motion from a file
SPARE_S = 2.0  # beyond the time of a motion, for steps in which the guard holds


def _add(parser: Parser) -> None:
    """Adds the options."""
    parser.add_argument(
        "what",
        metavar="WHAT",
        choices=(*get_args(MotionKind), FILED, *DEMONSTRATIONS),
        help=f"a motion ({', '.join(get_args(MotionKind))}, or {FILED} FILE for one that was made "
        f"before) or a demonstration ({', '.join(DEMONSTRATIONS)})",
    )
    parser.add_argument("file", metavar="FILE", nargs="?", help=f"of the motion, with {FILED}")
    parser.add_argument(
        "--policy", metavar="POLICY", help="whose contract is used; motions do without one"
    )
    parser.add_argument(
        "--seconds", type=positive, default=20.0, metavar="S", help="of each joint or episode (20)"
    )
    group = parser.add_argument_group("motions")
    group.add_argument("--joints", default="", metavar="A,B", help="which joints move (all)")
    group.add_argument(
        "--amplitude", type=positive, default=0.2, metavar="X", help="in the command's unit (0.2)"
    )
    group.add_argument("--first-hz", type=positive, default=0.1, metavar="F", help="lowest (0.1)")
    group.add_argument("--last-hz", type=positive, default=2.0, metavar="F", help="highest (2)")
    group.add_argument(
        "--hold-s", type=positive, default=1.0, metavar="S", help="of a step or a rest (1)"
    )
    group.add_argument(
        "--together", action="store_true", help="all joints at once, not one after another"
    )
    group.add_argument(
        "--rate", type=positive, default=50.0, metavar="HZ", help="without a policy (50)"
    )
    group.add_argument("--seed", type=int, default=0, metavar="N", help="of random motions (0)")
    group = parser.add_argument_group("demonstrations")
    group.add_argument("--episodes", type=whole, default=1, metavar="N", help="how many (1)")
    group.add_argument(
        "--teleop", default="", metavar="MODULE:FACTORY", help="what returns a LeRobot teleoperator"
    )
    group.add_argument(
        "--teleop-calibration",
        metavar="FILE",
        help="what the numbers of the teleoperator's motors mean; LeRobot's need it, as they show "
        "-100 to 100 or degrees",
    )
    group.add_argument(
        "--teleop-degrees",
        action="store_true",
        help="LeRobot's teleoperator was made with use_degrees",
    )
    group.add_argument("--no-home", action="store_true", help="begin where the robot is")
    add_robot(parser, flies=True)
    add_session(parser)


def _do(args: argparse.Namespace) -> int:
    """Collects."""
    policy = Policy.load(args.policy) if args.policy else None
    if args.file and args.what != FILED:
        raise ContractError(
            f"{args.what} takes no file; for a motion from one: {FILED} {args.file}"
        )
    if args.what == "policy" and policy is None:
        raise ContractError("demonstrations by a policy need one: --policy POLICY")
    device = _teleoperator(args.teleop) if args.what == "teleop" else None
    motors = _leader_motors(args)
    motion = None if args.what in DEMONSTRATIONS else _motion(args)
    rate_hz = motion.control_hz if isinstance(motion, MotionFile) else args.rate
    contract = policy.contract if policy else _own_contract(args, rate_hz)
    digest = policy_digest(args.policy) if policy else contract_digest(contract)
    facts = {"verb": "collect", "what": args.what, "policy": args.policy, "sha256": digest}
    with robot_session(args, contract, digest, facts) as session:
        if motion is not None:
            _make_motion(session, motion)
        elif device is not None:
            leader = TeleopActor(contract, device, motors, session.info)
            say([f"teleoperator: {x.describe()}" for x in motors])
            device.connect()
            try:
                leader.pose()  # so that what it shows is refused before anything moves
                _demonstrate(args, session, leader)
            finally:
                device.disconnect()
        else:
            assert policy is not None
            _demonstrate(args, session, policy)
        return session.finish()


def _leader_motors(args: argparse.Namespace) -> tuple[JointCalibration, ...]:
    """Returns the calibration of the teleoperator; none where it shows the commands' unit.

    Raises:
        ContractError: a file that cannot be read, or options of a teleoperator that go without.
    """
    if not args.teleop_calibration:
        if args.teleop_degrees:
            raise ContractError(
                "--teleop-degrees says how LeRobot's calibration is read; add --teleop-calibration "
                "FILE"
            )
        return ()
    if args.what != "teleop":
        raise ContractError(f"--teleop-calibration is of teleop, not of {args.what}; leave it out")
    return read_calibration(args.teleop_calibration, degrees=args.teleop_degrees)


def _motion(args: argparse.Namespace) -> MotionConfig | MotionFile:
    """Returns the motion that is asked for.

    Raises:
        ContractError: no file where one belongs, or one that cannot be read.
    """
    if args.what == FILED:
        if not args.file:
            raise ContractError(f"{FILED} needs the motion's file: collect {FILED} FILE")
        return read_motion(args.file)
    return MotionConfig(
        kind=cast(MotionKind, args.what),
        joints=tuple(x for x in args.joints.split(",") if x),
        amplitude=args.amplitude,
        seconds=args.seconds,
        first_hz=args.first_hz,
        last_hz=args.last_hz,
        hold_s=args.hold_s,
        together=args.together,
        seed=args.seed,
    )


def _own_contract(args: argparse.Namespace, rate_hz: float) -> PolicyContract:
    """Returns the contract that the robot's data sheet gives."""
    driver = open_unknown(choose_robot(args), VirtualClock())
    return motion_contract(driver.describe(), rate_hz)


def _make_motion(session: Session, asked: MotionConfig | MotionFile) -> None:
    """Plans a motion, shows it, asks, and makes it; one from a file begins where it says.

    Raises:
        ContractError: it does not fit.
    """
    guard = Guard.build(session.safety, session.contract, session.info)
    if isinstance(asked, MotionFile):
        plan = plan_from_file(asked, guard)
        settings: dict[str, Any] = {"file": asked.path, "made_by": asked.made_by}
    else:
        plan, settings = _plan_here(session, asked, guard), vars(asked)
    first, *joints = plan.lines()
    say(session.plan(("motion", first), *(("", line) for line in joints)))
    session.facts["motion"] = settings | {"joints": [vars(j) for j in plan.joints]}
    session.permit()
    if not session.may_start("make this motion?"):
        return
    actor, cockpit, start = MotionActor(plan), session.cockpit(), None
    if plan.kind == FILED:
        way = session.go_home(actor, 1)
        if way is None:
            return
        start = way.standing
    seconds = plan.seconds + SPARE_S
    session.note(fly(cockpit, actor, seconds, "motion-1", lambda _: actor.done, start))
    if not session.over and not actor.done:
        session.facts["unfinished"] = "the guard held too often"
        say(["the motion was not finished in its time: the guard held too often, see the log"])


def _plan_here(session: Session, config: MotionConfig, guard: Guard) -> MotionPlan:
    """Returns the plan of a motion about where the robot stands.

    Raises:
        ContractError: it does not fit, or the robot reads no pose.
    """
    reading = session.driver.read()
    position = reading.signals.get(session.safety.position_signal)
    centre = np.asarray(position, float)
    if centre.shape != (len(session.info.joints),) or not np.all(np.isfinite(centre)):
        raise ContractError(f"the robot reads {position} as its pose; run check first")
    return plan_motion(config, guard, centre)


def _demonstrate(args: argparse.Namespace, session: Session, actor: Actor) -> None:
    """Records episodes; a person says of each whether it is a good one."""
    count = f"{args.episodes} episode{'s' * (args.episodes > 1)} of {args.seconds:g} s"
    home = not args.no_home and actor.contract.action.mode != "effort"
    what = f"{args.what}, {actor.contract.control_hz:g} Hz"
    rows = session.home_rows() if home else []
    say(session.plan(("record", what), ("time", count), *rows))
    session.permit()
    good: list[bool | None] = []
    for number in range(1, args.episodes + 1):
        if not session.may_start(f"record episode {number} of {args.episodes}?"):
            return
        go_on = session.fly_one(actor, args.seconds, number, home=home)
        asked = somebody_there() and not session.overridden
        good.append(ask("was it a good demonstration?") if asked else None)
        session.facts["good"] = good
        if not go_on:
            return


def _teleoperator(spec: str) -> Teleoperator:
    """Returns the device that a name leads to.

    Raises:
        ContractError: no name, or one that leads to nothing.
    """
    module, _, name = spec.partition(":")
    if not (module and name):
        raise ContractError(f"--teleop {spec!r} must read MODULE:FACTORY")
    try:
        factory: Any = getattr(importlib.import_module(module), name)
    except (ImportError, AttributeError) as error:
        raise ContractError(f"teleoperator {spec!r} cannot be found ({error})") from error
    return cast(Teleoperator, factory())


VERB = Verb(
    _add,
    _do,
    (
        "collect log-chirp --driver udp://192.168.1.20:7771 --joints elbow --amplitude 0.15",
        "collect plan motion.json --driver my_driver:MyRobot",
        "collect gravity-rest --policy policy.onnx --driver bench --seconds 60",
        "collect teleop --teleop my_leader:make --driver my_driver:MyRobot --episodes 20",
    ),
)
