"""Where the things of a scene are in each flight: what pictures need and no encoder tells.

A JSON file, name of the log -> body -> [x, y, z] or [x, y, z, qw, qx, qy, qz], metres in the
world's frame. For stand-ins it is written beside their logs; for a robot somebody measures it, e.g.

    {"monday_1.flight": {"cube": [0.21, -0.05, 0.02]}}
"""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import mujoco
import numpy as np

from mjx_s2r.io.config import ConfigError
from mjx_s2r.params import ParamError
from mjx_s2r.robot.drivers.mujoco_wiring import place_body

Objects = Mapping[str, tuple[float, ...]]  # body -> position (3,), m, and quaternion (4,)


def read_objects(path: Path, mj_model: mujoco.MjModel) -> dict[str, Objects]:
    """Reads where things are, by the name of the log.

    Raises:
        ConfigError: a file in another form; a body that the model does not have or that cannot be
            put anywhere.
    """
    try:
        body = json.loads(path.read_text())
    except (OSError, ValueError) as error:
        raise ConfigError(f"objects {path} cannot be read as JSON: {error}") from error
    form = 'write {"NAME.flight": {"body": [x, y, z, qw, qx, qy, qz]}}'
    if not isinstance(body, dict):
        raise ConfigError(f"objects {path}: {form}")
    out: dict[str, Objects] = {}
    for log, places in body.items():
        if not isinstance(places, dict):
            raise ConfigError(f"objects {path}, {log!r}: {form}")
        out[log] = {name: _pose(f"{path}, {log!r}, {name!r}", x) for name, x in places.items()}
        scratch = mujoco.MjData(mj_model)
        try:
            put_objects(mj_model, scratch, out[log])
        except (ParamError, ValueError) as error:
            raise ConfigError(f"objects {path}, {log!r}: {error}") from error
    return out


def _pose(where: str, value: Any) -> tuple[float, ...]:
    """Returns a pose of seven numbers."""
    numbers = isinstance(value, list) and all(
        isinstance(x, int | float) and np.isfinite(x) for x in value
    )
    if not numbers or len(value) not in (3, 7):
        raise ConfigError(
            f"objects {where}: {value!r} must be [x, y, z] or [x, y, z, qw, qx, qy, qz]"
        )
    return tuple(map(float, value)) + (() if len(value) == 7 else (1.0, 0.0, 0.0, 0.0))


def put_objects(mj_model: mujoco.MjModel, data: mujoco.MjData, objects: Objects) -> None:
    """Puts mocap and free bodies where they are.

    Raises:
        ParamError: no such body.
        ValueError: a body that is neither mocap nor free.
    """
    for name, pose in objects.items():
        place_body(mj_model, data, name, (pose[:3], pose[3:]))
