"""The verb bench: how fast and how evenly this machine runs a policy."""

import argparse
from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np

from mjx_s2r.contract import PolicyContract
from mjx_s2r.robot.cli.parser import OK, STOPPED, Parser, Verb, positive
from mjx_s2r.robot.cli.priority import precedence
from mjx_s2r.robot.cli.session import say
from mjx_s2r.robot.clock import RealClock
from mjx_s2r.robot.loop_bench import LoopFigures, measure_loop
from mjx_s2r.robot.policy import Actor, Policy

MUCH = 0.001  # share of missed deadlines above which a rate is too fast for the machine


def _add(parser: Parser) -> None:
    """Adds the options."""
    parser.add_argument("policy", metavar="POLICY", help="the ONNX file")
    parser.add_argument("--seconds", type=positive, default=10.0, metavar="S", help="how long (10)")
    parser.add_argument(
        "--hz",
        type=positive,
        metavar="HZ",
        help="another rate than the policy's, to find the limit",
    )
    parser.add_argument(
        "--spin-ms",
        type=positive,
        default=0.0,
        metavar="MS",
        help="wait awake for the last moment before each step: less jitter, a busier core (0)",
    )
    parser.add_argument("--threads", type=int, default=1, metavar="N", help="of the network (1)")


def _do(args: argparse.Namespace) -> int:
    """Measures."""
    policy = Policy.load(args.policy, threads=args.threads)
    actor: Actor = policy
    if args.hz is not None:
        cameras = tuple(
            replace(c, rate_hz=min(c.rate_hz, args.hz)) for c in policy.contract.cameras
        )
        actor = _Paced(replace(policy.contract, control_hz=args.hz, cameras=cameras), policy)
    with precedence() as priority:
        figures = measure_loop(actor, args.seconds, RealClock(spin_s=args.spin_ms / 1000))
    say(_lines(args.policy, figures, priority))
    kept = figures.overruns <= MUCH * max(1, figures.steps)
    return OK if kept and not figures.stopped_by else STOPPED


@dataclass(frozen=True)
class _Paced:
    """A policy at another rate than its own."""

    contract: PolicyContract
    policy: Policy

    def reset(self) -> None:
        """Begins an episode."""
        self.policy.reset()

    def act(self, obs: np.ndarray, images: Mapping[str, np.ndarray]) -> np.ndarray:
        """Returns the policy's answer (J,)."""
        return self.policy.act(obs, images)


def _lines(name: str, f: LoopFigures, priority: str) -> list[str]:
    """Returns the figures for people."""
    share = f.overruns / max(1, f.steps)
    load = "" if f.load is None else f", load of the machine {f.load:.1f}"
    lines = [
        f"{name} on the bench robot, which shows no scene: {f.seconds:.1f} s, {f.steps} steps"
        f"{load}, priority {priority}",
        f"  rate          {f.achieved_hz:.1f} of {f.hz:g} Hz, {f.overruns} deadlines missed "
        f"({100 * share:.2f} %)",
        "                     p50      p99    p99.9      max",
    ]
    for title, row in (("jitter", f.jitter_us), ("policy", f.act_us), ("step", f.step_us)):
        lines.append(f"  {title:<10} us " + " ".join(f"{x:8.0f}" for x in row))
    most = 1e6 / f.hz
    if f.stopped_by:
        lines.append(f"the guard ended it: {', '.join(f.stopped_by)}")
    if share > MUCH:
        lines.append(f"too fast for this machine: a step has {most:.0f} us; lower the rate")
    elif f.step_us[2] > most / 2:
        lines.append(f"near the limit: a step has {most:.0f} us, and one in 1,000 takes half of it")
    else:
        lines.append(f"fits: a step has {most:.0f} us")
    return lines


VERB = Verb(
    _add, _do, ("bench policy.onnx", "bench policy.onnx --hz 1000 --spin-ms 0.2 --seconds 30")
)
