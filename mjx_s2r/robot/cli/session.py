"""What every command that moves a robot does: lock, stage, plan, checklist, record."""

import argparse
import os
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field, fields, replace
from functools import partial
from pathlib import Path
from typing import Any

from mjx_s2r.contract import PolicyContract
from mjx_s2r.robot import checklist
from mjx_s2r.robot.camera_warp import CameraCalibration, read_calibrations
from mjx_s2r.robot.checklist import ChecklistItem, ChecklistRecord
from mjx_s2r.robot.cli.flying import NEAR, Cockpit, Episode, fly_home, fly_task, home_notes
from mjx_s2r.robot.cli.folder import about_machine, new_folder, utc_now, write_record
from mjx_s2r.robot.cli.limits import read_limits
from mjx_s2r.robot.cli.parser import (
    INTERRUPTED,
    LATCHED,
    OK,
    STOPPED,
    Parser,
    RefusedError,
    StillLatchedError,
)
from mjx_s2r.robot.cli.press_test import press_all, release_own
from mjx_s2r.robot.cli.priority import precedence
from mjx_s2r.robot.cli.robots import (
    RobotChoice,
    choose_robot,
    open_robot,
    open_stops,
    watched_robot,
)
from mjx_s2r.robot.cli.terminal import ask, ask_name, somebody_there
from mjx_s2r.robot.clock import Clock, RealClock, VirtualClock
from mjx_s2r.robot.decisions import Standing
from mjx_s2r.robot.driver import Driver, DriverInfo, check
from mjx_s2r.robot.estop import LatchedStop
from mjx_s2r.robot.interpolation import Interpolation
from mjx_s2r.robot.latch import LatchedError, require_unlatched
from mjx_s2r.robot.policy import Actor
from mjx_s2r.robot.safety import SafetyConfig
from mjx_s2r.robot.stages import (
    FIRST_EPISODES,
    STAGES,
    StageFile,
    StageState,
    after_episode,
    promote,
    still_wanted,
)
from mjx_s2r.robot.state_folder import latch_path, only_one, state_folder
from mjx_s2r.robot.terminations import Terminated
from mjx_s2r.robot.verdict import SUCCESS
from mjx_s2r.robot.watchdog.proxy import WatchedDriver

HELD_UP = "no command for"  # the watchdog's words for a controller that was late
PERCENTS = tuple(round(100 * s.fraction) for s in STAGES)


def add_session(parser: Parser) -> None:
    """Adds the options of stage, person and record."""
    group = parser.add_argument_group("speed and limits")
    group.add_argument(
        "--stage",
        choices=("auto", *map(str, PERCENTS)),
        default="auto",
        help="percent of the speed; auto: the stage that this policy has reached on this robot",
    )
    group.add_argument(
        "--anyway",
        default="",
        metavar="REASON",
        help="fly faster than was reached; kept in the log",
    )
    group.add_argument(
        "--promote",
        choices=("person", "rule"),
        default="person",
        help="who raises the stage when it has been flown long enough (a person, who is asked)",
    )
    group.add_argument(
        "--limits",
        type=Path,
        metavar="FILE",
        help="limits of the guard by name, TOML: floor, workspace_low, max_temperature, ...",
    )
    group = parser.add_argument_group("person and record")
    group.add_argument("--by", default="", metavar="NAME", help="who is at the robot")
    group.add_argument(
        "--yes",
        action="store_true",
        help="ask nothing: NAME says yes to every question (needs --by on a robot that moves)",
    )
    group.add_argument(
        "--flights", type=Path, default=Path("flights"), metavar="DIR", help="folder of all flights"
    )
    group.add_argument("--no-images", action="store_true", help="keep no pictures in the logs")


@dataclass
class Session:
    """A connected robot that this process alone drives, and the record of what it does.

    Attributes:
        choice: what the command line named.
        contract: of what drives it.
        info: the robot's data sheet.
        driver: connected.
        clock: its time.
        stage_file: where the stage is kept; None for a stand-in, which needs none.
        state: the stage.
        fraction: of the speed, that this run is flown at.
        anyway: why this is more than was reached; "" where it is not.
        by: who is at the robot.
        overridden: nobody is asked.
        folder: of this run.
        images: whether pictures are kept.
        facts: what the summary says of the run.
        stops: emergency stops that are open, by form; the keyboard opens for a flight alone.
        limits: of the guard, before the stage.
        inner_hz: commands per second; 0 is the rate of the contract.
        interpolation: how commands between two answers go.
        calibrations: of cameras.
        promote: who raises the stage, "person" or "rule".
        episodes: flown so far.
    """

    choice: RobotChoice
    contract: PolicyContract
    info: DriverInfo
    driver: Driver
    clock: Clock
    stage_file: StageFile | None
    state: StageState
    fraction: float
    anyway: str
    by: str
    overridden: bool
    folder: Path
    images: bool
    facts: dict[str, Any]
    stops: Mapping[str, LatchedStop]
    promote: str
    limits: SafetyConfig
    inner_hz: float = 0.0
    interpolation: Interpolation = "linear"
    calibrations: tuple[CameraCalibration, ...] = ()
    episodes: list[Episode] = field(default_factory=list)

    @property
    def safety(self) -> SafetyConfig:
        """Limits in force."""
        return replace(self.limits, speed_fraction=self.fraction)

    def cockpit(self) -> Cockpit:
        """Returns what episodes are flown with."""
        return Cockpit(
            driver=self.driver,
            clock=self.clock,
            safety=self.safety,
            info=self.info,
            folder=self.folder,
            images=self.images,
            facts={"driver": self.choice.spec, "stage": self.fraction, "by": self.by},
            stops=tuple(self.stops.values()),
            keyboard="keyboard" in self.choice.stops,
            latch=latch_path(state_folder(self.info.name)),
            inner_hz=self.inner_hz,
            interpolation=self.interpolation,
            calibrations=self.calibrations,
        )

    def plan(self, *more: tuple[str, str]) -> list[str]:
        """Returns the plan for people: robot, speed, limits, emergency stops, log; and ``more``."""
        rows = [("robot", _robot_line(self)), *more, ("speed", _speed_line(self))]
        rows += [("limits", _limits_line(self)), ("e-stops", _stops_line(self))]
        rows.append(("log", str(self.folder)))
        return [f"{name:<9} {text}" for name, text in rows]

    def home_rows(self) -> list[tuple[str, str]]:
        """Returns the plan's rows on joints that are not sent all the way home; mostly none."""
        return [("home", text) for text in home_notes(self.contract, self.safety, self.info)]

    def permit(self) -> None:
        """Walks through the checklist and keeps it in checklist.json.

        Raises:
            RefusedError: an item was answered with no, or the robot's own e-stop is still pressed.
        """
        record = checklist.walk(
            self.info.name, _items(self), ask, self.by, utc_now, self.overridden
        )
        write_record(self.folder / "checklist.json", record.to_json())
        _say_checklist(record)
        if not record.ok:
            raise RefusedError(
                f"the checklist stops at {', '.join(record.failed)}; nothing was moved"
            )
        if isinstance(self.driver, WatchedDriver) and not self.overridden:
            release_own(self.driver)

    def may_start(self, question: str) -> bool:
        """Returns whether a person says go; a stand-in and an overridden run go at once."""
        return self.overridden or not self.choice.needs_person or ask(question)

    def fly_one(self, actor: Actor, seconds: float | None, number: int, *, home: bool) -> bool:
        """Flies an episode, after a way home if wanted; returns whether more may follow.

        A stand-in that knows its task is set to a new start before the way home, as somebody would
        pick a robot up and lay its things out, and to the same one again before the episode.

        Args:
            actor: what flies.
            seconds: see `fly_task`.
            number: of the episode, from 1.
            home: whether it goes home first.
        """
        cockpit, start = self.cockpit(), None
        cockpit.begin_episode(number)
        if self.episodes and cockpit.rules is None:
            start = self.episodes[-1].standing
        if home:
            way = self.go_home(actor, number, start)
            if way is None:
                return False
            cockpit.begin_episode(number)
            start = way.standing if cockpit.rules is None else None
        self.note(fly_task(cockpit, actor, seconds, f"episode-{number}", start))
        return not self.over

    def go_home(self, actor: Actor, number: int, start: Standing | None = None) -> Episode | None:
        """Sends the robot home; returns the way, or None where it did not arrive, which is said.

        Args:
            actor: whose contract names the home.
            number: of the way.
            start: how the episode before left the robot.
        """
        way = fly_home(self.cockpit(), actor, f"home-{number}", start)
        if way.is_home:
            if way.off_home > NEAR:
                say([f"home, but for {100 * way.off_home:.0f} % of a joint's range under its load"])
            return way
        self.note(way, counts=bool(way.tally.stop))
        if not self.over:
            self.facts["unfinished"] = "the robot did not come home in the time that it should take"
            say([f"{self.facts['unfinished']}: something holds it, or the guard did; see the log"])
        return None

    def note(self, episode: Episode, *, counts: bool = True) -> None:
        """Keeps an episode, and says what came of it.

        Args:
            episode: that is over.
            counts: whether for the stage, too.
        """
        say(episode.lines())
        self.episodes.append(episode)
        if counts and self.stage_file is not None:
            self.state = after_episode(self.state, episode.tally, utc_now())
            self.stage_file.save(self.state)
        self.write_summary()

    def write_summary(self) -> None:
        """Writes summary.json with what is known so far."""
        body = self.facts | {
            "robot": self.info.name,
            "driver": self.choice.spec,
            "virtual": self.choice.virtual,
            "by": self.by,
            "overridden": self.overridden,
            "speed_fraction": self.fraction,
            "anyway": self.anyway,
            "stage": STAGES[self.state.stage].percent if self.stage_file else None,
            "ended": utc_now(),
            "about": about_machine(),
            "episodes": [e.to_json() for e in self.episodes],
        }
        if results := self.results:
            body["task_results"] = results
        write_record(self.folder / "summary.json", body)

    @property
    def results(self) -> dict[str, int]:
        """How many episodes ended in each result of the task; empty where nobody knows it."""
        verdicts = [e.verdict for e in self.episodes if e.verdict is not None]
        return dict(Counter(v.result or "not decided" for v in verdicts))

    @property
    def over(self) -> bool:
        """Whether nothing more is flown: the last episode was stopped, or ended by Ctrl-C."""
        last = self.episodes[-1:]
        return any(e.interrupted or e.tally.stop for e in last)

    @property
    def is_short(self) -> bool:
        """Whether something was stopped, or not finished."""
        return any(e.tally.stop for e in self.episodes) or "unfinished" in self.facts

    def status(self) -> int:
        """Returns the exit status that fits what was flown."""
        if any(e.estop for e in self.episodes):
            return LATCHED
        if any(e.interrupted for e in self.episodes):
            return INTERRUPTED
        return STOPPED if self.is_short else OK

    def finish(self) -> int:
        """Raises the stage where that is due, says what comes next; returns the exit status."""
        self._raise_stage()
        self.write_summary()
        if results := self.results:
            count = sum(results.values())
            others = [f"{name} {n}" for name, n in results.items() if name != SUCCESS]
            said = f"task: {results.get(SUCCESS, 0)} of {count} episodes succeeded"
            say([", ".join([said, *others])])
        say([f"next: {self.next_step()}", f"kept in {self.folder}"])
        return self.status()

    def _raise_stage(self) -> None:
        """Raises the stage by the rule, or asks a person whether to."""
        if self.stage_file is None or self.over or self.is_short or still_wanted(self.state):
            return
        after = STAGES[self.state.stage + 1].percent
        by = "rule" if self.promote == "rule" else self.by
        asked = self.promote == "person" and not self.overridden and somebody_there()
        if by == "rule" or (asked and ask(f"raise this policy to stage {after}?")):
            self.state = promote(self.state, by, utc_now())
            self.stage_file.save(self.state)
            say([f"raised to stage {after} by {by}"])

    def next_step(self) -> str:
        """Returns what a careful person does next."""
        if any(e.estop for e in self.episodes):
            return f"find the cause, then: mjx-s2r-robot reset {self.info.name!r}"
        if any(HELD_UP in e.error for e in self.episodes):
            return (
                "this machine is too busy or too slow: mjx-s2r-robot bench POLICY, or more time: "
                "--watchdog-ms"
            )
        log = self.folder / f"{self.episodes[-1].name}.log" if self.episodes else self.folder
        if self.is_short:
            return f"look at the log before the next flight: mjx-s2r-robot inspect {log}"
        if self.stage_file is None:
            return f"mjx-s2r-robot inspect {log}"
        wanted = still_wanted(self.state)
        here = STAGES[self.state.stage].percent
        if self.state.stage == len(STAGES) - 1:
            return "this policy has reached the full speed on this robot; keep watching its logs"
        if wanted:
            return f"stay at {here}: {'; '.join(wanted)}"
        after = STAGES[self.state.stage + 1].percent
        return (
            f"{here} is done; a person may raise it to {after}: mjx-s2r-robot stage POLICY "
            f"--robot {self.info.name!r} --up --by NAME"
        )


@contextmanager
def robot_session(
    args: argparse.Namespace, contract: PolicyContract, digest: str, facts: dict[str, Any]
) -> Iterator[Session]:
    """Opens a robot for one run: fits, is free, connected; closed again at the end.

    Args:
        args: with the options of `add_robot` and `add_session`.
        contract: of what will drive it.
        digest: what the stage belongs to, the sha256 of the policy.
        facts: for the summary.

    Raises:
        ContractError: the robot cannot be opened, or the contract does not fit it.
        BusyError: another process drives it.
        StageError: the stage is not reached, or its file cannot be used.
        RefusedError: it moves and nobody is there to be asked.
        StillLatchedError: its emergency stop is latched.
    """
    choice = choose_robot(args)
    limits = read_limits(args.limits)
    calibrations = read_calibrations(getattr(args, "camera_calibration", ()), contract)
    by = _person(args, choice)
    clock = VirtualClock() if choice.virtual else RealClock()
    with ExitStack() as stack:
        lock = stack.enter_context(ExitStack())  # left after the robot is closed
        driver: Driver
        if choice.watchdog:
            args.flights.mkdir(parents=True, exist_ok=True)
            journal = args.flights / f".watchdog-{os.getpid()}.jsonl"
            stack.callback(journal.unlink, missing_ok=True)
            driver = watched_robot(choice, contract, journal.absolute())
        else:
            driver = open_robot(choice, contract, clock)
        stack.callback(driver.close)
        info = driver.describe()
        check(contract, info)
        folder = state_folder(info.name)
        lock.enter_context(only_one(folder))
        refuse_latched(info.name, latch_path(folder))
        file = StageFile.of(folder, info.name, digest) if choice.needs_person else None
        state = file.load() if file else StageState(info.name, digest)
        fraction = _fraction(args, state, kept=file is not None)
        here = [f for f in choice.stops if not (choice.watchdog and f.startswith("udp:"))]
        stops = stack.enter_context(open_stops([f for f in here if f != "keyboard"]))
        driver.connect()
        priority = stack.enter_context(precedence()) if clock.is_real else "no matter"
        flight = new_folder(args.flights, info.name)
        if choice.watchdog:
            journal.rename(flight / "watchdog.jsonl")
        session = Session(
            choice=choice,
            contract=contract,
            info=info,
            driver=driver,
            clock=clock,
            stage_file=file,
            state=state,
            fraction=fraction,
            anyway=args.anyway if file and fraction > state.speed_fraction else "",
            by=by,
            overridden=args.yes,
            folder=flight,
            images=not args.no_images,
            facts=facts | {"priority": priority},
            stops=stops,
            promote=args.promote,
            limits=limits,
            inner_hz=getattr(args, "inner_hz", 0.0),
            interpolation=getattr(args, "interpolation", "linear"),
            calibrations=calibrations,
        )
        try:
            yield session
        except Terminated as error:
            session.facts["terminated"] = str(error)
            session.write_summary()
            raise


def refuse_latched(robot: str, latch: Path) -> None:
    """Checks that no emergency stop of a robot is latched.

    Raises:
        StillLatchedError: one is; the message names the command that clears it.
    """
    try:
        require_unlatched(latch)
    except LatchedError as error:
        cause = str(error).partition("(")[2].partition(")")[0]
        raise StillLatchedError(
            f"the emergency stop of {robot!r} is latched ({cause}); look at the robot, then: "
            f"mjx-s2r-robot reset {robot!r}"
        ) from error


def _person(args: argparse.Namespace, choice: RobotChoice) -> str:
    """Returns who is at the robot.

    Raises:
        RefusedError: it moves, and nobody can be asked or is named.
    """
    if not choice.needs_person:
        return args.by or os.environ.get("USER", "")
    if args.yes and not args.by:
        raise RefusedError(
            "--yes on a robot that moves says yes to every question in somebody's name; add "
            "--by NAME"
        )
    if args.yes:
        return str(args.by)
    if not somebody_there():
        raise RefusedError(
            f"{choice.spec!r} moves and there is no terminal to ask at; start this at a terminal, "
            "or add --yes --by NAME, which is kept in the record"
        )
    return args.by or ask_name()


def _fraction(args: argparse.Namespace, state: StageState, *, kept: bool) -> float:
    """Returns the fraction of the speed to fly at.

    Raises:
        RefusedError: more than was reached, without a reason.
    """
    if args.stage == "auto":
        return state.speed_fraction if kept else 1.0
    asked = int(args.stage) / 100
    if not kept or asked <= state.speed_fraction:
        return asked
    if asked <= STAGES[state.stage].fraction and not args.anyway:
        return state.speed_fraction
    if not args.anyway:
        raise RefusedError(
            f"{args.stage} % was asked for and this policy has reached "
            f"{STAGES[state.stage].percent} on this robot; leave --stage out, or say why: "
            "--anyway REASON"
        )
    return asked


def _robot_line(s: Session) -> str:
    """Returns the robot in one line."""
    way = "in virtual time" if s.choice.virtual else "through the watchdog process"
    if not (s.choice.virtual or s.choice.watchdog):
        way = "from this process, WITHOUT a watchdog"
    kind = ", no real robot" if s.choice.simulated else ""
    return f"{s.info.name}{kind}, {len(s.info.joints)} joints, {s.info.command} commands, {way}"


def _speed_line(s: Session) -> str:
    """Returns the speed in one line."""
    text = f"{100 * s.fraction:.0f} %"
    if s.anyway:
        return f"{text}, more than was reached: {s.anyway}"
    if s.stage_file is None:
        return f"{text} of the contract's"
    stage = STAGES[s.state.stage]
    if s.fraction < stage.fraction and s.state.total_episodes < FIRST_EPISODES:
        return (
            f"{text}: half of stage {stage.percent} for the first {FIRST_EPISODES} episodes of a "
            f"policy ({s.state.total_episodes} flown), which do not count for the next stage"
        )
    slow = ", slower, which does not count" if s.fraction < stage.fraction else ""
    return f"{text}, stage {stage.percent} ({s.state.seconds:.0f} s flown at it){slow}"


def _limits_line(s: Session) -> str:
    """Returns the limits in one line."""
    action = s.contract.action
    if action.mode == "effort":
        top = s.fraction * min(max(action.max_effort), max(s.info.max_effort))
        return f"effort up to {top:.3g} {action.unit}{_changed_limits(s.safety)}"
    speeds = [min(a, b) for a, b in zip(action.max_rate, s.info.max_rate, strict=True)]
    fastest = {
        unit: max(v for v, own in zip(speeds, action.units, strict=True) if own == unit)
        for unit in dict.fromkeys(action.units)
    }
    told = " and ".join(f"{s.fraction * speed:.3g} {unit}/s" for unit, speed in fastest.items())
    return (
        f"{100 * s.safety.soft_limit:.0f} % of the joints' ranges, up to "
        f"{told}{_changed_limits(s.safety)}"
    )


def _changed_limits(safety: SafetyConfig) -> str:
    """Returns the settings of the guard that are not the usual ones, the speed left out."""
    usual = SafetyConfig()
    changed = [
        f"{f.name} = {getattr(safety, f.name)}"
        for f in fields(safety)
        if f.name != "speed_fraction" and getattr(safety, f.name) != getattr(usual, f.name)
    ]
    return f"; NOT AS USUAL: {', '.join(changed)}" if changed else ""


def _stops_line(s: Session) -> str:
    """Returns the emergency stops in one line."""
    words = {"keyboard": "space bar", "signal": f"kill -USR1 {os.getpid()}"}
    return ", ".join(words.get(form, form) for form in s.choice.stops) + "; Ctrl-C stops, too"


def _items(s: Session) -> list[ChecklistItem]:
    """Returns the checklist of a session; of a stand-in, what the program sees by itself."""
    looks = {
        "joint limits in software": partial(checklist.joint_limits, s.contract, s.info),
        "log": partial(checklist.log_room, s.folder, s.contract),
    }
    watchdog = s.driver if isinstance(s.driver, WatchedDriver) else None
    if not s.choice.needs_person:
        return [ChecklistItem(name, "", look, person=False) for name, look in looks.items()]
    return [
        ChecklistItem(
            "e-stop tested",
            "was the robot's own emergency stop pressed today, and did it take the power away?",
            partial(press_all, s.choice.stops, s.stops, watchdog),
        ),
        ChecklistItem("perimeter clear", "is nobody and nothing within the robot's reach?"),
        ChecklistItem(
            "velocity limits in hardware",
            "do the motors themselves limit the speed?",
            partial(checklist.velocity_limits, s.info),
        ),
        ChecklistItem(
            "joint limits in software",
            "may it fly without limits of its joints?",
            looks["joint limits in software"],
            person=False,
        ),
        ChecklistItem(
            "collision detection",
            "does something stop or limit the robot when it touches what it should not?",
            partial(checklist.collision, s.contract, s.info),
        ),
        ChecklistItem(
            "reduced speed first",
            "is it safe to fly at this speed?",
            partial(checklist.speed_stage, s.fraction, not s.anyway),
            person=False,
        ),
        ChecklistItem(
            "fallback defined",
            "does everybody know what happens, and what to do, if this program dies?",
            partial(checklist.fallback, s.info, s.choice.watchdog),
            person=False,
        ),
        ChecklistItem("log", "", looks["log"], person=False),
    ]


def _say_checklist(record: ChecklistRecord) -> None:
    """Prints the answers."""
    for answer in record.answers:
        mark = "ok" if answer.ok else "NO"
        name = "overridden by " + answer.by if answer.overridden else answer.by
        note = f": {answer.note}" if answer.note else ""
        print(f"  {mark:<3} {answer.item} ({name}){note}")


def say(lines: Sequence[str]) -> None:
    """Prints lines."""
    for line in lines:
        print(line, flush=True)
