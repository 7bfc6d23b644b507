"""A frozen pretrained encoder against one from scratch, on 50 demonstrations and nothing else.

Needs the weights of MobileNetV2 (`python -m train weights`, docs/encoders.md), which this
repository does not hold: --weights FILE.
"""

from dataclasses import replace

from mjx_s2r.learn.networks.encoders.config import EncoderConfig
from train.studies.arm_cameras import BOTH, WIDE_TEACHER, camera_presets
from train.studies.conclusions import Cell, Comparison
from train.studies.demonstrations import ClonedDemonstrations, Expert, one_stage
from train.studies.places import FOLDER, SHARED
from train.studies.plan import Arm, Study, StudySettings
from train.studies.recipes import CameraPolicy

ROBOT = "the robot"
FROZEN, SCRATCH = "frozen encoder", "from scratch"
DEMONSTRATIONS = 50
ADAPT = one_stage(simulated=0.0, iterations=150, learning_rate=1e-3, replay=0.0, worlds=8)
assert isinstance(BOTH.recipe, CameraPolicy)
EXPERT = Expert(BOTH.recipe, DEMONSTRATIONS)


def missing(settings: StudySettings) -> str:
    """Returns why the study cannot run, "" if it can."""
    if settings.weights is None:
        return (
            "it needs the weights of a pretrained MobileNetV2, which are not part of this "
            "repository; convert them by python -m train weights (docs/encoders.md) and give "
            "--weights FILE"
        )
    return "" if settings.weights.is_file() else f"there is no file {settings.weights}"


STUDY = Study(
    name="encoder",
    question="Does a frozen pretrained encoder beat one from scratch on 50 demonstrations?",
    about=(
        "Camera students that learn from 50 demonstrations on one robot alone, without simulated "
        "frames: once behind the first layers of a MobileNetV2 that was trained on ImageNet and "
        "stays as it is, once behind a few convolutions from nothing. Demonstrations are the "
        "successful flights of a student that was trained in simulation with everything "
        "randomized; the robot judges from other starts."
    ),
    arms=(
        Arm(
            FROZEN,
            "MobileNetV2 up to 8 px a place, frozen; the layers behind it learn",
            ClonedDemonstrations(WIDE_TEACHER, EncoderConfig("mobilenet_v2"), EXPERT, ADAPT),
        ),
        Arm(
            SCRATCH,
            "the recipe's own convolutions, all of it learns",
            ClonedDemonstrations(WIDE_TEACHER, EncoderConfig(), EXPERT, ADAPT),
        ),
    ),
    presets={
        size: replace(preset, count=20)
        for size, preset in camera_presets({ROBOT: FOLDER / "reach_target.toml"}, (12, 240)).items()
    },
    comparisons=(Comparison(Cell(FROZEN, ROBOT), Cell(SCRATCH, ROBOT)),),
    missing=missing,
    shares=SHARED,
)
