"""Which robot is driven, and how: named drivers, the watchdog process, the emergency stops."""

import argparse
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

from mjx_s2r.contract import ContractError, PolicyContract
from mjx_s2r.params import unknown
from mjx_s2r.robot.cli.parser import Parser, positive
from mjx_s2r.robot.clock import Clock
from mjx_s2r.robot.driver import Driver
from mjx_s2r.robot.drivers.named import KNOWN, UNKNOWN, open_driver
from mjx_s2r.robot.estop import LatchedStop, hear_first, open_stop, terminal_here
from mjx_s2r.robot.watchdog.config import WatchdogConfig
from mjx_s2r.robot.watchdog.proxy import WatchedDriver

PATIENCE_S = 0.5  # of the watchdog of a stand-in: a busy machine does no harm there
SIMULATED = ("bench", "stand-in", "replay")


@dataclass(frozen=True)
class RobotChoice:
    """The robot that the command line names.

    Attributes:
        spec: name of the driver.
        options: of the driver.
        virtual: as fast as possible instead of in real time.
        as_real: a simulated robot is treated like one that moves.
        watchdog: the driver lives in the watchdog process.
        timeout_s: time without a command after which the watchdog stops the robot; 0: its choice.
        stops: emergency stops, see `mjx_s2r.robot.estop.open_stop`.
    """

    spec: str
    options: dict[str, str]
    virtual: bool = False
    as_real: bool = False
    watchdog: bool = True
    stops: tuple[str, ...] = ()
    timeout_s: float = 0.0

    @property
    def simulated(self) -> bool:
        """Whether nothing moves."""
        return self.spec.partition(":")[0] in SIMULATED

    @property
    def needs_person(self) -> bool:
        """Whether a person must be there."""
        return self.as_real or not self.simulated


def add_robot(parser: Parser, *, flies: bool, required: bool = True) -> None:
    """Adds the options that name a robot; ``flies`` those of a robot that moves, too."""
    group = parser.add_argument_group("robot")
    group.add_argument(
        "--driver",
        required=flies and required,
        metavar="NAME",
        help="bench, stand-in, udp://HOST:PORT, or module:factory of your own",
    )
    group.add_argument(
        "--option", action="append", default=[], metavar="KEY=VALUE", help="option of the driver"
    )
    if flies:
        group.add_argument(
            "--estop",
            action="append",
            default=[],
            metavar="FORM",
            help="emergency stops: keyboard, signal, file:PATH, udp://HOST:PORT (a heartbeat); "
            "keyboard and signal where none is named",
        )
        group.add_argument(
            "--virtual",
            action="store_true",
            help="a stand-in as fast as possible, not in real time",
        )
        group.add_argument(
            "--as-real", action="store_true", help="treat a stand-in like a robot: ask, keep stages"
        )
        group.add_argument(
            "--watchdog-ms",
            type=positive,
            default=0.0,
            metavar="MS",
            help="time without a command after which the watchdog stops the robot (by "
            "default two control periods within 40 to 50, or one and 10 where that is longer)",
        )
        group.add_argument(
            "--no-watchdog",
            action="store_true",
            help="drive the robot from this process: nothing stops it if this one hangs",
        )


def choose_robot(args: argparse.Namespace) -> RobotChoice:
    """Returns the robot that the options name.

    Raises:
        ContractError: an option that is no KEY=VALUE, or virtual time for a robot that moves.
    """
    options = {}
    for text in args.option:
        key, equals, value = text.partition("=")
        if not (key and equals):
            raise ContractError(f"--option {text!r} must read KEY=VALUE")
        options[key] = value
    if ":" not in args.driver and args.driver not in KNOWN:
        raise ContractError(str(unknown("driver", args.driver, [*KNOWN, "module:factory"])))
    if "keyboard" in getattr(args, "estop", ()) and not terminal_here():
        raise ContractError(
            "--estop keyboard needs a terminal, and there is none; name another: signal, file:PATH "
            "or udp://HOST:PORT"
        )
    choice = RobotChoice(args.driver, options)
    if not hasattr(args, "virtual"):
        return choice
    choice = RobotChoice(
        args.driver,
        options,
        virtual=args.virtual,
        as_real=args.as_real,
        watchdog=not (args.virtual or args.no_watchdog),
        stops=tuple(dict.fromkeys(args.estop or _usual_stops())),
        timeout_s=args.watchdog_ms / 1000,
    )
    if choice.virtual and not choice.simulated:
        raise ContractError(
            f"--virtual is for stand-ins ({', '.join(SIMULATED)}); {choice.spec!r} moves in real "
            "time, leave it out"
        )
    return choice


def _usual_stops() -> list[str]:
    """Returns the emergency stops that are there without a word."""
    return [*(["keyboard"] if terminal_here() else []), "signal"]


def open_robot(choice: RobotChoice, contract: PolicyContract, clock: Clock) -> Driver:
    """Returns the driver, not connected, in this process.

    Raises:
        ContractError: no such driver, or one that cannot be built; the message says the remedy.
    """
    return open_driver(choice.spec, contract, clock, choice.options)


def open_unknown(choice: RobotChoice, clock: Clock) -> Driver:
    """Returns the driver of a robot before there is a policy for it, not connected.

    Raises:
        ContractError: a stand-in or ROS 2, which are made from a policy's contract; a driver that
            is not there.
    """
    if choice.simulated:
        raise ContractError(f"{choice.spec!r} is made from a policy's contract; name a policy")
    return open_robot(choice, UNKNOWN, clock)


def watched_robot(choice: RobotChoice, contract: PolicyContract, log: Path) -> WatchedDriver:
    """Returns the driver, not connected, in the watchdog's process.

    Raises:
        ContractError: no such driver, or one that cannot be built; the message says the remedy.
        WatchdogError: the process does not start.
    """
    settings = WatchdogConfig(
        timeout_s=choice.timeout_s,
        stops=tuple(f for f in choice.stops if by_watchdog(f)),
        log=str(log),
    )
    if not (choice.needs_person or choice.timeout_s):
        settings = replace(settings, timeout_s=PATIENCE_S, heartbeat_s=PATIENCE_S)
    return WatchedDriver(choice.spec, contract, choice.options, settings)


def by_watchdog(form: str) -> bool:
    """Returns whether the watchdog can ask a stop by itself."""
    return form.startswith(("file:", "udp:"))


@contextmanager
def open_stops(forms: Sequence[str]) -> Iterator[dict[str, LatchedStop]]:
    """Opens emergency stops, each form once, and closes them again.

    Raises:
        ContractError: a stop that cannot be had here, or a heartbeat that was never heard.
    """
    with ExitStack() as stack:
        stops = {}
        for form in dict.fromkeys(forms):
            stops[form] = open_stop(form)
            stack.callback(stops[form].close)
        hear_first(stops.values())
        yield stops
