"""What share of simulation is best when demonstrations of the robot's room are mixed in."""

from dataclasses import replace

from train.studies.adaptation import (
    AS_IT_WAS,
    EXPERT,
    FLIGHTS,
    ITERATIONS,
    RANDOMIZED,
    RATE,
    ROBOT,
    START,
    WORLDS,
    notes,
)
from train.studies.arm_cameras import BOTH, camera_policy, camera_presets
from train.studies.conclusions import Cell, Comparison
from train.studies.demonstrations import TunedPolicy, one_stage
from train.studies.places import FOLDER, SHARED
from train.studies.plan import Arm, Study

SHARES = (0.8, 0.5, 0.2, 0.0)
MIXED = {f"labelled, {100 * share:g} % simulated": share for share in SHARES}

STUDY = Study(
    name="cotraining",
    question="What share of simulation is best beside demonstrations of the robot's room?",
    about=(
        "A camera student that was trained with random physics and nominal looks goes on, on a "
        "robot in a room of another look, from simulated frames and the frames of 20 "
        "demonstrations in a mixture. The demonstrations are successful flights of a student that "
        "was trained with everything randomized, which is also what randomization alone can do "
        "here. The robot then judges, from other starts."
    ),
    arms=(
        Arm(AS_IT_WAS, "nominal looks, nothing of the room", START),
        *(
            Arm(
                name,
                f"{FLIGHTS} demonstrations, simulated frames have {share:g} of the loss",
                TunedPolicy(
                    START,
                    EXPERT,
                    FLIGHTS,
                    one_stage(share, ITERATIONS, RATE, replay=0.1, worlds=WORLDS),
                ),
            )
            for name, share in MIXED.items()
        ),
        Arm(RANDOMIZED, "random looks in simulation, nothing of the room", camera_policy(BOTH)),
    ),
    presets={
        size: replace(preset, count=20)
        for size, preset in camera_presets({ROBOT: FOLDER / "reach_target.toml"}, (12, 320)).items()
    },
    comparisons=tuple(
        Comparison(Cell(name, ROBOT), Cell(AS_IT_WAS, ROBOT)) for name in (*MIXED, RANDOMIZED)
    ),
    notes=notes,
    shares=SHARED,
)
