"""What unlabelled pictures of a robot's room win back."""

from collections.abc import Sequence
from dataclasses import replace

from mjx_s2r.learn.adapt.alignment import AlignmentConfig, Method
from mjx_s2r.learn.adapt.config import AdaptationConfig
from train.studies.arm_cameras import BOTH, DYNAMICS, camera_policy, camera_presets
from train.studies.conclusions import Cell, Comparison, judged_of, rate_of
from train.studies.demonstrations import AlignedPolicy, Expert, one_stage
from train.studies.places import FOLDER, SHARED
from train.studies.plan import Arm, Preset, Row, Study

ROBOT = "the robot"
FLIGHTS, ITERATIONS, RATE, WORLDS = 20, 300, 1e-3, 64
WEIGHT, RAMP = 1.0, 3.0  # of an alignment; a third of it, for a fifth of the time, moves nothing
AS_IT_WAS, RANDOMIZED = "as it was", "random looks"
ALIGNED: dict[str, Method] = {
    "unlabelled, adversary": "dann",
    "unlabelled, adversary and actions": "cdan",
    "unlabelled, moments": "moments",
}
START, EXPERT = camera_policy(DYNAMICS), Expert(camera_policy(BOTH), FLIGHTS)


def _aligning(method: Method) -> AdaptationConfig:
    """Returns an adaptation to pictures whose actions are not read."""
    plain = one_stage(1.0, ITERATIONS, RATE, replay=0.0, worlds=WORLDS)
    return replace(plain, alignment=AlignmentConfig(method, weight=WEIGHT, ramp=RAMP))


def notes(rows: Sequence[Row], preset: Preset) -> list[str]:
    """Returns what the room costs, and how much of that each adaptation wins back."""
    judged = [*judged_of(rows)]
    arms = list(dict.fromkeys(row["arm"] for row in rows))
    found = {name: rate_of(judged, Cell(name, ROBOT)) for name in arms}
    best, start = found.get(RANDOMIZED), found.get(AS_IT_WAS)
    if best is None or start is None or best.success <= start.success:
        return []
    lost = best.success - start.success
    shares = [
        f"{name} {100 * (rate.success - start.success) / lost:.0f} %"
        for name, rate in found.items()
        if rate is not None and name not in (AS_IT_WAS, RANDOMIZED)
    ]
    told = f"Beside a student with random looks, nominal looks cost {100 * lost:.0f} points here."
    return [told, *([f"Won back of these: {'; '.join(shares)}."] if shares else [])]


def room_study(name: str, question: str, about: str, adapted: Sequence[Arm]) -> Study:
    """Returns a study of adaptations to the robot's room.

    Beside the adapted students it has the one that they begin as, and one with random looks.

    Args:
        name: of the study.
        question: that it answers.
        about: what is done, in sentences.
        adapted: an arm for each way to adapt.
    """
    presets = camera_presets({ROBOT: FOLDER / "reach_target.toml"}, (12, 320))
    judged = (*(arm.name for arm in adapted), RANDOMIZED)
    return Study(
        name=name,
        question=question,
        about=about,
        arms=(
            Arm(AS_IT_WAS, "nominal looks, nothing of the room", START),
            *adapted,
            Arm(RANDOMIZED, "random looks in simulation, nothing of the room", camera_policy(BOTH)),
        ),
        presets={size: replace(preset, count=20) for size, preset in presets.items()},
        comparisons=tuple(Comparison(Cell(x, ROBOT), Cell(AS_IT_WAS, ROBOT)) for x in judged),
        notes=notes,
        shares=SHARED,
    )


STUDY = room_study(
    "adaptation",
    "What do pictures of the robot's room win back without labels?",
    (
        "A camera student that was trained with random physics and nominal looks goes on, on a "
        "robot in a room of another look. It is given the pictures of 20 flights without what was "
        "done in them, and its features are aligned with those of simulated pictures. The flights "
        "are those of a student that was trained with everything randomized, which is also what "
        "randomization alone can do here. The robot then judges, from other starts."
    ),
    [
        Arm(
            name,
            f"pictures of {FLIGHTS} flights, alignment {kind}",
            AlignedPolicy(START, EXPERT, _aligning(kind)),
        )
        for name, kind in ALIGNED.items()
    ],
)
