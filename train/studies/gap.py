"""A small gap of physics and camera: what it costs without training for it, and what recovers it.

Trained at friction 1.0, mass 1.0 and without noise; the robot has friction 0.8, mass 1.1 and camera
noise 0.03. Beside it stands a gap three times as wide.
"""

from dataclasses import replace

from train.studies.arm_cameras import BOTH, NONE, camera_presets
from train.studies.conclusions import Cell, Comparison
from train.studies.places import AS_SIMULATED, EXERCISE, EXERCISE_X3, SHARED
from train.studies.plan import Study

SAME, GAP, THREE = "robots as simulated", "robots with the gap", "robots with three times the gap"

STUDY = Study(
    name="gap",
    question="What does a gap of friction, mass and camera noise cost, and does randomization "
    "win it back?",
    about=(
        "A camera student of the desktop arm, once trained in the model as it is (friction 1.0, "
        "mass 1.0, no noise), once with everything drawn from the table. Robots: the model as it "
        "is in C MuJoCo; friction 0.8 and mass 1.1 of nominal with camera noise 0.03; three times "
        "that. Friction is that of the joints, mass that of the links."
    ),
    arms=(replace(NONE, name="exact"), replace(BOTH, name="randomized")),
    presets=camera_presets({SAME: AS_SIMULATED, GAP: EXERCISE, THREE: EXERCISE_X3}, (8, 240)),
    comparisons=(
        Comparison(Cell("exact", SAME), Cell("exact", GAP), "the drop"),
        Comparison(Cell("randomized", GAP), Cell("exact", GAP), "the recovery"),
        Comparison(Cell("exact", SAME), Cell("exact", THREE), "the drop at three times the gap"),
        Comparison(Cell("randomized", THREE), Cell("exact", THREE), "the recovery there"),
    ),
    shares=SHARED,
)
