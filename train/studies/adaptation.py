"""What pictures of a robot's room win back, without labels and with them mixed into simulation."""

from collections.abc import Sequence
from dataclasses import replace

from mjx_s2r.learn.adapt.alignment import AlignmentConfig, Method
from mjx_s2r.learn.adapt.config import AdaptationConfig
from train.studies.arm_cameras import BOTH, DYNAMICS, camera_policy, camera_presets
from train.studies.conclusions import Cell, Comparison, judged_of, rate_of
from train.studies.demonstrations import AlignedPolicy, Expert, TunedPolicy, one_stage
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
SHARES = (0.8, 0.5, 0.2, 0.0)
MIXED = {f"labelled, {100 * share:g} % simulated": share for share in SHARES}


START, EXPERT = camera_policy(DYNAMICS), Expert(camera_policy(BOTH), FLIGHTS)


def _aligning(method: Method) -> AdaptationConfig:
    """Returns an adaptation to pictures whose actions are not read."""
    plain = one_stage(1.0, ITERATIONS, RATE, replay=0.0, worlds=WORLDS)
    return replace(plain, alignment=AlignmentConfig(method, weight=WEIGHT, ramp=RAMP))


def _mixing(share: float) -> AdaptationConfig:
    """Returns an adaptation to demonstrations, with a share of simulated frames in the loss."""
    return one_stage(share, ITERATIONS, RATE, replay=0.1, worlds=WORLDS)


def notes(rows: Sequence[Row], preset: Preset) -> list[str]:
    """Returns what the room costs, and how much of that each adaptation wins back."""
    judged = [*judged_of(rows)]
    found = {arm.name: rate_of(judged, Cell(arm.name, ROBOT)) for arm in STUDY.arms}
    best, start = found[RANDOMIZED], found[AS_IT_WAS]
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


STUDY = Study(
    name="adaptation",
    question="What do pictures of the robot's room win back, without labels and with them?",
    about=(
        "A camera student that was trained with random physics and nominal looks goes on, on a "
        "robot in a room of another look. Once it is given the pictures of 20 flights without what "
        "was done in them, and its features are aligned with those of simulated pictures; once it "
        "is given the actions, too, and learns from simulated and real frames in a mixture. The "
        "flights are those of a student that was trained with everything randomized, which is "
        "also what randomization alone can do here. The robot then judges, from other starts."
    ),
    arms=(
        Arm(AS_IT_WAS, "nominal looks, nothing of the room", START),
        *(
            Arm(
                name,
                f"pictures of {FLIGHTS} flights, alignment {kind}",
                AlignedPolicy(START, EXPERT, _aligning(kind)),
            )
            for name, kind in ALIGNED.items()
        ),
        *(
            Arm(
                name,
                f"{FLIGHTS} demonstrations, simulated frames have {share:g} of the loss",
                TunedPolicy(START, EXPERT, FLIGHTS, _mixing(share)),
            )
            for name, share in MIXED.items()
        ),
        Arm(RANDOMIZED, "random looks in simulation, nothing of the room", camera_policy(BOTH)),
    ),
    presets={
        size: replace(preset, count=20)
        for size, preset in camera_presets({ROBOT: FOLDER / "reach_target.toml"}, (25, 600)).items()
    },
    comparisons=tuple(
        Comparison(Cell(name, ROBOT), Cell(AS_IT_WAS, ROBOT))
        for name in (*ALIGNED, *MIXED, RANDOMIZED)
    ),
    notes=notes,
    shares=SHARED,
)
