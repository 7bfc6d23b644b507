"""How strong should randomization be? None, mild and strong, judged on robots that differ.

Strength is the width of the ranges: a share of the way from the nominal values to the limits of the
task's table, drawn evenly from the first episode to the last.
"""

from mjx_s2r.curriculum.registry import Uniform
from train.studies.conclusions import Cell, Comparison
from train.studies.places import (
    CARTPOLE_NOMINAL,
    CARTPOLE_OTHER,
    QUICK_CARTPOLE,
    REACH_LATE,
    SWING_UP,
    TOLD_REACH,
)
from train.studies.plan import Arm, Preset, Study
from train.studies.recipes import PLAIN, StatePolicy

MILD, STRONG = 0.25, 1.0
NOMINAL, OTHER = "nominal robots", "other robots"

STUDY = Study(
    name="strength",
    question="How strong should randomization be: none, mild or strong?",
    about=(
        "Each policy reads what the robot has (no parameters, no pictures) and is trained by PPO "
        "with one budget of steps. The nominal robots are the model itself in C MuJoCo; the other "
        "robots differ in masses, length, damping, motor strength, slope, delay and noise by about "
        "what the table allows, and no training knows them."
    ),
    arms=(
        Arm("none", "every row at its nominal value", StatePolicy(PLAIN)),
        Arm("mild", "a quarter of the way to the limits", StatePolicy(Uniform(width=MILD))),
        Arm("strong", "all of the way to the limits", StatePolicy(Uniform(width=STRONG))),
    ),
    presets={
        "small": Preset(
            task=QUICK_CARTPOLE,
            iterations=200,
            seeds=4,
            places={NOMINAL: CARTPOLE_NOMINAL, OTHER: CARTPOLE_OTHER},
            count=10,
            episodes=1,
            minutes=10,
            ppo=SWING_UP,
        ),
        "full": Preset(
            task=TOLD_REACH,
            iterations=240,
            seeds=6,
            places={OTHER: REACH_LATE},
            count=20,
            episodes=5,
            minutes=120,
        ),
    },
    comparisons=(
        Comparison(Cell("mild", OTHER), Cell("none", OTHER)),
        Comparison(Cell("strong", OTHER), Cell("none", OTHER)),
        Comparison(Cell("strong", OTHER), Cell("mild", OTHER)),
    ),
)
