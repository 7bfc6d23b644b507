"""Robots for the command line's tests, as a person would write their own: module:factory."""

from dataclasses import replace
from pathlib import Path
from typing import ClassVar

import numpy as np

from mjx_s2r.robot.driver import DriverInfo, Reading, TaskRules
from mjx_s2r.robot.drivers.named import DriverOrder
from mjx_s2r.robot.state_folder import BusyError, only_one, state_folder
from mjx_s2r.robot.verdict import DISTANCE, LOST, ON_GOAL
from tests.robot.fakes import JOINTS, FakeDriver, contract_for, reading_at


def arm(order: DriverOrder) -> FakeDriver:
    """Returns a robot that goes where it is told."""
    contract = order.contract
    return FakeDriver(
        contract if contract.action.joints == JOINTS else contract_for(), order.clock.now_s
    )


def noisy(order: DriverOrder) -> FakeDriver:
    """Returns a robot with a real sensor's noise."""
    robot, rng = arm(order), np.random.default_rng(0)

    def read(reading: Reading) -> Reading:
        signals = {k: v + 1e-3 * rng.standard_normal(2) for k, v in reading.signals.items()}
        return Reading(reading.time_s, signals, reading.images, reading.image_time_s)

    robot.on_read = read
    return robot


def in_degrees(order: DriverOrder) -> FakeDriver:
    """Returns a robot whose driver forgot to convert."""
    robot = arm(order)
    robot.on_read = lambda r: reading_at(
        r.time_s, robot.contract, joint_pos=np.rad2deg(robot.position)
    )
    return robot


def breaks(order: DriverOrder) -> FakeDriver:
    """Returns a robot whose bus fails at the fifth command."""
    robot = arm(order)

    def write(command: np.ndarray) -> None:
        if len(robot.commands) == 5:
            raise OSError("bus: no answer from motor 3")

    robot.on_write = write
    return robot


def presses(order: DriverOrder) -> FakeDriver:
    """Returns a robot at whose fifth command somebody makes the file "stop" here."""
    robot = arm(order)

    def write(command: np.ndarray) -> None:
        if len(robot.commands) == 5:
            Path("stop").touch()

    robot.on_write = write
    return robot


def presses_and_fails(order: DriverOrder) -> FakeDriver:
    """Returns the robot of `presses`, whose stop fails from then on."""
    robot = presses(order)

    def stop() -> None:
        if Path("stop").exists():
            raise OSError("bus: no answer")

    robot.on_stop = stop
    return robot


class Closing(FakeDriver):
    """A robot that writes down whether another process could take it while it is closed."""

    def close(self) -> None:
        """Tries to take the robot's lock."""
        try:
            with only_one(state_folder("fake")):
                Path("closed").write_text("free")
        except BusyError:
            Path("closed").write_text("held")


def closing(order: DriverOrder) -> Closing:
    """Returns the robot of an order."""
    return Closing(order.contract, order.clock.now_s)


class Knowing(FakeDriver):
    """A stand-in that knows its task: the goal holds from the tenth command of an episode on."""

    def describe(self) -> DriverInfo:
        """Returns the data sheet, with the task's rules."""
        info = super().describe()
        signals = {**info.signals, ON_GOAL: 1, LOST: 1, DISTANCE: 1}
        return replace(info, signals=signals, task=TaskRules(episode_s=1.0, hold_s=0.1))

    def begin_episode(self, number: int) -> None:
        """Begins at zero; the second episode is lost."""
        self.commands, self.position = [], np.zeros(2)
        self.is_lost = number == 2
        with Path("begun").open("a") as file:
            file.write(f"{number} ")

    def read(self) -> Reading:
        """Returns the position, and what the task says."""
        reading, count = super().read(), len(self.commands)
        told = {
            ON_GOAL: count >= 10,
            LOST: self.is_lost and count >= 5,
            DISTANCE: 0.5 / (1 + count),
        }
        signals = {name: np.array([value], float) for name, value in told.items()}
        return replace(reading, signals={**reading.signals, **signals})


def knowing(order: DriverOrder) -> Knowing:
    """Returns the stand-in of an order."""
    robot = Knowing(order.contract, order.clock.now_s)
    robot.begin_episode(1)
    return robot


class Leader:
    """A leading arm with LeRobot's methods."""

    def connect(self) -> None:
        """Does nothing."""

    def disconnect(self) -> None:
        """Does nothing."""

    def get_action(self) -> dict[str, float]:
        """Returns a pose."""
        return {"a.pos": 0.5, "b.pos": -0.5}


class LeRobotLeader(Leader):
    """One of LeRobot's own, which shows -100 to 100."""

    action_features: ClassVar = {"left.pos": float, "right.pos": float}

    def get_action(self) -> dict[str, float]:
        """Returns a pose."""
        return {"left.pos": 35.2, "right.pos": -12.0}
