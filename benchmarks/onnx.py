"""Latency on the robot: the exported student and the loop around it, one step at a time.

The student has random weights, which cost as much as trained ones. Four latencies:

    act    the network alone, `Policy.act`, call after call
    cold   the same after other work has taken the caches, as between two steps of a robot
    loop   everything else of a control step: guard, contract, clock, a driver that does nothing
    step   act and loop
"""

import tempfile
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import jax
import numpy as np

from benchmarks.rows import Row, Settings
from benchmarks.timing import latencies
from benchmarks.workload import untrained
from mjx_s2r.api.policy import TrainedPolicy, export_policy
from mjx_s2r.contract import PolicyContract
from mjx_s2r.learn.distill.config import DistillConfig
from mjx_s2r.robot import controller
from mjx_s2r.robot.clock import RealClock
from mjx_s2r.robot.controller import ControllerConfig
from mjx_s2r.robot.driver import COMMAND, CameraInfo, DriverInfo, Reading
from mjx_s2r.robot.policy import Actor, Policy

PARITY_INPUTS = 64


def run(settings: Settings) -> list[Row]:
    """Returns p50 and p99 of each latency, and how far the graph is from JAX."""
    trainer = untrained(DistillConfig(num_envs=4), key=jax.random.key(0))
    state = trainer.init(jax.random.key(1))
    with tempfile.TemporaryDirectory() as folder:
        done = export_policy(
            TrainedPolicy(trainer, state), Path(folder) / "policy.onnx", inputs=PARITY_INPUTS
        )
        size = done.path.stat().st_size
        policy = Policy.load(done.path)
    reading = IdleDriver(policy.contract, RealClock()).read()
    obs = np.zeros(policy.contract.size, np.float32)
    act = latencies(lambda: policy.act(obs, reading.images), settings.calls)
    cold = cold_latencies(lambda: policy.act(obs, reading.images), max(1, settings.calls // 4))
    loop, _ = fly(Still(policy.contract), settings.calls)
    step, sent = fly(policy, settings.calls)
    return [
        *_percentiles("act", act),
        *_percentiles("cold", cold),
        *_percentiles("loop", loop),
        *_percentiles("step", step),
        Row("onnx", "parity", done.parity, policy.contract.action.unit),
        Row("onnx", "commands_sent", sent, "1"),
        Row("onnx", "size", size / 1e6, "MB"),
    ]


def cold_latencies(call: Callable[[], object], count: int) -> np.ndarray:
    """Returns (count,) the time of calls, s, before each of which 32 MB were written elsewhere."""
    other = np.zeros(4_000_000)
    taken = []
    for _ in range(count):
        other += 1
        before = time.perf_counter()
        call()
        taken.append(time.perf_counter() - before)
    return np.array(taken)


def fly(policy: Actor, steps: int) -> tuple[np.ndarray, float]:
    """Returns the time of each control step (steps,), s, and the share that sent a command."""
    clock = HurriedClock()
    seconds = steps / policy.contract.control_hz
    driver = IdleDriver(policy.contract, clock)
    summary = controller.run(driver, policy, clock, ControllerConfig(duration_s=seconds))
    return summary.busy_s, summary.steps / steps


class HurriedClock(RealClock):
    """The machine's clock, without the waiting between two steps."""

    def wait(self) -> float:
        """Returns at once: never late."""
        return 0.0


@dataclass(frozen=True)
class Still:
    """An `Actor` that asks for nothing."""

    contract: PolicyContract

    def act(self, obs: np.ndarray, images: Mapping[str, np.ndarray]) -> np.ndarray:
        """Returns zeros (J,)."""
        return np.zeros(len(self.contract.action.joints), np.float32)


class IdleDriver:
    """A robot that fits a contract, reports the last command as its position, and is never late."""

    def __init__(self, contract: PolicyContract, clock: RealClock) -> None:
        """Takes the contract and the time; the pictures are noise."""
        self._contract, self._clock = contract, clock
        self._position = np.array(contract.action.home)
        rng = np.random.default_rng(0)
        self._images = {c.name: rng.integers(0, 256, c.shape, np.uint8) for c in contract.cameras}
        self._zeros = {s.name: np.zeros(s.size) for s in contract.signals if s.name != COMMAND}

    def describe(self) -> DriverInfo:
        """Returns a data sheet as wide as the contract asks for."""
        spec = self._contract.action
        return DriverInfo(
            name="idle",
            joints=spec.joints,
            command="position",
            unit=spec.unit,
            low=spec.low,
            high=spec.high,
            max_rate=spec.max_rate,
            max_effort=spec.max_effort,
            max_hz=1000.0,
            signals={name: x.size for name, x in self._zeros.items()},
            cameras=tuple(
                CameraInfo(c.name, c.height, c.width, c.rate_hz) for c in self._contract.cameras
            ),
        )

    def connect(self) -> None:
        """Does nothing."""

    def read(self) -> Reading:
        """Returns a reading of this moment."""
        now_s = self._clock.now_s()
        signals = self._zeros | {"joint_pos": self._position}
        return Reading(now_s, signals, self._images, dict.fromkeys(self._images, now_s))

    def write(self, command: np.ndarray) -> None:
        """Is there at once."""
        self._position = command.astype(float)

    def stop(self) -> None:
        """Does nothing."""

    def close(self) -> None:
        """Does nothing."""


def _percentiles(name: str, seconds: np.ndarray) -> list[Row]:
    """Returns the middle and the 99th percentile of a latency."""
    return [
        Row("onnx", f"{name}.p{p}", float(np.percentile(1e3 * seconds, p)), "ms") for p in (50, 99)
    ]
