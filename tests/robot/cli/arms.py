"""Robots for the command line's tests, as a person would write their own: module:factory."""

import numpy as np

from mjx_s2r.contract import PolicyContract
from mjx_s2r.robot.clock import Clock
from mjx_s2r.robot.driver import Reading
from tests.robot.fakes import FakeDriver, contract_for, reading_at


def arm(contract: PolicyContract | None, clock: Clock) -> FakeDriver:
    """Returns a robot that goes where it is told."""
    return FakeDriver(contract or contract_for(), clock.now_s)


def noisy(contract: PolicyContract | None, clock: Clock) -> FakeDriver:
    """Returns a robot with a real sensor's noise."""
    robot, rng = arm(contract, clock), np.random.default_rng(0)

    def read(reading: Reading) -> Reading:
        signals = {k: v + 1e-3 * rng.standard_normal(2) for k, v in reading.signals.items()}
        return Reading(reading.time_s, signals, reading.images, reading.image_time_s)

    robot.on_read = read
    return robot


def in_degrees(contract: PolicyContract | None, clock: Clock) -> FakeDriver:
    """Returns a robot whose driver forgot to convert."""
    robot = arm(contract, clock)
    robot.on_read = lambda r: reading_at(
        r.time_s, robot.contract, joint_pos=np.rad2deg(robot.position)
    )
    return robot


def breaks(contract: PolicyContract | None, clock: Clock) -> FakeDriver:
    """Returns a robot whose bus fails at the fifth command."""
    robot = arm(contract, clock)

    def write(command: np.ndarray) -> None:
        if len(robot.commands) == 5:
            raise OSError("bus: no answer from motor 3")

    robot.on_write = write
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
