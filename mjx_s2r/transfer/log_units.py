"""Units that logs come in, and their size in SI units."""

import math

from mjx_s2r.params.param import unknown
from mjx_s2r.transfer.recording import RecordingError

# unit -> (what it measures, its size in SI units); a "counts" unit is one turn / counts_per_turn
LOG_UNITS: dict[str, tuple[str, float]] = {
    "rad": ("angle", 1.0),
    "mrad": ("angle", 1e-3),
    "deg": ("angle", math.pi / 180),
    "turn": ("angle", 2 * math.pi),
    "counts": ("angle", 2 * math.pi),
    "m": ("length", 1.0),
    "cm": ("length", 1e-2),
    "mm": ("length", 1e-3),
    "rad/s": ("rate", 1.0),
    "mrad/s": ("rate", 1e-3),
    "deg/s": ("rate", math.pi / 180),
    "turn/s": ("rate", 2 * math.pi),
    "rpm": ("rate", 2 * math.pi / 60),
    "counts/s": ("rate", 2 * math.pi),
    "m/s": ("speed", 1.0),
    "cm/s": ("speed", 1e-2),
    "mm/s": ("speed", 1e-3),
    "N m": ("torque", 1.0),
    "mN m": ("torque", 1e-3),
    "N cm": ("torque", 1e-2),
    "kg cm": ("torque", 0.0980665),
    "N": ("force", 1.0),
    "kN": ("force", 1e3),
    "1": ("1", 1.0),
    "m/s^2": ("acceleration", 1.0),
    "g": ("acceleration", 9.80665),
}
SI = {
    "angle": "rad",
    "length": "m",
    "rate": "rad/s",
    "speed": "m/s",
    "torque": "N m",
    "force": "N",
    "acceleration": "m/s^2",
    "1": "1",
}
SPECIAL = ("percent", "calibrated")  # units that need more than a factor


def dimension_of(unit: str, where: str) -> str:
    """Returns what a unit measures; "" for the unit "".

    Raises:
        RecordingError: an unknown unit.
    """
    if unit and unit not in LOG_UNITS:
        raise RecordingError(f"{where}: {unknown('unit', unit, [*LOG_UNITS, *SPECIAL])}")
    return LOG_UNITS[unit][0] if unit else ""
