"""python -m train replay --run runs/teacher: what became not finite, once more in two engines."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import tyro

from envs.tasks import make_task
from mjx_s2r.runs import CONFIG, RunError
from mjx_s2r.sim.env import make
from mjx_s2r.sim.quarantine import record_about, records, replay


@dataclass(frozen=True)
class ReplayConfig:
    """Settings of a replay."""

    run: Path = Path("runs/teacher")
    """Folder of the training."""
    task: str = ""
    """Name of the task; empty takes the one that the run was started with."""
    most: int = 5
    """Replay at most so many records, the oldest first."""


def main(argv: Sequence[str]) -> int:
    """Replays the records of a run; returns the exit status."""
    config = tyro.cli(ReplayConfig, args=list(argv))
    found = records(config.run)
    if not found:
        print(f"{config.run}: no world has ceased to be finite")
        return 0
    if not config.task and not (config.run / CONFIG).exists():
        raise RunError(f"{config.run} holds no {CONFIG}; name the task with --task")
    task = config.task or str(json.loads((config.run / CONFIG).read_text())["task"])
    env = make(make_task(task))
    for record in found[: config.most]:
        about = record_about(record)
        print(replay(env, record))
        print(f"  iteration {about['iteration']}, step {about['step']}, world {about['world']}")
        print("  " + ", ".join(f"{name} {value}" for name, value in about["xi"].items()))
    if len(found) > config.most:
        print(f"and {len(found) - config.most} more; --most {len(found)} replays them all")
    return 0
