"""Students of one teacher compared on families of robots: python -m benchmarks.students.

Every method is trained from several seeds, exported, and flown on robots that no training saw:
those of the task (`held_out`), and those of benchmarks/realities/reach_other_looks.toml, whose
cameras and rooms lie outside of what students train with. A family whose name ends in "+calibrated"
has each robot's camera calibrated from twelve poses before it is judged. Robots of `late_0` to
`late_4` (benchmarks/realities/reach_late.toml) have pictures that are so many frames old; a teacher
of such students has the range "camera_delay=0,0.16;limits=0,0.16". Rows go to
benchmarks/results/student.json as they are found; what is there already is not done again.
"""

import json
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import tyro

from mjx_s2r.io.run import write_json
from mjx_s2r.runtime.progress import console

HERE = Path(__file__).parent
RESULTS = HERE / "results" / "student.json"
POSES = 12
# What each method gives `train student` beside teacher, run and seed.
METHODS: dict[str, tuple[str, ...]] = {
    "dagger": (),
    "clone": ("--distill.acts", "teacher"),
    "adr": ("--curriculum", "adr"),
    "maxent": ("--curriculum", "maxent"),
    "fresh": ("--distill.steady-share", "0"),
    "unguided": ("--distill.place-weight", "0"),
    "stack": ("--cameras", "front:64x64@25x3"),
    "memory": (
        *("--distill.rnn-hidden", "64"),
        *("--distill.num-steps", "16", "--distill.num-envs", "64"),
    ),
}
FAMILIES: dict[str, tuple[str, ...]] = {
    "held_out": (),
    "other_looks": ("--reality", str(HERE / "realities" / "reach_other_looks.toml")),
    "development": ("--reality", str(HERE / "realities" / "reach_development.toml")),
    **{f"late_{frames}": () for frames in range(5)},
}
LATE_ROBOTS = HERE / "realities" / "reach_late.toml"
CALIBRATED = "+calibrated"


@dataclass(frozen=True)
class StudentsConfig:
    """Settings of the comparison."""

    teacher: Path = Path("runs/teacher")
    """Folder of the teacher's run."""
    run: Path = Path("runs/students")
    """Folder of the students' runs."""
    methods: tuple[str, ...] = ("dagger", "clone", "adr")
    """Methods, of dagger, clone, adr, maxent, fresh, unguided, stack, memory."""
    families: tuple[str, ...] = ("held_out", "other_looks")
    """Families of robots: held_out, other_looks, development, late_0 to late_4; each also with
    +calibrated."""
    seeds: tuple[int, ...] = (0, 1, 2)
    """Seeds of the trainings."""
    iterations: int = 300
    """Iterations of each student."""
    count: int = 20
    """Robots of each family."""
    episodes: int = 3
    """Episodes on each robot."""
    json: Path = RESULTS
    """File of the rows."""

    def __post_init__(self) -> None:
        """Checks the names.

        Raises:
            ValueError: a method or a family that does not exist.
        """
        plain = [family.removesuffix(CALIBRATED) for family in self.families]
        for what, given, known in (
            ("method", self.methods, METHODS),
            ("family", plain, FAMILIES),
        ):
            for name in given:
                if name not in known:
                    raise ValueError(f"{what} {name!r} is none of {', '.join(known)}")


def run(config: StudentsConfig) -> list[dict[str, Any]]:
    """Trains and judges what is missing; returns all rows, and prints them."""
    rows: list[dict[str, Any]] = []
    if config.json.exists():
        rows = json.loads(config.json.read_text())["rows"]
    for seed in config.seeds:
        for method in config.methods:
            policy = _trained(config, method, seed)
            for family in config.families:
                key = {"task": "reach", "method": method, "family": family, "seed": seed}
                if any(all(row[k] == v for k, v in key.items()) for row in rows):
                    continue
                rows.append(key | _judged(config, policy, family))
                write_json(config.json, {"rows": rows, "summary": summarize(rows)})
    for line in summarize(rows):
        low, high = line["interval"]
        console.print(
            f"{line['method']:<9} {line['family']:<24} {line['success']:.2f} "
            f"({low:.2f} to {high:.2f}; {line['trainings']} trainings)",
            highlight=False,
        )
    return rows


def _trained(config: StudentsConfig, method: str, seed: int) -> Path:
    """Returns the exported policy of a student, after training it where it is missing."""
    folder = config.run / f"{method}-{seed}"
    policy = folder / "policy.onnx"
    if not policy.exists():
        given = ["--teacher", str(config.teacher), "--run", str(folder), "--seed", str(seed)]
        given += ["--distill.iterations", str(config.iterations), "--resume", *METHODS[method]]
        _call("student", *given)
        _call("export", "--student", str(folder))
    return policy


def _judged(config: StudentsConfig, policy: Path, family: str) -> dict[str, Any]:
    """Returns the figures of a policy on a family of robots."""
    found = policy.with_name(f"{family}.json")
    given = ["--policy", str(policy), "--count", str(config.count), "--json", str(found)]
    given += ["--episodes", str(config.episodes), "--simulated", "0", "--films", "0"]
    if family.endswith(CALIBRATED):
        given += ["--calibrate", str(POSES)]
    family = family.removesuffix(CALIBRATED)
    late = ("--reality", str(_late(config.run, family))) if family.startswith("late_") else ()
    _call("evaluate", *given, *late, *FAMILIES[family])
    body = json.loads(found.read_text())
    robots = {name: row["successes"] for name, row in body["per_robot"].items()}
    return {
        "iterations": config.iterations,
        "success": body["success"],
        "episodes": body["episodes"],
        "episodes_each": config.episodes,
        "robots": list(robots.values()),
    }


def _late(folder: Path, family: str) -> Path:
    """Returns a reality file, below ``folder``, of robots whose pictures are late_N frames old."""
    frames, text = family.removeprefix("late_"), LATE_ROBOTS.read_text()
    path = folder / f"{family}.toml"
    path.write_text(text.replace("camera_latency_frames = 1", f"camera_latency_frames = {frames}"))
    return path


def _call(verb: str, *given: str) -> None:
    """Runs a verb of the command line; its words go to the screen."""
    subprocess.run([sys.executable, "-m", "train", verb, *given], check=True)


def summarize(rows: Sequence[dict[str, Any]], draws: int = 4000) -> list[dict[str, Any]]:
    """Returns mean success by method and family, with intervals over robots and trainings.

    The interval is a bootstrap of 95 %: trainings are drawn with replacement, and robots with
    replacement, the same robots in every training. With three trainings it is rough.
    """
    out, rng = [], np.random.default_rng(0)
    for method, family in dict.fromkeys((row["method"], row["family"]) for row in rows):
        mine = [r for r in rows if (r["method"], r["family"]) == (method, family)]
        share = np.array([np.array(r["robots"]) / r["episodes_each"] for r in mine])  # (S, R)
        trainings = rng.integers(0, len(share), (draws, len(share)))
        robots = rng.integers(0, share.shape[1], (draws, share.shape[1]))
        means = share[trainings[:, :, None], robots[:, None, :]].mean((1, 2))
        out.append(
            {
                "method": method,
                "family": family,
                "trainings": len(mine),
                "robots": share.shape[1],
                "success": float(share.mean()),
                "interval": np.quantile(means, (0.025, 0.975)).tolist(),
                "never": int((share.max(0) == 0).sum()),
            }
        )
    return out


if __name__ == "__main__":
    run(tyro.cli(StudentsConfig))
