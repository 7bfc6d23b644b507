"""How fast and how evenly this machine runs a policy: the whole control loop on the bench robot."""

import math
import os
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np

from mjx_s2r.contract import PolicyContract
from mjx_s2r.robot.clock import RealClock
from mjx_s2r.robot.controller import ControllerConfig, run
from mjx_s2r.robot.driver import Driver
from mjx_s2r.robot.drivers.bench import BenchRobot
from mjx_s2r.robot.log import FlightLog, Step
from mjx_s2r.robot.policy import Actor
from mjx_s2r.robot.safety import SafetyConfig

FOREVER = 1e9  # periods
PATIENT = SafetyConfig(  # what is late is counted here, and does not end the run
    reading_hold_periods=FOREVER,
    reading_stop_periods=FOREVER,
    image_hold_periods=FOREVER,
    image_stop_periods=FOREVER,
)


@dataclass(frozen=True)
class LoopFigures:
    """What was measured; percentiles are (p50, p99, p99.9, largest), microseconds.

    Attributes:
        seconds: how long the loop ran.
        steps: commands sent.
        hz: rate that was asked for.
        achieved_hz: rate that was reached.
        overruns: deadlines that were missed.
        jitter_us: how far the time between two steps is from the period.
        step_us: from a reading to the end of the write of its command, and the log.
        act_us: the policy alone.
        stopped_by: why it ended before its time, as the guard's causes; () where it did not.
        load: of the machine, one minute's mean, before; None where it is not told.
    """

    seconds: float
    steps: int
    hz: float
    achieved_hz: float
    overruns: int
    jitter_us: tuple[float, ...]
    step_us: tuple[float, ...]
    act_us: tuple[float, ...]
    stopped_by: tuple[str, ...]
    load: float | None


def percentiles_us(seconds: np.ndarray) -> tuple[float, ...]:
    """Returns (p50, p99, p99.9, largest) of times in s, in microseconds."""
    return tuple(1e6 * np.percentile(seconds, (50, 99, 99.9, 100))) if len(seconds) else (0.0,) * 4


def measure_loop(
    actor: Actor, seconds: float, clock: RealClock | None = None, driver: Driver | None = None
) -> LoopFigures:
    """Runs the control loop at the contract's rate and measures it; log and guard included.

    Args:
        actor: what is asked at every step.
        seconds: how long.
        clock: the time and the way it waits; by default it sleeps.
        driver: a robot after `Driver.connect`; by default the bench robot.
    """
    load = os.getloadavg()[0] if hasattr(os, "getloadavg") else None
    clock = clock or RealClock()
    contract = actor.contract
    driver = driver or BenchRobot(contract, clock)
    timed = _TimedActor(actor)
    started: list[float] = []
    taken: list[float] = []
    with TemporaryDirectory() as folder:
        path = Path(folder) / "bench.log"
        with _TimedLog(path, contract, "bench", started, taken, images=False) as log:
            settings = ControllerConfig(seconds, PATIENT, overrun_limit_s=math.inf)
            done = run(driver, timed, clock, settings, log)
    times = np.array(started)
    late = np.abs(np.diff(times) - 1 / contract.control_hz)
    span_s = times[-1] - times[0] if len(times) > 1 else 0.0
    return LoopFigures(
        seconds=done.duration_s,
        steps=done.steps,
        hz=contract.control_hz,
        achieved_hz=(len(times) - 1) / span_s if span_s else 0.0,
        overruns=done.overruns,
        jitter_us=percentiles_us(late),
        step_us=percentiles_us(np.array(taken)),
        act_us=percentiles_us(np.array(timed.taken_s)),
        stopped_by=tuple(f"{e.code} of {e.name}" for e in done.stopped_by),
        load=load,
    )


class _TimedActor:
    """An actor that notes how long each answer took."""

    def __init__(self, actor: Actor) -> None:
        """Takes the actor."""
        self.contract = actor.contract
        self.taken_s: list[float] = []
        self._actor = actor

    def reset(self) -> None:
        """Begins an episode, of an actor that remembers."""
        reset = getattr(self._actor, "reset", None)
        if reset is not None:
            reset()

    def act(self, obs: np.ndarray, images: Mapping[str, np.ndarray]) -> np.ndarray:
        """Returns the actor's answer (J,)."""
        start = time.perf_counter()
        answer = self._actor.act(obs, images)
        self.taken_s.append(time.perf_counter() - start)
        return answer


class _TimedLog(FlightLog):
    """A log that notes when each step began, and how long it took."""

    def __init__(
        self,
        path: Path,
        contract: PolicyContract,
        robot: str,
        started: list[float],
        taken: list[float],
        *,
        images: bool,
    ) -> None:
        """Takes where the times go, s: when a step began, and how long it took with its log."""
        super().__init__(path, contract, robot, images=images)
        self._started, self._taken = started, taken

    def append(self, step: Step) -> None:
        """Notes and writes a step."""
        self._started.append(step.time_s)
        start = time.perf_counter()
        super().append(step)
        self._taken.append(step.busy_s + time.perf_counter() - start)
