"""The folder of one run: flights/ROBOT/DATE-N with logs, checklist.json and summary.json."""

import json
import platform
from collections.abc import Mapping
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path
from typing import Any

from mjx_s2r.robot.plain_json import plain_json
from mjx_s2r.robot.stages import write_whole
from mjx_s2r.robot.state_folder import plain_name

LIBRARIES = ("mjx_s2r", "numpy", "onnxruntime")


def utc_now() -> str:
    """Returns the time of day, UTC, to the second."""
    return datetime.now(UTC).isoformat(timespec="seconds")


def new_folder(flights: Path, robot: str) -> Path:
    """Returns a folder that did not exist, numbered within today."""
    today = datetime.now(UTC).date().isoformat()
    parent = flights / plain_name(robot)
    parent.mkdir(parents=True, exist_ok=True)
    number = 1
    while True:
        folder = parent / f"{today}-{number}"
        try:
            folder.mkdir()
            return folder
        except FileExistsError:
            number += 1


def write_record(path: Path, body: Mapping[str, Any]) -> None:
    """Writes JSON as a whole; a number that is not finite becomes its name."""
    write_whole(path, json.dumps(plain_json(body, str), indent=1, allow_nan=False) + "\n")


def about_machine() -> dict[str, Any]:
    """Returns what a flight must carry to be compared: machine, system, versions."""
    versions = {"python": platform.python_version()}
    for name in LIBRARIES:
        try:
            versions[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return {
        "machine": platform.machine(),
        "system": f"{platform.system()} {platform.release()}",
        "host": platform.node(),
        "versions": versions,
    }
