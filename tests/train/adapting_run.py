"""Runs to adapt: an untaught teacher and student of the cartpole, and flights that teach better."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from mjx_s2r.api.student import StudentConfig, train_student
from mjx_s2r.api.teacher import TeacherConfig, train_teacher
from mjx_s2r.contract import PolicyContract
from mjx_s2r.learn.distill.config import DistillConfig
from mjx_s2r.learn.ppo.config import PPOConfig
from mjx_s2r.robot.driver import Reading
from mjx_s2r.robot.log import FlightLog, Step
from mjx_s2r.robot.phases import Phase
from mjx_s2r.robot.safety import Mode
from mjx_s2r.sim.env import require_native

SIDE = 16  # px


@dataclass(frozen=True)
class Started:
    """A student's run and flights.

    Attributes:
        student: its folder.
        logs: flights, each an episode.
        contract: of the student.
    """

    student: Path
    logs: tuple[Path, ...]
    contract: PolicyContract


def start(folder: Path, flights: int = 4) -> Started:
    """Trains a teacher and a student for one iteration, and writes flights."""
    ppo = PPOConfig(
        num_envs=8,
        num_steps=4,
        num_minibatches=2,
        num_epochs=1,
        actor_hidden=(8,),
        critic_hidden=(8,),
    )
    train_teacher(TeacherConfig("cartpole", run=folder / "teacher", iterations=1, ppo=ppo))
    config = StudentConfig(
        teacher=folder / "teacher",
        run=folder / "student",
        cameras=(f"fixed:{SIDE}x{SIDE}@100",),
        distill=DistillConfig(
            num_envs=8, num_steps=2, iterations=1, num_minibatches=2, hidden=(8,), cnn_channels=4
        ),
    )
    contract = require_native(train_student(config)[0].env).task.contract
    logs = tuple(fly(folder / f"{n}.log", contract, n) for n in range(flights))
    return Started(folder / "student", logs, contract)


def fly(path: Path, contract: PolicyContract, seed: int) -> Path:
    """Writes a flight that pushes right where the picture is bright above, else left."""
    rng = np.random.default_rng(seed)
    with FlightLog(path, contract, "cart") as log:
        for k in range(30):
            right, now_s = rng.uniform() < 0.5, 0.01 * k
            image = np.full((SIDE, SIDE, 3), 60, np.uint8)
            image[: SIDE // 2] += np.uint8(100 * right)
            signals = {
                "position": rng.normal(size=1) * 0.1,
                "angle": np.array([1.0, 0.1]),
                "speeds": rng.normal(size=2),
            }
            reading = Reading(now_s, signals, {"fixed": image}, {"fixed": now_s})
            command = np.float32([0.8 if right else -0.8])
            log.append(Step(k, now_s, Mode.RUN, reading, command=command, phase=Phase.RUN))
    return path
