"""Camera students of the desktop arm that several studies compare, and their sizes."""

from pathlib import Path

from mjx_s2r.curriculum.registry import CurriculumConfig
from train.studies.places import BRIEF, BRIEF_TEACHER
from train.studies.plan import Arm, Preset, Size
from train.studies.recipes import PLAIN, CameraPolicy, TeacherRecipe

WIDE = CurriculumConfig("uniform")
PLAIN_TEACHER, WIDE_TEACHER = TeacherRecipe("plain"), TeacherRecipe("wide", WIDE)

NONE = Arm("none", "nominal physics, nominal looks", CameraPolicy("none", PLAIN_TEACHER, PLAIN))
VISUAL = Arm(
    "visual",
    "nominal physics, looks and camera drawn from all of their limits",
    CameraPolicy("visual", PLAIN_TEACHER, WIDE),
)
DYNAMICS = Arm(
    "dynamics",
    "physics, timing and sensing drawn from all of their limits, nominal looks",
    CameraPolicy("dynamics", WIDE_TEACHER, PLAIN),
)
BOTH = Arm("both", "all of the table drawn", CameraPolicy("both", WIDE_TEACHER, WIDE))
CLONED = Arm(
    "cloning",
    "as both, but the teacher acts throughout: behaviour cloning on as many frames",
    CameraPolicy("cloning", WIDE_TEACHER, WIDE, acts="teacher"),
)


def camera_policy(arm: Arm) -> CameraPolicy:
    """Returns the recipe of one of these arms."""
    assert isinstance(arm.recipe, CameraPolicy), f"arm {arm.name} trains no camera student"
    return arm.recipe


def camera_presets(places: dict[str, Path], minutes: tuple[float, float]) -> dict[Size, Preset]:
    """Returns the sizes of a study of the arm's camera student.

    Args:
        places: families of robots.
        minutes: what small and full take on two cores, estimated.
    """
    return {
        "small": Preset(
            task="reach",
            iterations=BRIEF_TEACHER,
            seeds=1,
            places=places,
            count=8,
            episodes=2,
            minutes=minutes[0],
            distill=BRIEF,
        ),
        "full": Preset(
            task="reach",
            iterations=400,
            seeds=4,
            places=places,
            count=20,
            episodes=5,
            minutes=minutes[1],
        ),
    }
