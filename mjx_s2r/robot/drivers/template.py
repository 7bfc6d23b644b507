"""A driver to copy: replace `ServoBus` by your robot's library and the numbers by its data sheet.

Then try it: ``mjx-s2r-robot check --driver my_robot:MyRobot``, or in Python
`mjx_s2r.robot.drivers.conformance.check_driver`. docs/own_driver.md says what to watch for.
"""

import math
import time

import numpy as np

from mjx_s2r.robot.driver import DriverError, DriverInfo, Reading

JOINTS = ("shoulder", "elbow", "wrist")
COUNTS = 4096 / (2 * math.pi)  # of the encoders, per rad
MIDDLE = 2048  # the count at 0 rad
CREEP = 0.01  # rad, by which a joint at rest may move


class ServoBus:
    """Stands for the maker's library: servos that go where they are told, in counts."""

    def __init__(self) -> None:
        """Starts in the middle."""
        self.counts = np.full(len(JOINTS), MIDDLE)

    def goal(self, counts: np.ndarray) -> None:
        """Sends goal positions."""
        self.counts = counts

    def positions(self) -> np.ndarray:
        """Returns the present positions."""
        return self.counts.copy()


class MyRobot:
    """A robot; implements `mjx_s2r.robot.driver.Driver`."""

    def __init__(self) -> None:
        """Opens nothing: `describe` may be called on a robot that is switched off."""
        self._bus: ServoBus | None = None
        self._last = np.zeros(len(JOINTS)), 0.0
        self._rest = np.zeros(len(JOINTS))

    def describe(self) -> DriverInfo:
        """Returns the data sheet, in the units of the policy: rad, rad/s, N m."""
        return DriverInfo(
            name="my robot",
            joints=JOINTS,  # the policy's names, in the order of `write`
            command="position",
            unit="rad",
            low=(-1.6, -1.6, -2.0),
            high=(1.6, 1.6, 2.0),
            max_rate=(3.0, 3.0, 6.0),
            max_effort=(2.9, 2.9, 1.5),
            max_hz=200.0,
            signals={"joint_pos": 3, "joint_vel": 3},
            timeout_s=math.inf,  # the servos' own, if they have one
        )

    def connect(self) -> None:
        """Opens the bus; nothing moves."""
        self._bus = self._bus or ServoBus()
        self._last = self._angles(self._bus), time.monotonic()
        self._rest = self._last[0]

    def read(self) -> Reading:
        """Returns the positions, and speeds from their difference, with the time they were read."""
        position, now_s = self._angles(self._open()), time.monotonic()
        velocity = (position - self._last[0]) / max(now_s - self._last[1], 1e-3)
        self._last = position, now_s
        return Reading(now_s, {"joint_pos": position, "joint_vel": velocity})

    def write(self, command: np.ndarray) -> None:
        """Sends a command (J,) exactly, or raises; what is clipped the policy never learns.

        A joint that rested beyond its end when it was held last may stay there, and come back.
        """
        info, rest = self.describe(), self._rest
        if np.shape(command) != (len(JOINTS),) or not np.all(np.isfinite(command)):
            raise ValueError(f"command {command} must be {len(JOINTS)} finite numbers")
        low = np.where(rest < info.low, rest - CREEP, info.low)
        high = np.where(rest > info.high, rest + CREEP, info.high)
        if np.any(command < low) or np.any(command > high):
            raise ValueError(f"command {command} is outside {low} to {high}")
        self._open().goal(np.round(command * COUNTS + MIDDLE).astype(int))

    def stop(self) -> None:
        """Holds the joints where they are; safe before `connect`, twice, and after a failure."""
        if self._bus is not None:
            self._bus.goal(self._bus.positions())
            self._rest = self._angles(self._bus)

    def close(self) -> None:
        """Stops and lets go of the bus; safe to call twice."""
        self.stop()
        self._bus = None

    def _open(self) -> ServoBus:
        """Returns the bus, if it is open."""
        if self._bus is None:
            raise DriverError("the robot is not connected; call connect first")
        return self._bus

    @staticmethod
    def _angles(bus: ServoBus) -> np.ndarray:
        """Returns the positions (J,), rad."""
        return (bus.positions() - MIDDLE) / COUNTS
