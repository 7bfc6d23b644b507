"""A robot's log as identification reads it: what was commanded and what was measured, on one clock.

Every reader (`mjx_s2r.transfer.readers`) makes these; nothing after them knows the file's format.
Row t holds what was read at ``time_s[t]`` and the command that was issued then, which holds until
the next row. It knows no simulator and no jax.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

import numpy as np

ChannelKind = Literal["joint_pos", "joint_vel", "sensor"]
CommandMode = Literal["position", "velocity", "effort"]


class RecordingError(ValueError):
    """A log that cannot be used; the message names file, row or column, and the remedy."""


@dataclass(frozen=True)
class Channel:
    """What one column of readings measures.

    Attributes:
        kind: a joint's position or velocity, or one number of a sensor of the MuJoCo model.
        element: name of the joint or of the sensor.
        column: which number of the sensor.
        unit: rad or m, rad/s or m/s, or the sensor's own.
    """

    kind: ChannelKind
    element: str
    column: int = 0
    unit: str = "rad"

    def __str__(self) -> str:
        """Returns the name that messages and reports call it by."""
        return f"{self.kind} {self.element}" + (f"[{self.column}]" if self.column else "")


@dataclass(frozen=True, eq=False)
class Recording:
    """One uninterrupted stretch of a log: T rows, J commanded joints, C channels.

    Attributes:
        name: file, and which stretch of it, for messages.
        time_s: (T,) rising, s.
        joints: (J,) names of the commanded joints or of their actuators.
        mode: what a command is.
        commands: (T, J) rad, m, rad/s, m/s, N m or N; NaN where nothing was commanded.
        driven: (T,) False where the actuators were switched off.
        channels: (C,) what was measured.
        readings: (T, C) NaN where nothing was read.
        constants: numbers of the log's head that enter its model before the rows do, by
            "array.element" (e.g. "actuator_kp.servo"), see `mjx_s2r.transfer.mapping`.
        held_out: whether it is kept for judging the fit.
        own_control: of the joints, those whose effort is no N m or N but the control of the
            actuator itself, a share of its force.
    """

    name: str
    time_s: np.ndarray
    joints: tuple[str, ...]
    mode: CommandMode
    commands: np.ndarray
    driven: np.ndarray
    channels: tuple[Channel, ...]
    readings: np.ndarray
    constants: Mapping[str, float] = field(default_factory=dict)
    held_out: bool = False
    own_control: tuple[str, ...] = ()

    def __len__(self) -> int:
        """Number of rows, T."""
        return len(self.time_s)

    @property
    def seconds(self) -> float:
        """How long it lasts, s."""
        return float(self.time_s[-1] - self.time_s[0])


def held_commands(commands: np.ndarray) -> np.ndarray:
    """Returns (T, J) commands in which a missing one is the one before; NaN before the first."""
    out = commands.copy()
    for j in range(out.shape[1]):
        known = np.isfinite(out[:, j])
        last = np.maximum.accumulate(np.where(known, np.arange(len(out)), -1))
        out[:, j] = np.where(last >= 0, out[np.maximum(last, 0), j], np.nan)
    return out
