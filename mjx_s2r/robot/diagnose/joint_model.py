"""The motion of one joint under its actuator: inertia, friction, gravity and a delay.

    effort:    q'' = k u(t - d) - D q' - C sign(q') - S sin(q) - K cos(q)
    position:  q'' = k (u(t - d) - q) - D q' - C sign(q') - S sin(q) - K cos(q)

All divided by the joint's inertia I: k is 1 / I or kp / I, D is b / I (and kd / I of a servo), C is
the dry friction c / I. A hinge's gravity is exactly S sin + K cos while the other joints stand
still; a slide's is the constant K. A joint at rest stays there while |q''| without friction is
below C (Coulomb). Commands hold from one to the next and act after the delay d, a real number.

Steps are of the midpoint rule, divided where a command arrives and where the speed passes through
zero, so that the result depends smoothly on every parameter, the delay too.
"""

import math
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np

DriveMode = Literal["effort", "position"]
PARAMETERS = ("drive", "damping", "dry", "sine", "cosine", "delay")
DRIVE, DAMPING, DRY, SINE, COSINE, DELAY = range(len(PARAMETERS))
FINE_S = 0.003  # longest step
LONG_S = 1e3  # how far the first and last command reach


@dataclass(frozen=True, eq=False)
class CommandSignal:
    """N commands that hold from one to the next, as their integral over time.

    Attributes:
        time_s: (N + 2,) when each begins, with one far before and one far after, s.
        integral: (N + 2,) of the commands up to then.
    """

    time_s: np.ndarray
    integral: np.ndarray

    @classmethod
    def of(cls, issue_s: np.ndarray, command: np.ndarray) -> "CommandSignal":
        """Takes (N,) when commands were sent, s, and (N,) their values."""
        times = np.concatenate([[issue_s[0] - LONG_S], issue_s, [issue_s[-1] + LONG_S]])
        values = np.concatenate([command[:1], command])
        return cls(times, np.concatenate([[0.0], np.cumsum(values * np.diff(times))]))

    def mean(self, edges_s: np.ndarray) -> np.ndarray:
        """Returns (..., M) the mean command between (..., M + 1) neighbouring times, s."""
        total = np.diff(np.interp(edges_s, self.time_s, self.integral))
        span = np.diff(edges_s)
        return total / np.where(span > 0, span, 1.0)


@dataclass(frozen=True, eq=False)
class Trials:
    """G trials of K readings of one joint, and the commands of the flight that they are cut from.

    Attributes:
        mode: what a command is.
        hinge: whether the joint turns.
        command: of the whole flight.
        time_s: (G, K) of the readings; the last one repeats behind the end of a shorter trial.
        position: (G, K) readings, rad or m.
        seen: (G, K) which readings there are.
        start: (G, 2) position and speed at each trial's first reading, as seen up to then.
        start_std: (G, 2) how sure that is; inf knows nothing.
        noise: deviation of one reading.
    """

    mode: DriveMode
    hinge: bool
    command: CommandSignal
    time_s: np.ndarray
    position: np.ndarray
    seen: np.ndarray
    start: np.ndarray
    start_std: np.ndarray
    noise: float

    def __len__(self) -> int:
        """Number of trials, G."""
        return len(self.time_s)

    def some(self, chosen: np.ndarray) -> "Trials":
        """Returns the trials of an index array."""
        return replace(
            self,
            time_s=self.time_s[chosen],
            position=self.position[chosen],
            seen=self.seen[chosen],
            start=self.start[chosen],
            start_std=self.start_std[chosen],
        )


def simulate(trials: Trials, theta: np.ndarray, start: np.ndarray) -> np.ndarray:
    """Returns (V, G, K) positions at the readings' times, of V variants of the parameters.

    Args:
        trials: what is simulated.
        theta: (V, 6) in the order of `PARAMETERS`.
        start: (V, G, 2) position and speed at each trial's first reading.
    """
    edges, which = _edges(trials, theta[:, DELAY])
    fine = edges.shape[-1] // (trials.time_s.shape[1] - 1)
    late = edges - np.unique(theta[:, DELAY])[:, None, None]
    drive = np.moveaxis(trials.command.mean(late), 2, 0)[:, which]  # (M, V, G)
    step_s = np.moveaxis(np.diff(edges), 2, 0)[:, which]
    advance = _Advance(trials, theta)
    position, speed = start[..., 0].copy(), start[..., 1].copy()
    found = np.empty((len(theta), *trials.time_s.shape))
    found[..., 0] = position
    with np.errstate(over="ignore", invalid="ignore"):  # of parameters that are far off
        for m in range(len(step_s)):
            position, speed = advance(position, speed, drive[m], step_s[m])
            if (m + 1) % fine == 0:
                found[..., (m + 1) // fine] = position
    return found


def _edges(trials: Trials, delay_s: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Returns (U, G, M + 1) the ends of all steps for each of the U delays, and whose (V,).

    Between two readings there are as many steps before the arrival of the next command as after it.
    """
    delays, which = np.unique(delay_s, return_inverse=True)
    begin, end = trials.time_s[:, :-1], trials.time_s[:, 1:]
    count = max(1, math.ceil(float(np.max(end - begin, initial=0.0)) / FINE_S - 1e-6))
    issued = trials.command.time_s
    sent = issued[np.searchsorted(issued, begin - delays[:, None, None], side="right")]
    arrival = np.clip(sent + delays[:, None, None], begin, end)
    share = np.arange(count) / count
    before = begin[..., None] + (arrival - begin)[..., None] * share
    after = arrival[..., None] + (end - arrival)[..., None] * share
    edges = np.concatenate([before, after], axis=-1).reshape(len(delays), len(trials), -1)
    last = np.broadcast_to(trials.time_s[:, -1:], (len(delays), len(trials), 1))
    return np.concatenate([edges, last], axis=2), which


class _Advance:
    """One step of every variant and trial; arrays are (V, G)."""

    def __init__(self, trials: Trials, theta: np.ndarray) -> None:
        """Takes mode, kind of joint and the parameters (V, 6)."""
        columns = theta.T[..., None]
        self._drive, self._damping, self._dry, self._sine, self._cosine, _ = columns
        self._servo, self._hinge = trials.mode == "position", trials.hinge
        self._pulls = bool((theta[:, SINE:DELAY] != 0).any())

    def _net(self, position: np.ndarray, speed: np.ndarray, drive: np.ndarray) -> np.ndarray:
        """Returns the acceleration without dry friction."""
        error = drive - position if self._servo else drive
        net = self._drive * error - self._damping * speed
        if not self._pulls:
            return net
        if not self._hinge:
            return net - self._cosine
        return net - self._sine * np.sin(position) - self._cosine * np.cos(position)

    def __call__(
        self, position: np.ndarray, speed: np.ndarray, drive: np.ndarray, step_s: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray]:
        """Returns position and speed after steps (V, G), s."""
        net = self._net(position, speed, drive)
        way = np.where(
            speed != 0, np.sign(speed), np.where(np.abs(net) > self._dry, np.sign(net), 0)
        )
        half = 0.5 * step_s
        first = (net - self._dry * way) * (way != 0)
        middle = self._net(position + half * speed, speed + half * first, drive)
        change = (middle - self._dry * way) * (way != 0)
        after = speed + step_s * change
        there = position + step_s * (speed + half * change)
        turned = way * after < 0
        if turned.any():
            until = np.where(turned, -speed / np.where(change != 0, change, 1.0), 0.0)
            stop = position + 0.5 * speed * until
            net = self._net(stop, np.zeros_like(stop), drive)
            away = np.where(np.abs(net) > self._dry, net - self._dry * np.sign(net), 0.0)
            left = step_s - until
            after = np.where(turned, away * left, after)
            there = np.where(turned, stop + 0.5 * away * left**2, there)
        return there, after
