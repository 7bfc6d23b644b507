"""The verb diagnose: moves a joint in a known way, through the same guard as a flight, and fits it.

Every joint is looked at first, its motion planned from where it stands, shown, and asked for. The
flight is logged and fitted at once; a log that was made so can be fitted again without a robot.
"""

import argparse
import math
from collections.abc import Sequence
from dataclasses import asdict, fields
from pathlib import Path
from typing import cast, get_args

from mjx_s2r.contract import PolicyContract
from mjx_s2r.robot.cli.flying import fly
from mjx_s2r.robot.cli.parser import OK, STOPPED, Parser, UsageError, Verb, positive, whole
from mjx_s2r.robot.cli.robots import add_robot, choose_robot, open_unknown
from mjx_s2r.robot.cli.session import Session, add_session, robot_session, say
from mjx_s2r.robot.clock import VirtualClock
from mjx_s2r.robot.diagnose.drop import drop, read_body, slide
from mjx_s2r.robot.diagnose.estimate import Diagnosis
from mjx_s2r.robot.diagnose.excitation import diagnosis_contract, plain_contract
from mjx_s2r.robot.diagnose.report import write_diagnosis
from mjx_s2r.robot.diagnose.routines import ROUTINES, rest_readings
from mjx_s2r.robot.diagnose.settings import DiagnosisSettings, Routine
from mjx_s2r.robot.log import read
from mjx_s2r.robot.policy import Policy
from mjx_s2r.robot.safety import Guard
from mjx_s2r.robot.stages import contract_digest

BODIES = {"drop": drop, "slide": slide}


def _add(parser: Parser) -> None:
    """Adds the options."""
    told = "; ".join(f"{name}: {spec.tells}" for name, spec in ROUTINES.items())
    parser.add_argument(
        "what",
        metavar="WHAT",
        choices=(*get_args(Routine), *BODIES),
        help=f"{told}; drop, slide: restitution and friction of a body, from --csv",
    )
    parser.add_argument("--joints", default="", metavar="A,B", help="one after another (all)")
    parser.add_argument(
        "--policy", metavar="POLICY", help="whose contract is used; robots do without one"
    )
    parser.add_argument(
        "--rate", type=positive, default=50.0, metavar="HZ", help="without a policy (50)"
    )
    group = parser.add_argument_group("motion")
    group.add_argument(
        "--amplitude",
        type=positive,
        default=0.0,
        metavar="X",
        help="from where it stands, rad or m",
    )
    group.add_argument("--trials", type=whole, default=0, metavar="N", help="how many")
    group.add_argument(
        "--hold-s", type=positive, default=0.0, metavar="S", help="longest time of a trial"
    )
    group.add_argument(
        "--effort-share",
        type=positive,
        default=0.5,
        metavar="X",
        help="of the largest effort (0.5)",
    )
    group.add_argument(
        "--speed", type=positive, default=0.5, metavar="V", help="fastest sweep, per s (0.5)"
    )
    group.add_argument("--seed", type=int, default=0, metavar="N", help="of what is random (0)")
    group = parser.add_argument_group("known beforehand")
    for name, text in (
        ("kp", "stiffness of the servo"),
        ("kd", "damping of the servo"),
        ("inertia", "about the joint, all that moves"),
        ("link-inertia", "about the joint, of the links alone"),
        ("dry", "dry friction of the joint"),
        ("delay-s", "from a command to the readings"),
    ):
        group.add_argument(f"--{name}", type=positive, default=math.nan, metavar="X", help=text)
    group.add_argument(
        "--no-gravity", action="store_true", help="gravity does not pull at the joint"
    )
    group = parser.add_argument_group("without a robot")
    group.add_argument("--log", type=Path, metavar="LOG", help="fit a log of diagnose again")
    group.add_argument("--csv", type=Path, metavar="FILE", help="positions of a body: time_s, ...")
    group.add_argument("--column", default="z", metavar="NAME", help="which of its columns (z)")
    group.add_argument(
        "--out", type=Path, default=Path(), metavar="DIR", help="where the result goes (here)"
    )
    add_robot(parser, flies=True, required=False)
    add_session(parser)


def _do(args: argparse.Namespace) -> int:
    """Diagnoses.

    Raises:
        UsageError: options that do not belong together.
    """
    if args.what in BODIES:
        if args.csv is None:
            raise UsageError(f"{args.what} needs positions of a body: --csv FILE")
        found = BODIES[args.what](args.csv.stem, read_body(args.csv, args.column))
        return _tell(args.out, [found], {"file": str(args.csv)})
    if args.log is not None:
        return _again(args)
    if not args.driver:
        raise UsageError("name a robot: --driver NAME, or a log: --log LOG")
    return _on_robot(args)


def _settings(args: argparse.Namespace, joint: str) -> DiagnosisSettings:
    """Returns what is asked for of one joint."""
    names = {f.name for f in fields(DiagnosisSettings)} - {"what", "joint", "gravity"}
    return DiagnosisSettings(
        what=cast(Routine, args.what),
        joint=joint,
        gravity=not args.no_gravity,
        **{name: getattr(args, name) for name in names},
    )


def _joints(args: argparse.Namespace, contract: PolicyContract) -> tuple[str, ...]:
    """Returns the joints that are diagnosed; noise needs no more than the first."""
    names = tuple(x for x in args.joints.split(",") if x) or contract.action.joints
    return names[:1] if args.what == "noise" else names


def _again(args: argparse.Namespace) -> int:
    """Fits a log."""
    flight = read(args.log)
    found = []
    for joint in _joints(args, flight.contract):
        spec = ROUTINES[args.what]
        found += spec.fit(flight, spec.complete(_settings(args, joint), flight.contract))
    return _tell(args.out, found, {"robot": flight.robot, "log": str(args.log)})


def _on_robot(args: argparse.Namespace) -> int:
    """Moves the joints of a robot, one after another, and fits each."""
    if args.policy:
        contract = plain_contract(Policy.load(args.policy).contract)
    else:
        driver = open_unknown(choose_robot(args), VirtualClock())
        contract = diagnosis_contract(driver.describe(), args.rate)
    wanted = [_settings(args, joint) for joint in _joints(args, contract)]
    settings = [ROUTINES[args.what].complete(s, contract) for s in wanted]
    digest = contract_digest(contract)
    facts = {"verb": "diagnose", "what": args.what, "policy": args.policy, "sha256": digest}
    found: list[Diagnosis] = []
    with robot_session(args, contract, digest, facts) as session:
        for number, one in enumerate(settings, 1):
            part = _fly_one(session, one, number)
            found += part
            if not part:
                break
        status = session.finish()
        if found:
            _tell(session.folder, found, {"robot": session.info.name})
        return status if found or status != OK else STOPPED


def _fly_one(session: Session, settings: DiagnosisSettings, number: int) -> list[Diagnosis]:
    """Returns what one joint shows; nothing where a person or the guard said no.

    Raises:
        DiagnosisError: nothing was moved, or the log does not show it.
    """
    spec = ROUTINES[settings.what]
    guard = Guard.build(session.safety, session.contract, session.info)
    rest = rest_readings(session.driver, session.clock, session.contract)
    plan = spec.plan(settings, guard, session.info, rest)
    first, *more = plan.lines
    say(session.plan(("diagnose", f"{settings.what}: {first}"), *(("", line) for line in more)))
    session.facts[f"settings of {settings.joint}"] = {
        k: v for k, v in asdict(settings).items() if not isinstance(v, float) or math.isfinite(v)
    }
    if number == 1:
        session.permit()
    if not session.may_start(f"move joint {settings.joint!r} so?"):
        return []
    name = f"{settings.what}-{settings.joint}"
    episode = fly(
        session.cockpit(), plan.actor, plan.seconds, name,
        lambda reading: plan.done() or plan.leaves(reading),
    )  # fmt: skip
    session.note(episode)
    if session.over:
        return []
    if not plan.done():
        say(["the motion was not finished: the joint left its room or the guard held; fitting what "
             "there is"])  # fmt: skip
    return spec.fit(read(session.folder / f"{name}.log"), settings)


def _tell(folder: Path, found: Sequence[Diagnosis], facts: dict[str, str]) -> int:
    """Prints what was found and writes it; returns the exit status."""
    for diagnosis in found:
        say(diagnosis.lines())
    page = write_diagnosis(folder, found, facts)
    say([f"kept in {page} and {page.with_suffix('.json').name}"])
    return OK


VERB = Verb(
    _add,
    _do,
    (
        "diagnose delay --driver udp://192.168.1.20:7771 --joints elbow",
        "diagnose friction --driver my_driver:MyRobot --kp 20 --kd 0.6 --delay-s 0.012",
        "diagnose gains --policy policy.onnx --driver bench --virtual --inertia 0.05",
        "diagnose noise --log flights/arm/2026-03-01-1/noise-elbow.log",
        "diagnose drop --csv ball.csv --column z",
    ),
)
