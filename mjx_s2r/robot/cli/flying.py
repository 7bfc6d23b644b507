"""One episode on a connected robot: controller, log, status line, and what came of it."""

import math
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from mjx_s2r.contract import ContractError, PolicyContract
from mjx_s2r.robot.camera_warp import CameraCalibration
from mjx_s2r.robot.cli.terminal import StatusLine
from mjx_s2r.robot.cli.watch import WatchedLog
from mjx_s2r.robot.clock import Clock
from mjx_s2r.robot.controller import ControllerConfig, FlightSummary, homing, run
from mjx_s2r.robot.decisions import Standing
from mjx_s2r.robot.driver import Driver, DriverInfo, EpisodicDriver, Reading, TaskRules
from mjx_s2r.robot.estop import KeyboardStop, LatchedStop
from mjx_s2r.robot.interpolation import Interpolation
from mjx_s2r.robot.latch import set_latch
from mjx_s2r.robot.phases import Phase
from mjx_s2r.robot.policy import Actor
from mjx_s2r.robot.safety import Event, SafetyConfig
from mjx_s2r.robot.safety.limits import command_limits
from mjx_s2r.robot.stages import EpisodeTally
from mjx_s2r.robot.verdict import RULES, Referee, TaskVerdict
from mjx_s2r.robot.watchdog.proxy import WatchdogError

PRESSED = ("e-stop: ", "own e-stop is pressed")  # the watchdog's words for an emergency stop
NEAR = 0.02  # of a joint's range: this close, a robot is at home
USUAL_S = 20.0  # of an episode on a robot
SPARE_PERIODS = 3  # beyond the task's time, for the reading that decides
SAG = 0.25  # of its range: so far a joint under load may stand from where it is sent to


@dataclass(frozen=True)
class Cockpit:
    """What every episode of a run shares.

    Attributes:
        driver: the connected robot.
        clock: its time.
        safety: limits in force.
        info: its data sheet.
        folder: where the logs go.
        images: whether the logs keep pictures.
        facts: settings of the run, for the head of every log.
        stops: emergency stops that are open.
        keyboard: whether the keyboard is one, too; it is taken for the time of a flight alone,
            because questions are asked at it.
        latch: file that keeps an emergency stop latched.
        inner_hz: commands per second; 0 is the policy's rate.
        interpolation: how commands between two answers of the policy go.
        calibrations: of cameras whose pictures are turned into those of the model's.
    """

    driver: Driver
    clock: Clock
    safety: SafetyConfig
    info: DriverInfo
    folder: Path
    images: bool
    facts: dict[str, Any]
    stops: Sequence[LatchedStop] = ()
    keyboard: bool = False
    latch: Path | None = None
    inner_hz: float = 0.0
    interpolation: Interpolation = "linear"
    calibrations: tuple[CameraCalibration, ...] = ()

    @property
    def rules(self) -> TaskRules | None:
        """Rules of the task, where the robot is a stand-in that knows it; else None."""
        return self.info.task if isinstance(self.driver, EpisodicDriver) else None

    def begin_episode(self, number: int) -> None:
        """Has a stand-in that knows its task begin an episode; other robots begin by themselves."""
        if self.rules is not None and isinstance(self.driver, EpisodicDriver):
            self.driver.begin_episode(number)


@dataclass(frozen=True)
class Episode:
    """What came of one episode.

    Attributes:
        name: of its log.
        summary: of the controller; None where it ended in an error.
        fraction: of the speed, that it was flown at.
        error: what ended it, where that was no decision of the guard.
        interrupted: whether a person ended it by Ctrl-C; that is a normal stop.
        latched: whether an emergency stop was felt in a flight that an error or Ctrl-C ended.
        off_home: of a way home, how far the farthest joint is from home at the end, as a share of
            its range, where the robot was sent all the way there; else nan.
        verdict: of the task, where the robot is a stand-in that knows it; else None.
        virtual: whether it was flown in virtual time, which says nothing of this machine's.
    """

    name: str
    summary: FlightSummary | None
    fraction: float
    error: str = ""
    interrupted: bool = False
    latched: bool = False
    off_home: float = math.nan
    verdict: TaskVerdict | None = None
    virtual: bool = False

    @property
    def estop(self) -> bool:
        """Whether an emergency stop was pressed."""
        felt = self.summary is not None and self.summary.phase is Phase.ESTOP
        return felt or self.latched

    @property
    def is_home(self) -> bool:
        """Whether a way home ended there, or as near as a servo under load may stand."""
        return self.summary is not None and not self.tally.stop and self.off_home <= SAG

    @property
    def command(self) -> np.ndarray | None:
        """(J,) the last command."""
        return self.summary.command if self.summary else None

    @property
    def standing(self) -> Standing | None:
        """How it left the robot, for the next episode; None where that is not known."""
        return self.summary.standing if self.summary else None

    @property
    def tally(self) -> EpisodeTally:
        """What counts for the stage."""
        if self.summary is None:
            return EpisodeTally(0.0, 0, 0, self.fraction, "" if self.interrupted else self.error)
        done = self.summary
        stopped = done.phase in (Phase.DAMP, Phase.ESTOP)
        stop = "; ".join(map(event_text, done.stopped_by)) if stopped else ""
        return EpisodeTally(done.duration_s, done.steps, done.held, self.fraction, stop)

    def to_json(self) -> dict[str, Any]:
        """Returns the episode as JSON values."""
        body: dict[str, Any] = {"log": self.name, "error": self.error}
        if self.verdict is not None:
            body["task"] = self.verdict.to_json()
        if self.summary is None:
            return body
        done = self.summary
        busy_ms = 1e3 * np.percentile(done.busy_s, (50, 99)) if len(done.busy_s) else (0.0, 0.0)
        return body | {
            "reason": done.reason,
            "seconds": done.duration_s,
            "steps": done.steps,
            "held": done.held,
            "overruns": done.overruns,
            "worst_late_ms": 1e3 * done.worst_late_s,
            "busy_p50_ms": float(busy_ms[0]),
            "busy_p99_ms": float(busy_ms[1]),
            "latency_s": {stage: asdict(x) for stage, x in done.latency.items()},
            "phase": done.phase.value,
            "events": dict(done.events),
            "stopped_by": [event_text(e) for e in done.stopped_by],
        }

    def lines(self) -> list[str]:
        """Returns the episode for people."""
        if self.summary is None:
            return [f"{self.name}: {self.error}"]
        done = self.summary
        ends = {"duration": "the time was over", "until": "it was done"}
        if self.verdict is not None:
            ends["until"] = "its task was decided"
        why = ends.get(done.reason, "")
        why = (
            self.error
            or why
            or f"the robot was stopped: {'; '.join(map(event_text, done.stopped_by))}"
        )
        found = [f"{self.name}: {done.duration_s:.1f} s, {done.steps} commands, {why}"]
        if self.verdict is not None:
            found.append(f"  task: {self.verdict.text()}")
        if self.virtual:
            found.append(f"  {done.held} steps held")
        else:
            busy = 1e3 * np.percentile(done.busy_s, 99) if len(done.busy_s) else 0.0
            found.append(
                f"  p99 {busy:.2f} ms per step, {done.overruns} overruns (worst "
                f"{1e3 * done.worst_late_s:.1f} ms late), {done.held} steps held"
            )
        if done.latency:
            stages = (f"{name} {1e3 * x.p99_s:.2f}" for name, x in done.latency.items())
            found.append(f"  p99 of each stage, ms: {', '.join(stages)}")
        if done.events:
            counts = (f"{count} {code}" for code, count in sorted(done.events.items()))
            found.append(f"  events: {', '.join(counts)}")
        return found


def event_text(event: Event) -> str:
    """Returns an event for people."""
    if event.code == "estop":
        return f"e-stop: {event.name}"
    return f"{event.code} of {event.name} ({event.value:.4g}, limit {event.limit:.4g})"


def fly(
    cockpit: Cockpit,
    actor: Actor,
    seconds: float,
    name: str,
    until: Callable[[Reading], bool] | None = None,
    start: Standing | None = None,
    rules: TaskRules | None = None,
) -> Episode:
    """Flies one episode and logs it; an error of the driver or the disk stops the robot, too.

    Args:
        cockpit: the robot and what else all episodes share.
        actor: what flies.
        seconds: longest time.
        name: of the log.
        until: called with every reading; True ends the episode.
        start: how the episode before left the robot.
        rules: of the task, for the log's head.

    Raises:
        ContractError: settings that do not fit; nothing was sent.
    """
    virtual = not cockpit.clock.is_real
    settings = ControllerConfig(
        duration_s=seconds,
        safety=cockpit.safety,
        inner_hz=cockpit.inner_hz,
        interpolation=cockpit.interpolation,
        calibrations=cockpit.calibrations,
        latch=cockpit.latch,
    )
    head = settings.to_json() | cockpit.facts | {"virtual": virtual}
    if rules is not None:
        head[RULES] = asdict(rules)
    path, fraction = cockpit.folder / f"{name}.log", cockpit.safety.speed_fraction
    with ExitStack() as stack:
        stops = [*cockpit.stops]
        if cockpit.keyboard:
            stops.append(KeyboardStop())
            stack.callback(stops[-1].close)
        log = WatchedLog(
            path,
            actor.contract,
            cockpit.info.name,
            head,
            driver=cockpit.info,
            images=cockpit.images,
            may_drop=cockpit.clock.is_real,
        )
        stack.enter_context(log)
        stack.enter_context(StatusLine(log.gauge.text))
        try:
            done = run(cockpit.driver, actor, cockpit.clock, settings, log, until, stops, start)
        except KeyboardInterrupt:
            said = "ended by Ctrl-C, the robot was stopped"
            return Episode(
                name, None, fraction, said, interrupted=True, latched=_is_latched(cockpit)
            )
        except Exception as error:  # whatever a driver raises; the robot was stopped
            if isinstance(error, ContractError) and not log.gauge.started:
                raise  # settings that do not fit; nothing was sent
            estop = isinstance(error, WatchdogError) and any(x in str(error) for x in PRESSED)
            if estop and cockpit.latch is not None:
                set_latch(cockpit.latch, cockpit.info.name, str(error))
            estop = estop or _is_latched(cockpit)
            said = f"{type(error).__name__}: {error}"
            return Episode(name, None, fraction, said, latched=estop)
    return Episode(name, done, fraction, virtual=virtual)


def fly_task(
    cockpit: Cockpit,
    actor: Actor,
    seconds: float | None,
    name: str,
    start: Standing | None = None,
) -> Episode:
    """Flies one episode of the policy's task, see `fly`, and judges it where somebody can.

    Args:
        cockpit: the robot and what else all episodes share.
        actor: what flies.
        seconds: how long; None ends a stand-in's episode when its task says so, and any other
            after `USUAL_S`.
        name: of the log.
        start: how the robot stands.
    """
    rules, control_hz = cockpit.rules, actor.contract.control_hz
    if rules is None:
        return fly(cockpit, actor, seconds or USUAL_S, name, start=start)
    referee = Referee(rules, control_hz)

    def over(reading: Reading) -> bool:
        was_decided = bool(referee.result)  # one reading ago, so that the log holds that one, too
        referee.see(reading)
        return was_decided and seconds is None

    longest = rules.episode_s + SPARE_PERIODS / control_hz
    flown = fly(cockpit, actor, seconds or longest, name, over, start, rules)
    return replace(flown, verdict=referee.verdict)


def _is_latched(cockpit: Cockpit) -> bool:
    """Returns whether a flight has latched an emergency stop; none is latched when one begins."""
    return cockpit.latch is not None and cockpit.latch.exists()


def reachable_home(contract: PolicyContract, safety: SafetyConfig, info: DriverInfo) -> np.ndarray:
    """Returns the home (J,), or as near to it as the guard lets commands come.

    Raises:
        ContractError: the contract commands efforts.
    """
    limits = command_limits(safety, homing(contract).contract, info)
    return np.clip(contract.action.home, limits.low, limits.high)


def home_notes(contract: PolicyContract, safety: SafetyConfig, info: DriverInfo) -> list[str]:
    """Returns the joints that are not sent all the way home, one sentence each; mostly none."""
    action = contract.action
    if action.mode == "effort":
        return []
    near = reachable_home(contract, safety, info)
    return [
        f"joint {joint!r} goes to {there:.4g} {unit} and not to its home at {home:.4g}: commands "
        f"keep away from the ends of a joint's range (soft_limit {safety.soft_limit:g})"
        for joint, there, home, unit in zip(
            action.joints, near.tolist(), action.home, action.units, strict=True
        )
        if abs(there - home) > 1e-6 * max(1.0, abs(home))
    ]


def fly_home(cockpit: Cockpit, actor: Actor, name: str, start: Standing | None = None) -> Episode:
    """Moves the robot to the contract's home, as fast as the guard allows; see `fly`.

    It ends at home, or when the time that it should take is over: `Episode.is_home` says which. A
    servo under load, a leg that carries its robot, stands beside where it is sent to. A home at the
    end of a joint's range is gone to as near as the guard allows.
    """
    home = reachable_home(actor.contract, cockpit.safety, cockpit.info)
    action = replace(actor.contract.action, home=tuple(home.tolist()))
    span = np.subtract(action.high, action.low)
    span = np.where(np.isfinite(span), span, 1.0)
    near, speed = NEAR * span, cockpit.safety.speed_fraction * np.asarray(action.max_rate)
    away = span / np.where(np.isfinite(speed), speed, 1.0)
    seconds = float(np.max(away)) + 2 * cockpit.safety.ramp_s + 2.0
    off = np.full(len(near), math.inf)

    def there(reading: Reading) -> bool:
        position = np.asarray(reading.signals.get(cockpit.safety.position_signal, math.nan))
        off[:] = np.abs(position - home)
        return bool(np.all(off <= near))

    homer = homing(replace(actor.contract, action=action))
    way = fly(cockpit, homer, seconds, name, there, start)
    if way.summary is None:
        return way
    sent = way.command
    was_sent = sent is not None and bool(np.all(np.abs(sent - home) <= near))
    arrived = way.summary.reason == "until" or was_sent
    share = float(np.max(off / span)) if arrived else math.nan
    return replace(way, off_home=share)
