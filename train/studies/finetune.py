"""Fine-tuning on 0 to 100 demonstrations of one robot: does it pay, and how many are needed?"""

from collections.abc import Sequence
from dataclasses import replace

from train.studies.arm_cameras import BOTH, DYNAMICS, camera_policy, camera_presets
from train.studies.conclusions import Cell, Comparison, conclude, judged_of
from train.studies.demonstrations import Expert, TunedPolicy, one_stage, told
from train.studies.places import FOLDER, SHARED
from train.studies.plan import Arm, Preset, Row, Study

ROBOT = "the robot"
COUNTS = (0, 5, 10, 20, 50, 100)
NAMES = told(COUNTS)


EXPERT = Expert(camera_policy(BOTH), COUNTS[-1])
ADAPT = one_stage(simulated=0.2, iterations=60, learning_rate=3e-4, replay=0.1, worlds=64)
COMPARISONS = tuple(Comparison(Cell(n, ROBOT), Cell(NAMES[0], ROBOT)) for n in NAMES[1:])


def notes(rows: Sequence[Row], preset: Preset) -> list[str]:
    """Returns the smallest number of demonstrations whose gain is shown."""
    found = [f.difference for f in conclude([*judged_of(rows)], COMPARISONS)]
    if any(x is None for x in found):
        return []
    enough = [n for n, x in zip(COUNTS[1:], found, strict=True) if x is not None and x.low > 0]
    if not enough:
        return ["None of the numbers of demonstrations is shown to help."]
    return [f"The smallest number of demonstrations that is shown to help is {enough[0]}."]


STUDY = Study(
    name="finetune",
    question="Does fine-tuning on demonstrations of the robot pay, and how many are needed?",
    about=(
        "A camera student that was trained with random physics and nominal looks goes on from "
        "demonstrations on one robot, which moves and looks otherwise: its eyes know nothing of "
        "this room. Demonstrations are the successful flights of a student that was trained with "
        "everything randomized, on that robot; those of a smaller number are among those of a "
        "larger one. The robot then judges, from other starts."
    ),
    arms=tuple(
        Arm(
            name,
            "the student as it was" if not count else f"goes on from {count} demonstrations",
            TunedPolicy(camera_policy(DYNAMICS), EXPERT, count, ADAPT),
        )
        for name, count in zip(NAMES, COUNTS, strict=True)
    ),
    presets={
        size: replace(preset, count=20)
        for size, preset in camera_presets({ROBOT: FOLDER / "reach_target.toml"}, (10, 300)).items()
    },
    comparisons=COMPARISONS,
    notes=notes,
    shares=SHARED,
)
