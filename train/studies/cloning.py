"""Distillation against cloning: who acts while a camera student learns, on as many frames."""

from dataclasses import replace

from train.studies.arm_cameras import BOTH, CLONED, camera_presets
from train.studies.conclusions import Cell, Comparison
from train.studies.places import AS_SIMULATED, BOTH_GAPS, SHARED
from train.studies.plan import Study

SAME, OTHER = "robots as simulated", "other robots"

STUDY = Study(
    name="cloning",
    question="Does on-policy distillation beat behaviour cloning on the same number of frames?",
    about=(
        "Two camera students of one teacher, with the same frames, labels, losses and looks. In "
        "distillation the student comes to act itself (DAgger), so it meets its own mistakes; in "
        "cloning the teacher acts throughout. Robots: the model as it is, and arms that move and "
        "look otherwise."
    ),
    arms=(replace(BOTH, name="distillation"), CLONED),
    presets=camera_presets({SAME: AS_SIMULATED, OTHER: BOTH_GAPS}, (7, 200)),
    comparisons=(
        Comparison(Cell("distillation", SAME), Cell("cloning", SAME)),
        Comparison(Cell("distillation", OTHER), Cell("cloning", OTHER)),
    ),
    shares=SHARED,
)
