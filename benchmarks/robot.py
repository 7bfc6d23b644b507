"""The robot side: latency of a control step, a loop at 1 kHz, the watchdog, memory over an hour.

The policies have random weights, which cost as much as trained ones. One is reach's camera student,
the other a proprioceptive one of a quadruped's size, at 1 kHz on the bench robot in real time.
Latencies are taken with the priority that a flight asks for.

    act_p99_us          the student's network alone, call after call
    cold_p99_us         the same after other work took the caches, as between two steps of a robot
    loop_p99_us         all else of a step: assemble, guard, log
    step_p99_us         both
    khz_overruns        share of the deadlines of 1 ms that were missed
    khz_jitter_p999_us  how far the time between two steps is from 1 ms, p99.9
    watchdog_max_ms     from the last heartbeat of a stopped or killed policy to damping
    hour_growth_mb      memory at the end of an hour of simulated time over that at half of it
"""

import os
import tempfile
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np

from benchmarks.rows import Row, Settings
from benchmarks.timing import latencies
from benchmarks.watchdog_trials import watchdog_max_ms
from benchmarks.workload import untrained
from mjx_s2r import onnx_export
from mjx_s2r.api.policy import TrainedPolicy, export_policy
from mjx_s2r.contract import ActionSpec, PolicyContract, Signal
from mjx_s2r.learn.distill.config import DistillConfig
from mjx_s2r.robot import controller
from mjx_s2r.robot.cli.priority import precedence
from mjx_s2r.robot.clock import RealClock, VirtualClock
from mjx_s2r.robot.controller import ControllerConfig
from mjx_s2r.robot.driver import Reading
from mjx_s2r.robot.drivers.bench import BenchRobot
from mjx_s2r.robot.log import FlightLog
from mjx_s2r.robot.loop_bench import LoopFigures, measure_loop, percentiles_us
from mjx_s2r.robot.policy import Actor, Policy

JOINTS = 12
KHZ = 1000.0
KHZ_S = 10.0
SPIN_S = 0.0002
HOUR_S, EARLY_S = 3600.0, 1800.0  # by then every bounded buffer is full


def run(settings: Settings) -> list[Row]:
    """Returns the figures; see the module."""
    with tempfile.TemporaryDirectory() as folder:
        student = _student(Path(folder))
        fast = _proprioceptive(Path(folder))
    images = _images(student.contract)
    obs = np.zeros(student.contract.size, np.float32)
    with precedence():  # as in a flight; a machine that does not permit it is measured without
        act = percentiles_us(latencies(lambda: student.act(obs, images), settings.calls))
        cold = _cold(lambda: student.act(obs, images), max(1, settings.calls // 4))
        loop = _hurried(Still(student.contract), settings.calls)
        step = _hurried(student, settings.calls)
        khz = measure_loop(fast, KHZ_S, RealClock(spin_s=SPIN_S))
    return [
        Row("robot", "act_p50_us", act[0], "us"),
        Row("robot", "act_p99_us", act[1], "us"),
        Row("robot", "cold_p50_us", cold[0], "us"),
        Row("robot", "cold_p99_us", cold[1], "us"),
        Row("robot", "loop_p50_us", loop[0], "us"),
        Row("robot", "loop_p99_us", loop[1], "us"),
        Row("robot", "step_p50_us", step[0], "us"),
        Row("robot", "step_p99_us", step[1], "us"),
        *_khz_rows(khz),
        Row("robot", "watchdog_max_ms", watchdog_max_ms(), "ms"),
        Row("robot", "hour_growth_mb", _growth_mb(Still(fast.contract)), "MB"),
    ]


def _khz_rows(khz: LoopFigures) -> list[Row]:
    """Returns the figures of the fast loop."""
    return [
        Row("robot", "khz_rate", khz.achieved_hz, "Hz"),
        Row("robot", "khz_overruns", khz.overruns / max(1, khz.steps), "1"),
        Row("robot", "khz_jitter_p99_us", khz.jitter_us[1], "us"),
        Row("robot", "khz_jitter_p999_us", khz.jitter_us[2], "us"),
        Row("robot", "khz_step_p99_us", khz.step_us[1], "us"),
    ]


def _student(folder: Path) -> Policy:
    """Returns reach's camera student with random weights."""
    trainer = untrained(DistillConfig(num_envs=4), key=jax.random.key(0))
    trained = TrainedPolicy(trainer, trainer.init(jax.random.key(1)))
    return Policy.load(export_policy(trained, folder / "student.onnx", inputs=4).path)


def _proprioceptive(folder: Path) -> Policy:
    """Returns a policy of a quadruped's size that sees nothing: 39 readings, 2 x 256, 12 joints."""
    action = ActionSpec(
        joints=tuple(f"joint_{n}" for n in range(JOINTS)),
        mode="position",
        unit="rad",
        scale=(0.3,) * JOINTS,
        home=(0.0,) * JOINTS,
        low=(-1.5,) * JOINTS,
        high=(1.5,) * JOINTS,
        max_rate=(10.0,) * JOINTS,
        max_effort=(30.0,) * JOINTS,
        kp=(40.0,) * JOINTS,
        kd=(1.0,) * JOINTS,
    )
    signals = (
        Signal("joint_pos", JOINTS, "rad"),
        Signal("joint_vel", JOINTS, "rad/s", scale=0.1),
        Signal("gravity", 3, "1"),
        Signal("command", JOINTS, "rad"),
    )
    contract = PolicyContract("khz", KHZ, signals, action)
    sizes = (contract.size, 256, 256, JOINTS)
    keys = jax.random.split(jax.random.key(0), len(sizes) - 1)
    layers = [
        jax.random.normal(k, shape) / np.sqrt(shape[0])
        for k, shape in zip(keys, pairwise(sizes), strict=True)
    ]

    def actor(obs: jax.Array) -> jax.Array:
        for weight in layers[:-1]:
            obs = jax.nn.elu(obs @ weight)
        return jnp.tanh(0.1 * obs @ layers[-1])

    return Policy.load(onnx_export.export_onnx(actor, contract, folder / "khz.onnx", inputs=4).path)


@dataclass(frozen=True)
class Still:
    """An `Actor` that asks for nothing."""

    contract: PolicyContract

    def act(self, obs: np.ndarray, images: Mapping[str, np.ndarray]) -> np.ndarray:
        """Returns zeros (J,)."""
        return np.zeros(len(self.contract.action.joints), np.float32)


class HurriedClock(RealClock):
    """The machine's clock, without the waiting between two steps."""

    def wait(self) -> float:
        """Returns at once: never late."""
        return 0.0


class IdleRobot(BenchRobot):
    """A bench robot whose write costs nothing, so that the loop alone is measured."""

    def write(self, command: np.ndarray) -> None:
        """Is there at once."""
        self.position = command.astype(float)


def _images(contract: PolicyContract) -> dict[str, np.ndarray]:
    """Returns pictures of noise, as the policy reads them."""
    rng = np.random.default_rng(0)
    return {c.name: rng.integers(0, 256, c.shape, np.uint8) for c in contract.cameras}


def _hurried(actor: Actor, steps: int) -> tuple[float, ...]:
    """Returns the percentiles of a control step, one after another without waiting, us."""
    clock = HurriedClock()
    driver = IdleRobot(actor.contract, clock)
    figures = measure_loop(actor, steps / actor.contract.control_hz, clock, driver)
    return figures.step_us


def _cold(call: Callable[[], object], count: int) -> tuple[float, ...]:
    """Returns the percentiles of calls before each of which 32 MB were written elsewhere, us."""
    other = np.zeros(4_000_000)
    taken = []
    for _ in range(count):
        other += 1
        before = time.perf_counter()
        call()
        taken.append(time.perf_counter() - before)
    return percentiles_us(np.array(taken))


def _growth_mb(actor: Still) -> float:
    """Returns how much the process grows in an hour of simulated time after half of it, MB."""
    clock = VirtualClock()
    contract = actor.contract
    slow = Still(PolicyContract("hour", 50.0, contract.signals, contract.action))
    driver = BenchRobot(slow.contract, clock)
    marks: list[float] = []

    def mark(reading: Reading) -> bool:
        if not marks and reading.time_s >= EARLY_S:
            marks.append(_resident_mb())
        return False

    with (
        tempfile.TemporaryDirectory() as folder,
        FlightLog(Path(folder) / "hour.log", slow.contract, "bench") as log,
    ):
        controller.run(driver, slow, clock, ControllerConfig(duration_s=HOUR_S), log, mark)
        marks.append(_resident_mb())
    return marks[-1] - marks[0]


def _resident_mb() -> float:
    """Returns the memory of this process that is in use now, MB; NaN where it is not told."""
    try:
        pages = int(Path("/proc/self/statm").read_text().split()[1])
    except OSError:
        return float("nan")
    return pages * os.sysconf("SC_PAGE_SIZE") / 1e6
