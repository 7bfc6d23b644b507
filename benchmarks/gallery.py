"""A place of the gallery from a run: python -m benchmarks.gallery --run runs/student --name reach.

Judges the run's exported policy on the stand-ins of its task, and on those of reality files, copies
it into the gallery and writes its card. Nothing is trained here; see docs/gallery.md.
"""

import shlex
import shutil
import sys
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import tyro

from mjx_s2r.api.gallery import CARD, FILE, GALLERY, Card, CardOutcome
from mjx_s2r.api.robots import EvaluateConfig, evaluate_on_robots, performance
from mjx_s2r.api.student import StudentConfig
from mjx_s2r.api.teacher import TeacherConfig
from mjx_s2r.contract import PolicyContract
from mjx_s2r.envs.registry import make_task, robots_of
from mjx_s2r.io.config import to_dict
from mjx_s2r.io.run import METRICS, is_student, read_config, read_jsonl, write_json
from mjx_s2r.params import ParamSpace
from mjx_s2r.robot.policy import Policy
from mjx_s2r.runtime import devices


@dataclass(frozen=True)
class GalleryConfig:
    """Settings of a place."""

    run: Path
    """Run of the policy, with its policy.onnx."""
    name: str
    """What it is called."""
    commands: tuple[str, ...]
    """The commands that made it."""
    goal: str = ""
    """What counts as a success, a sentence; empty: what the task's robots say."""
    task: str = ""
    """Its task, a name or module:Class; empty: the name in the policy's contract."""
    commit: str = ""
    """Commit that trained it; empty: this one."""
    count: int = 20
    """Robots of each kind."""
    episodes: int = 5
    """Episodes on each robot."""
    realities: tuple[Path, ...] = ()
    """Reality files of further kinds."""
    note: str = ""
    """What else must be known."""


def main(config: GalleryConfig) -> None:
    """Judges, copies and writes."""
    devices.configure()
    devices.import_mjx_quietly()
    run, path = config.run, config.run / FILE
    contract = Policy.load(path).contract
    name = config.task or contract.task
    task = make_task(name)
    folder = GALLERY / config.name
    folder.mkdir(parents=True, exist_ok=True)
    shutil.copy2(path, folder / FILE)
    outcomes = tuple(_judged(config, folder, name, file) for file in (None, *config.realities))
    suite = robots_of(name)
    facts = devices.describe()
    student = is_student(run)
    taught = [read_config(StudentConfig, run).teacher] if student else []
    seed = read_config(StudentConfig, run).seed if student else read_config(TeacherConfig, run).seed
    card = Card(
        task=name,
        goal=config.goal or (suite.GOAL if suite else f"The goal holds for {task.hold_s:g} s."),
        reads=_reads(contract),
        ranges=trained_on(contract, task.space),
        engine=contract.engine,
        steps=sum(_steps(each) for each in (run, *taught)),
        seed=seed,
        commands=config.commands,
        outcomes=outcomes,
        commit=config.commit or str(facts["commit"]),
        machine=f"{facts['cpu']}, one core of {facts['cores']}, no accelerator",
        versions=dict(facts["versions"]),
        note=config.note,
    )
    write_json(folder / CARD, to_dict(card))
    print(f"{folder}: {'; '.join(o.words for o in outcomes)}")


def _judged(config: GalleryConfig, folder: Path, task: str, reality: Path | None) -> CardOutcome:
    """Returns what the policy does on one kind of robots."""
    settings = EvaluateConfig(
        policy=folder / FILE,
        task=task,
        reality=reality,
        count=config.count,
        episodes=config.episodes,
        films=0,
    )
    found = performance(evaluate_on_robots(settings))
    words = [
        "python",
        "-m",
        "train",
        "evaluate",
        "--policy",
        f"mjx_s2r/gallery/{config.name}/{FILE}",
    ]
    words += ["--task", task, "--count", str(config.count), "--episodes", str(config.episodes)]
    words += [] if reality is None else ["--reality", str(reality)]
    return CardOutcome(
        robots="held-out robots" if reality is None else f"robots of {reality.name}",
        count=found.groups,
        episodes=found.episodes,
        successes=found.successes,
        low=found.success.low,
        high=found.success.high,
        command=shlex.join(words),
    )


def _reads(contract: PolicyContract) -> str:
    """Returns what a policy reads, in words."""
    cameras = [f"camera {c.name} {c.width}x{c.height}" for c in contract.cameras]
    return ", ".join([*cameras, *(s.name for s in contract.signals)])


def trained_on(contract: PolicyContract, space: ParamSpace) -> str:
    """Returns how many rows differed in training, and how wide they were of their limits."""
    shares = []
    for each in contract.ranges:
        low, high = space.rows[space.index(each.name)].limits
        if high > low:
            shares.append((each.high - each.low) / (high - low))
    wide = [share for share in shares if share > 0]
    return (
        f"{len(wide)} of {len(shares)} rows randomized, over {np.mean(wide or [0.0]):.0%} of their "
        "limits on the mean"
    )


def _steps(run: Path) -> int:
    """Returns the control steps that a run took."""
    return round(read_jsonl(run / METRICS)[-1]["env_steps"])


if __name__ == "__main__":
    main(tyro.cli(GalleryConfig, args=sys.argv[1:]))
