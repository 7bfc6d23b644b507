"""python -m train replay --run runs/teacher: replays NaN snapshots in two engines."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import tyro

from mjx_s2r.envs.registry import make_env
from mjx_s2r.io.run import RunError, read_settings
from mjx_s2r.sim.env import require_native
from mjx_s2r.sim.nan_replay import record_about, replay_snapshot, snapshot_files


@dataclass(frozen=True)
class ReplayConfig:
    """Settings of a replay."""

    run: Path = Path("runs/teacher")
    """Folder of the training."""
    task: str = ""
    """Name of the task; empty takes the one that the run was started with."""
    most: int = 5
    """Replay at most so many records, the oldest first."""


def task_of(run: Path) -> str:
    """Returns the task of a run, of one seed or of several.

    Raises:
        RunError: no run there, or one of another schema.
    """
    body = read_settings(run)
    whole = body["teacher"] if isinstance(body.get("teacher"), dict) else body
    if "task" not in whole:
        raise RunError(f"{run} is no run of a teacher; name the folder of one")
    return str(whole["task"])


def main(argv: Sequence[str]) -> int:
    """Replays the records of a run; returns the exit status.

    Raises:
        RunError: no run there.
        ParamError: a run in another library's environment.
    """
    config = tyro.cli(ReplayConfig, args=list(argv))
    task = config.task or task_of(config.run)
    found = snapshot_files(config.run)
    if not found:
        print(f"{config.run}: no world has ceased to be finite")
        return 0
    env = require_native(make_env(task))
    for record in found[: config.most]:
        about = record_about(record)
        print(replay_snapshot(env, record))
        print(f"  iteration {about['iteration']}, step {about['step']}, world {about['world']}")
        print("  " + ", ".join(f"{name} {value}" for name, value in about["xi"].items()))
    if len(found) > config.most:
        print(f"and {len(found) - config.most} more; --most {len(found)} replays them all")
    return 0
