"""The verb stage: which speed a policy has reached on a robot, and raising or lowering it."""

import argparse

from mjx_s2r.robot.cli.folder import utc_now
from mjx_s2r.robot.cli.parser import OK, Parser, RefusedError, Verb
from mjx_s2r.robot.cli.session import say
from mjx_s2r.robot.stages import (
    STAGES,
    StageFile,
    StageState,
    demote,
    policy_digest,
    promote,
    still_wanted,
)
from mjx_s2r.robot.state_folder import known_robot, only_one


def _add(parser: Parser) -> None:
    """Adds the options."""
    parser.add_argument("policy", metavar="POLICY", help="the ONNX file")
    parser.add_argument("--robot", required=True, metavar="NAME", help="as its driver calls it")
    change = parser.add_mutually_exclusive_group()
    change.add_argument("--up", action="store_true", help="to the next stage")
    change.add_argument("--down", action="store_true", help="to the stage before")
    parser.add_argument("--by", default="", metavar="NAME", help="who decides; 'rule' is the rule")
    parser.add_argument(
        "--anyway",
        default="",
        metavar="REASON",
        help="although the rule asks for more; or why down",
    )


def _do(args: argparse.Namespace) -> int:
    """Shows or changes the stage."""
    digest = policy_digest(args.policy)
    folder, robot = known_robot(args.robot)
    file = StageFile.of(folder, robot, digest)
    if not (args.up or args.down):
        say(_lines(file.load()))
        return OK
    if not args.by:
        raise RefusedError("a change of stage is kept with who decided it; add --by NAME")
    with only_one(folder):
        state = file.load()
        if args.up:
            state = promote(state, args.by, utc_now(), args.anyway)
        else:
            state = demote(state, args.by, args.anyway or "asked for", utc_now())
        file.save(state)
    say(_lines(state))
    return OK


def _lines(state: StageState) -> list[str]:
    """Returns the stage for people."""
    lines = [
        f"{state.robot}, policy {state.policy[:12]}: stage {STAGES[state.stage].percent}, the next "
        f"episode at {100 * state.speed_fraction:.0f} %",
        f"flown at this stage: {state.seconds:.0f} s, {state.episodes} episodes, {state.held} of "
        f"{state.steps} steps held; {state.total_episodes} episodes in all",
    ]
    wanted = still_wanted(state)
    lines.append(f"before the next: {'; '.join(wanted) if wanted else 'nothing, raise it by --up'}")
    lines += [
        f"  {c.at} {STAGES[c.start].percent} -> {STAGES[c.end].percent} by {c.by}: {c.reason}"
        for c in state.history
    ]
    return lines


VERB = Verb(
    _add,
    _do,
    ("stage policy.onnx --robot my_arm", "stage policy.onnx --robot my_arm --up --by Ada"),
)
