"""The last check of a command, in the watchdog: inside what contract and robot allow, or refused.

The guard in the controller limits commands; this one changes none. What it sees is what a broken
controller would send: not finite, outside of the range, or a jump. Speed is judged by a leaky
bucket: commands may travel max_rate times the time, and `BURST` control periods' worth at once, so
that a loop's jitter costs nothing while a jump is seen (the generic cell rate algorithm, ITU-T
I.371, with motion for cells).
"""

import math

import numpy as np

from mjx_s2r.contract import PolicyContract
from mjx_s2r.robot.driver import SLACK, DriverInfo, fastest_change, largest_lag

BURST = 2.0
REACH = 0.05  # how far the first command may lie from the measured joints, rad or m
SAG_S = 0.2  # at the top speed: how far a servo of unknown gain may sag below its command


class CommandJudge:
    """The limits of one policy on one robot, (J,) each."""

    def __init__(self, contract: PolicyContract, info: DriverInfo) -> None:
        """Takes the limits of contract and robot, whichever is narrower."""
        action = contract.action
        self._joints, self._servo = action.joints, info.command == "position"
        low, high = np.array(action.low, float), np.array(action.high, float)
        most = np.minimum(action.max_effort, info.max_effort)
        bounds = (info.low, info.high) if self._servo else (-most, most)
        self._low, self._high = np.maximum(low, bounds[0]), np.minimum(high, bounds[1])
        self._rate = fastest_change(contract, info)
        self._most_s = BURST / contract.control_hz
        self._room = self._rate * self._most_s
        sag = largest_lag(contract, info)
        self._sag = np.where(np.isfinite(sag), sag, SAG_S * self._rate)
        self._last: np.ndarray | None = None
        self._last_s = -math.inf
        self._is_first = True

    def rest(self) -> None:
        """Notes that the robot was stopped, so that the next command is a first one again."""
        self._is_first = True

    def judge(self, command: np.ndarray, sent_s: float, measured: np.ndarray | None) -> str:
        """Returns what is wrong with a command (J,), or "" and takes it for the last one.

        Args:
            command: what is to be sent.
            sent_s: when the controller sent it, s.
            measured: (J,) joint positions now; None where the robot reports none.
        """
        if not np.all(np.isfinite(command)):
            return self._said(~np.isfinite(command), command, "is not finite")
        known = [x for x in (self._last, measured) if x is not None] if self._servo else []
        full = self._rate * self._most_s
        elapsed_s = min(max(sent_s - self._last_s, 0.0), self._most_s)
        self._room = (
            full if self._is_first else np.minimum(self._room + self._rate * elapsed_s, full)
        )
        self._last_s = sent_s
        wrong = self._range(command, known)
        wrong = wrong or (self._first(command, measured) if self._is_first else self._step(command))
        if not wrong:
            if not self._is_first and self._last is not None and not self._is_rest(command):
                travel = np.where(np.isfinite(self._rate), np.abs(command - self._last), 0.0)
                self._room = self._room - travel
            self._last, self._is_first = command.copy(), False
        return wrong

    def _range(self, command: np.ndarray, known: list[np.ndarray]) -> str:
        """Returns which joint is out of range; one that is there already may stay or come back."""
        low = np.min([self._low, *known], axis=0)
        high = np.max([self._high, *known], axis=0)
        slack = SLACK * np.maximum(1.0, np.abs(command)) + (REACH if self._is_first else 0.0) * (
            self._servo and bool(known)
        )
        outside = (command < low - slack) | (command > high + slack)
        limits = f"is outside {np.round(low, 4).tolist()} to {np.round(high, 4).tolist()}"
        return self._said(outside, command, limits) if outside.any() else ""

    def _first(self, command: np.ndarray, measured: np.ndarray | None) -> str:
        """Returns which joint would jump from where it is.

        What it was told last it may be told again, where it is no farther from that than it sags
        under its largest load. Where nothing is measured, that is all there is to judge by.
        """
        here = self._last if measured is None else measured
        if here is None or not self._servo:
            return ""
        near, off = self._room + REACH, np.abs(command - here)
        far = off > near
        if self._last is not None:
            far &= (np.abs(command - self._last) > near) | (off > self._sag)
        return self._said(far, command, "jumps from where the joint is") if far.any() else ""

    def _step(self, command: np.ndarray) -> str:
        """Returns which joint's command changes faster than is allowed."""
        assert self._last is not None
        if self._is_rest(command):
            return ""
        fast = np.abs(command - self._last) > self._room * (1 + 1e-3) + 1e-5
        said = f"jumps from {np.round(self._last, 4).tolist()}"
        return self._said(fast, command, said) if fast.any() else ""

    def _is_rest(self, command: np.ndarray) -> bool:
        """Returns whether a command takes every effort away, as a guard that holds does at once."""
        return not (self._servo or command.any())

    def _said(self, wrong: np.ndarray, command: np.ndarray, what: str) -> str:
        """Returns the finding on the first joint that is wrong."""
        joint = int(np.argmax(wrong))
        return f"command {command[joint]:.6g} of joint {self._joints[joint]!r} {what}"
