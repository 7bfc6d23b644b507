"""What share of simulation is best when demonstrations of the robot's room are mixed in."""

from train.studies.adaptation import (
    EXPERT,
    FLIGHTS,
    ITERATIONS,
    RATE,
    START,
    WORLDS,
    room_study,
)
from train.studies.demonstrations import TunedPolicy, one_stage
from train.studies.plan import Arm

SHARES = (0.8, 0.5, 0.2, 0.0)

STUDY = room_study(
    "cotraining",
    "What share of simulation is best beside demonstrations of the robot's room?",
    (
        "A camera student that was trained with random physics and nominal looks goes on, on a "
        "robot in a room of another look, from simulated frames and the frames of 20 "
        "demonstrations in a mixture. The demonstrations are successful flights of a student that "
        "was trained with everything randomized, which is also what randomization alone can do "
        "here. The robot then judges, from other starts."
    ),
    [
        Arm(
            f"labelled, {100 * share:g} % simulated",
            f"{FLIGHTS} demonstrations, simulated frames have {share:g} of the loss",
            TunedPolicy(
                START,
                EXPERT,
                FLIGHTS,
                one_stage(share, ITERATIONS, RATE, replay=0.1, worlds=WORLDS),
            ),
        )
        for share in SHARES
    ],
)
