"""How often 95 % intervals hold the truth, over repeated diagnoses of stand-ins drawn at random.

python -m tests.robot.diagnose.coverage --repeats 60 --routines friction gains

Every repeat draws another joint, another motion and other flaws of the bus; a line is printed for
each number: how many intervals hold the truth, the median half width and the median error.
"""

import argparse
import json
import math
import tempfile
from collections import defaultdict
from pathlib import Path

import numpy as np

from mjx_s2r.robot.diagnose.estimate import Diagnosis
from mjx_s2r.robot.diagnose.settings import DiagnosisSettings
from mjx_s2r.robot.drivers.imperfections import Imperfections
from tests.robot.diagnose.stand_ins import Truth, fly_routine

JITTER = 0.05  # logarithmic deviation of the delay


def drawn(routine: str, seed: int) -> tuple[Truth, DiagnosisSettings, Imperfections]:
    """Returns a joint, what is asked of it, and the flaws of its bus and encoder."""
    rng = np.random.default_rng(1000 + seed)
    servo = routine in ("delay", "gains")
    truth = Truth(
        damping=rng.uniform(0.08, 0.25),
        dry=rng.uniform(0.04, 0.12),
        armature=rng.uniform(0.015, 0.03),
        mass=rng.uniform(0.3, 0.6),
        level=servo,
        kp=rng.uniform(12, 30) if servo else 0.0,
        kd=rng.uniform(0.5, 1.0) if servo else 0.0,
        step_s=0.0002 if routine == "free-motion" else 0.001,  # for friction that is less soft
    )
    settings = DiagnosisSettings(routine, "j", seed=seed, gravity=not servo, inertia=truth.inertia)
    flaws = Imperfections(
        seed=seed,
        latency_ms=rng.uniform(4, 25),
        latency_jitter=JITTER,
        encoder_counts=4096,
    )
    return truth, settings, flaws


def truths(routine: str, truth: Truth, flaws: Imperfections) -> dict[str, float]:
    """Returns name -> true value of what a routine should find."""
    arrival_s = 1e-3 * flaws.latency_ms * math.exp(JITTER**2 / 2) + truth.step_s / 2
    if routine in ("friction", "free-motion"):
        return {"model.dof_damping": truth.damping, "model.dof_frictionloss": truth.dry}
    if routine == "inertia":
        return {"inertia about the joint": truth.inertia}
    if routine == "delay":
        return {"actuator.delay_s": arrival_s}
    return {
        "model.actuator_kp": truth.kp,
        "model.actuator_kd": truth.kd + truth.damping,
        "error at rest by dry friction": truth.dry / truth.kp,
    }


def main() -> None:
    """Prints the table, and keeps the single results where they are asked for."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--repeats", type=int, default=60)
    parser.add_argument("--first", type=int, default=0)
    parser.add_argument("--routines", nargs="+", default=["friction", "inertia", "delay", "gains"])
    parser.add_argument("--keep", type=Path)
    args = parser.parse_args()
    for routine in args.routines:
        rows = defaultdict(list)
        for seed in range(args.first, args.first + args.repeats):
            truth, settings, flaws = drawn(routine, seed)
            with tempfile.TemporaryDirectory() as folder:
                found: Diagnosis = fly_routine(Path(folder), truth, settings, flaws)
            for name, true in truths(routine, truth, flaws).items():
                one = found[name]
                rows[name].append((true, one.value, one.low, one.high))
                if args.keep:
                    with args.keep.open("a") as file:
                        print(json.dumps([routine, seed, name, *rows[name][-1]]), file=file)
        for name, kept in rows.items():
            true, value, low, high = np.array(kept).T
            inside = int(np.sum((low <= true) & (true <= high)))
            half, error = np.median((high - low) / 2), np.median(np.abs(value - true))
            print(
                f"{routine:<12} {name:<30} {inside}/{len(true)} {half:.2g} {error:.2g}", flush=True
            )


if __name__ == "__main__":
    main()
