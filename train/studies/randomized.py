"""What must be randomized: looks, dynamics, or both? Over a gap of each kind, and of both."""

from train.studies.arm_cameras import BOTH, DYNAMICS, NONE, VISUAL, camera_presets
from train.studies.conclusions import Cell, Comparison
from train.studies.places import BOTH_GAPS, DYNAMICS_GAP, SHARED, VISUAL_GAP
from train.studies.plan import Study

LOOKS = "robots that look otherwise"
MOVES = "robots that move otherwise"
ALL = "robots that do both"

STUDY = Study(
    name="randomized",
    question="What must be randomized: looks, dynamics, or both?",
    about=(
        "Camera students of the desktop arm, four ways: with neither, one or both parts of the "
        "table drawn from their limits. Robots: other rooms, lamps and a camera that was knocked, "
        "the arm as modelled; weak and late servos, stiff gears and a load, looks as modelled; "
        "both."
    ),
    arms=(NONE, VISUAL, DYNAMICS, BOTH),
    presets=camera_presets({LOOKS: VISUAL_GAP, MOVES: DYNAMICS_GAP, ALL: BOTH_GAPS}, (13, 400)),
    comparisons=(
        Comparison(Cell("visual", LOOKS), Cell("none", LOOKS)),
        Comparison(Cell("dynamics", MOVES), Cell("none", MOVES)),
        Comparison(Cell("both", ALL), Cell("visual", ALL)),
        Comparison(Cell("both", ALL), Cell("dynamics", ALL)),
    ),
    shares=SHARED,
)
