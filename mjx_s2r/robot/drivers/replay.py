"""A flight log in place of a robot: its readings come again, at their times.

Nothing moves: what was read was read. So `write` refuses, unless the driver was made for a dry run,
which keeps the commands and changes nothing. To compare a policy with a log, use
`mjx_s2r.robot.replay`.
"""

from collections.abc import Iterator
from dataclasses import replace

import numpy as np

from mjx_s2r.contract import ContractError
from mjx_s2r.robot.clock import Clock
from mjx_s2r.robot.driver import DriverInfo, Reading
from mjx_s2r.robot.log import Flight, Step
from mjx_s2r.robot.log.reader import data_sheet_of


class ReplayDriver:
    """A log as a robot; implements `mjx_s2r.robot.driver.Driver`.

    After its end the log gives its last reading for ever, with the stamp that it had, so that a
    controller sees a robot that fell silent.
    """

    def __init__(self, flight: Flight, clock: Clock, *, dry_run: bool = False) -> None:
        """Takes an opened log.

        Args:
            flight: the log.
            clock: of the controller; the first reading comes when `connect` is called.
            dry_run: whether `write` keeps commands, in ``commands``, where it would refuse.

        Raises:
            ContractError: a log without a reading.
        """
        self._flight, self._clock, self._dry_run = flight, clock, dry_run
        if next(_with_reading(flight), None) is None:
            raise ContractError(f"the log of {flight.robot!r} holds no reading to replay")
        self.commands: list[np.ndarray] = []
        self._steps: Iterator[Step] = iter(())
        self._now: Step | None = None
        self._next: Step | None = None
        self._shift_s = 0.0

    def describe(self) -> DriverInfo:
        """Returns the robot's data sheet as the log holds it, or what the contract implies.

        It judges no task, whatever that robot did: here nothing follows from the commands.
        """
        known = self._flight.driver or data_sheet_of(self._flight.contract, self._flight.robot)
        return replace(known, task=None)

    def connect(self) -> None:
        """Begins with the first reading, as if it had been taken now."""
        self._steps = _with_reading(self._flight)
        self._now = next(self._steps)
        self._next = next(self._steps, None)
        self._shift_s = self._clock.now_s() - self._now.time_s

    def read(self) -> Reading:
        """Returns the log's newest reading by now, its stamps moved into the clock's time.

        Raises:
            ContractError: not connected.
        """
        if self._now is None:
            raise ContractError("the log was not opened; call connect first")
        now_s = self._clock.now_s() - self._shift_s + 1e-9
        while self._next is not None and self._next.time_s <= now_s:
            self._now, self._next = self._next, next(self._steps, None)
        assert self._now.reading is not None
        return _moved(self._now.reading, self._shift_s)

    def write(self, command: np.ndarray) -> None:
        """Keeps a command of a dry run.

        Raises:
            ContractError: no dry run; a log does not move.
        """
        if not self._dry_run:
            raise ContractError(
                "a flight log cannot move; compare a policy with it by replay, or make the driver "
                "with dry_run=True to throw commands away"
            )
        self.commands.append(np.array(command))

    def stop(self) -> None:
        """Does nothing; nothing moves."""

    def close(self) -> None:
        """Ends the replay; `connect` begins it anew."""
        self._now = self._next = None


def _with_reading(flight: Flight) -> Iterator[Step]:
    """Yields the steps that hold a reading."""
    return (step for step in flight.steps if step.reading is not None)


def _moved(reading: Reading, shift_s: float) -> Reading:
    """Returns a reading with its stamps moved; those that are no numbers stay."""
    return replace(
        reading,
        time_s=_shifted(reading.time_s, shift_s),
        image_time_s={n: _shifted(t, shift_s) for n, t in reading.image_time_s.items()},
    )


def _shifted(stamp_s: float, shift_s: float) -> float:
    """Returns a stamp, moved."""
    return stamp_s + shift_s if isinstance(stamp_s, int | float) else stamp_s
