"""One episode on a connected robot: controller, log, status line, and what came of it."""

import math
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from mjx_s2r.robot.cli.folder import utc_now, write_json
from mjx_s2r.robot.cli.terminal import StatusLine
from mjx_s2r.robot.cli.watch import FlightWatch
from mjx_s2r.robot.clock import Clock
from mjx_s2r.robot.controller import ControllerConfig, FlightSummary, homing, run
from mjx_s2r.robot.driver import Driver, Reading
from mjx_s2r.robot.estop import KeyboardStop, LatchedStop
from mjx_s2r.robot.log import FlightLog
from mjx_s2r.robot.policy import Actor
from mjx_s2r.robot.safety import Event, SafetyConfig
from mjx_s2r.robot.stages import EpisodeTally

NEAR = 0.02  # of a joint's range: this close, a robot is at home


@dataclass(frozen=True)
class Cockpit:
    """What every episode of a run shares.

    Attributes:
        driver: the connected robot.
        clock: its time.
        safety: limits in force.
        robot: name for the log.
        folder: where the logs go.
        images: whether the logs keep pictures.
        facts: settings of the run, for the head of every log.
        stops: emergency stops that are open.
        keyboard: whether the keyboard is one, too; it is taken for the time of a flight alone,
            because questions are asked at it.
        latch: file that keeps an emergency stop latched.
    """

    driver: Driver
    clock: Clock
    safety: SafetyConfig
    robot: str
    folder: Path
    images: bool
    facts: dict[str, Any]
    stops: Sequence[LatchedStop] = ()
    keyboard: bool = False
    latch: Path | None = None


@dataclass(frozen=True)
class Episode:
    """What came of one episode.

    Attributes:
        name: of its log.
        summary: of the controller; None where it ended in an error.
        error: what ended it, where that was no decision of the guard.
        interrupted: whether a person ended it by Ctrl-C; that is a normal stop.
        estop: whether an emergency stop was pressed.
    """

    name: str
    summary: FlightSummary | None
    error: str = ""
    interrupted: bool = False
    estop: bool = False

    @property
    def tally(self) -> EpisodeTally:
        """What counts for the stage."""
        if self.summary is None:
            return EpisodeTally(0.0, 0, 0, "" if self.interrupted else self.error)
        done = self.summary
        stop = "; ".join(map(event_text, done.stopped_by)) if done.reason == "guard" else self.error
        return EpisodeTally(done.duration_s, done.steps, done.held, stop)

    def to_json(self) -> dict[str, Any]:
        """Returns the episode as JSON values."""
        body: dict[str, Any] = {"log": self.name, "error": self.error}
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
            "events": dict(done.events),
            "stopped_by": [event_text(e) for e in done.stopped_by],
        }

    def lines(self) -> list[str]:
        """Returns the episode for people."""
        if self.summary is None:
            return [f"{self.name}: {self.error}"]
        done = self.summary
        why = {"duration": "the time was over", "until": "it was done"}.get(done.reason, "")
        why = (
            self.error
            or why
            or f"the robot was stopped: {'; '.join(map(event_text, done.stopped_by))}"
        )
        busy = 1e3 * np.percentile(done.busy_s, 99) if len(done.busy_s) else 0.0
        found = [
            f"{self.name}: {done.duration_s:.1f} s, {done.steps} commands, {why}",
            f"  p99 {busy:.2f} ms per step, {done.overruns} overruns (worst "
            f"{1e3 * done.worst_late_s:.1f} ms late), {done.held} steps held",
        ]
        if done.events:
            counts = (f"{count} {code}" for code, count in sorted(done.events.items()))
            found.append(f"  events: {', '.join(counts)}")
        return found


def event_text(event: Event) -> str:
    """Returns an event for people."""
    return f"{event.code} of {event.name} ({event.value:.4g}, limit {event.limit:.4g})"


def fly(
    cockpit: Cockpit,
    actor: Actor,
    seconds: float,
    name: str,
    until: Callable[[Reading], bool] | None = None,
) -> Episode:
    """Flies one episode and logs it; an error of the driver or the disk stops the robot, too."""
    settings = ControllerConfig(duration_s=seconds, safety=cockpit.safety)
    head = settings.to_json() | cockpit.facts
    path = cockpit.folder / f"{name}.log"
    pressed: list[str] = []
    with ExitStack() as stack:
        stops = [*cockpit.stops]
        if cockpit.keyboard:
            stops.append(KeyboardStop())
            stack.callback(stops[-1].close)
        log = stack.enter_context(
            FlightLog(path, actor.contract, cockpit.robot, head, images=cockpit.images)
        )
        watch = FlightWatch(log, seconds)

        def over(reading: Reading) -> bool:
            pressed.extend(s.name for s in stops if s.pressed())
            return bool(pressed) or (until is not None and until(reading))

        stack.enter_context(StatusLine(watch.text))
        try:
            done = run(cockpit.driver, actor, cockpit.clock, settings, watch, over)  # type: ignore[arg-type]
        except KeyboardInterrupt:
            return Episode(name, None, "ended by Ctrl-C, the robot was stopped", interrupted=True)
        except Exception as error:  # whatever a driver raises; the robot was stopped
            return Episode(name, None, f"{type(error).__name__}: {error}")
    if pressed and cockpit.latch is not None:
        note = {"robot": cockpit.robot, "why": f"{pressed[0]} in {path}", "when": utc_now()}
        write_json(cockpit.latch, note)
    return Episode(
        name, done, "; ".join(f"e-stop: {stop}" for stop in pressed), estop=bool(pressed)
    )


def fly_home(cockpit: Cockpit, actor: Actor, name: str) -> Episode:
    """Moves the robot to the contract's home, as fast as the guard allows."""
    action = actor.contract.action
    span = np.subtract(action.high, action.low)
    near = NEAR * np.where(np.isfinite(span), span, 1.0)
    speed = cockpit.safety.speed_fraction * np.asarray(action.max_rate)
    away = np.where(np.isfinite(span), span, 1.0) / np.where(np.isfinite(speed), speed, 1.0)
    seconds = float(np.max(away)) + 2 * cockpit.safety.ramp_s + 2.0

    def there(reading: Reading) -> bool:
        position = np.asarray(reading.signals.get(cockpit.safety.position_signal, math.nan))
        return bool(np.all(np.abs(position - action.home) <= near))

    return fly(cockpit, homing(actor.contract), seconds, name, there)
