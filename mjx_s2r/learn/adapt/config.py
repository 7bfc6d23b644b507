"""Settings of adaptation: its stages, what each trains, and what keeps the student from forgetting.

A setting with a value per stage may have one value for all of them.
"""

from dataclasses import dataclass, field
from typing import Literal, get_args

from mjx_s2r.learn.adapt.alignment import AlignmentConfig
from mjx_s2r.learn.adapt.discernibility import FOLDS
from mjx_s2r.learn.networks.augment import AugmentConfig
from mjx_s2r.learn.setting_checks import check_numbers

Trained = Literal["all", "head", "last", "adapter", "residual"]
STAGED = ("simulated", "iterations", "learning_rate", "trained")


@dataclass(frozen=True)
class AdaptationConfig:
    """Settings of adaptation."""

    simulated: tuple[float, ...] = (1.0, 0.8, 0.7, 0.2, 0.0)
    """Per stage: share of simulated frames in the loss; real demonstrations have the rest."""
    iterations: tuple[int, ...] = (10, 20, 20, 20, 10)
    """Per stage: iterations at most."""
    learning_rate: tuple[float, ...] = (3e-4,)
    """Per stage: Adam step size."""
    trained: tuple[Trained, ...] = ("all",)
    """Per stage: all; head: all behind the image encoders and the memory; last: the last layer;
    adapter: low-rank changes of every layer; residual: a small network that adds to the action."""
    num_envs: int = 128
    """Number of simulated worlds, B."""
    num_steps: int = 4
    """Control steps per iteration, T."""
    num_minibatches: int = 4
    """Gradient steps per iteration."""
    real_batch: int = 64
    """Real stretches in a gradient step; of one row each where the student remembers nothing."""
    real_steps: int = 16
    """Rows of a real stretch where the student remembers."""
    domain_bit: bool = True
    """Tell the student by one more reading whether it is in simulation (0) or on the robot (1); the
    exported file holds the 1."""
    adapter_rank: int = 4
    """Rank of the change of each layer that an adapter makes."""
    residual_hidden: tuple[int, ...] = (64,)
    """Layers of the residual network."""
    real_weight: float = 5.0
    """Weight of the demonstrated actions, beside their share; as distill.mean_weight is."""
    replay_weight: float = 0.1
    """Weight of the simulated loss beside its share, against forgetting."""
    l2_weight: float = 0.0
    """Weight of the squared distance from the student's parameters at the start (L2-SP)."""
    check_every: int = 2
    """Iterations between two looks at the held-out demonstrations."""
    patience: int = 0
    """A stage ends early after so many looks without a smaller error; 0: it never does."""
    held_out_rows: int = 256
    """Held-out rows that are looked at, at most, evenly over their episodes."""
    shift_pixels: int = 2
    """Largest random shift of an image, px; of simulated and real ones."""
    augment: AugmentConfig = field(default_factory=AugmentConfig)
    """The rest of the augmentation of both."""
    alignment: AlignmentConfig = field(default_factory=AlignmentConfig)
    """How features of simulated and real pictures are made alike."""

    def __post_init__(self) -> None:
        """Checks the settings.

        Raises:
            ValueError: a setting that cannot work, named.
        """
        stages = self.num_stages
        for name in STAGED:
            values = getattr(self, name)
            if len(values) not in (1, stages):
                raise ValueError(
                    f"adapt.{name} has {len(values)} values for {stages} stages; give one, or one "
                    "per stage"
                )
        for part in self.trained:
            if part not in get_args(Trained):
                raise ValueError(
                    f"adapt.trained {part!r} must be one of {', '.join(get_args(Trained))}"
                )
        check_numbers(
            self,
            "adapt",
            sizes=(
                *("iterations", "num_envs", "num_steps", "num_minibatches", "adapter_rank"),
                *("real_batch", "real_steps", "check_every", "held_out_rows", "residual_hidden"),
            ),
            positive=("learning_rate",),
            weights=("real_weight", "replay_weight", "l2_weight", "patience", "shift_pixels"),
            shares=("simulated",),
        )
        compared = min(self.real_batch, self.alignment.samples)
        if self.alignment.method in ("moments", "ot") and compared < FOLDS:
            raise ValueError(
                f"adapt.real_batch {self.real_batch}, alignment.samples {self.alignment.samples}: "
                f"method {self.alignment.method!r} compares {FOLDS} pictures at least"
            )
        if (self.num_envs * self.num_steps) % self.num_minibatches:
            raise ValueError(
                f"adapt: {self.num_envs} worlds x {self.num_steps} steps do not divide into "
                f"{self.num_minibatches} minibatches"
            )

    @property
    def num_stages(self) -> int:
        """Number of stages, S."""
        return max(len(getattr(self, name)) for name in STAGED)

    def per_stage(self, name: str) -> tuple:
        """Returns the S values of a setting that stages have."""
        values = getattr(self, name)
        return tuple(values) * self.num_stages if len(values) == 1 else tuple(values)

    @property
    def all_iterations(self) -> int:
        """Iterations of all stages, if none ends early."""
        return int(sum(self.per_stage("iterations")))
