"""Settings of distillation."""

from dataclasses import dataclass, field
from typing import Any, Literal, get_args, get_type_hints

import jax

from mjx_s2r.learn import minibatches
from mjx_s2r.learn.networks.augment import AugmentConfig
from mjx_s2r.learn.networks.encoders.config import EncoderConfig
from mjx_s2r.learn.setting_checks import check_numbers

CACHED = 16  # pictures whose gradient stays in the cache of a CPU
IMITATES = ("kl_weight", "reverse_kl_weight", "mean_weight", "precision_weight", "nll_weight")


@dataclass(frozen=True)
class DistillConfig:
    """Settings of distillation."""

    num_envs: int = 256
    """Number of worlds, B."""
    num_steps: int = 4
    """Control steps per iteration, T."""
    iterations: int = 120
    """Iterations in all; the learning rate falls to zero over them."""
    num_minibatches: int = 8
    """Minibatches per epoch."""
    microbatch: int = 0
    """Pictures of a minibatch whose gradient is computed at once; 0 takes all, but 16 on one CPU,
    where they stay in its cache. A student that remembers takes all."""
    num_epochs: int = 2
    """Passes over an iteration's images."""
    learning_rate: float = 6e-3
    """Adam step size at the start."""
    acts: Literal["mixture", "student", "teacher"] = "mixture"
    """Who acts: in each world and step one of both by chance, the student, or the teacher alone,
    which is behaviour cloning."""
    beta: Literal["linear", "exponential", "threshold"] = "linear"
    """How the teacher's part in a mixture falls from 1 to 0: evenly, by the same factor in every
    iteration, or at once when the student has come near enough."""
    beta_share: float = 0.4
    """Share of the iterations over which the teacher's part falls from 1 to 0; linear."""
    beta_decay: float = 0.95
    """Factor on the teacher's part in every iteration; exponential."""
    beta_error: float = 0.05
    """Error of the squashed mean, squared, below which the student takes over; threshold."""
    action_noise: float = 0.1
    """Standard deviation of the noise on the acting policy's raw action."""
    kl_weight: float = 0.1
    """Weight of the KL divergence, KL(teacher || student)."""
    reverse_kl_weight: float = 0.0
    """Weight of KL(student || teacher)."""
    mean_weight: float = 5.0
    """Weight of the mean matching."""
    precision_weight: float = 0.0
    """Weight of the mean matching in which an action counts by the teacher's precision, 1 / its
    variance."""
    nll_weight: float = 0.0
    """Weight of the negative log likelihood of the teacher's mean action."""
    value_weight: float = 0.0
    """Weight of the squared error of the student's value against that of the teacher's critic; with
    it the student has a value head."""
    label_weight: float = 10.0
    """Weight of the auxiliary estimate; labels count in tenths of a metre."""
    place_weight: float = 0.3
    """Weight of telling the image encoders where their pictures show the task's keypoints."""
    shift_pixels: int = 2
    """Largest random shift of an image, px; it comes before the rest of the augmentation."""
    augment: AugmentConfig = field(default_factory=AugmentConfig)
    """The rest of the augmentation of images."""
    look_each_step: bool = True
    """New look in every world at every step, where the student sees one picture at a time and
    remembers none."""
    steady_share: float = 0.5
    """Share of the worlds that keep their look for an episode all the same, as a room does: there
    the student meets what its constant errors lead to. Success is counted in these."""
    agrees_within: float = 0.5
    """Root mean square distance of squashed actions, which lie in [-1, 1], within which the student
    agrees with its teacher about a picture; the looks' schedule counts such pictures."""
    hidden: tuple[int, ...] = (128, 64)
    """Layers after the image encoders."""
    cnn_channels: int = 32
    """Feature maps of each image encoder."""
    encoder: EncoderConfig = field(default_factory=EncoderConfig)
    """What finds features in pictures: from scratch, or pretrained."""
    rnn_hidden: int = 0
    """Size of the memory (GRU), H; 0 remembers nothing. Gradients flow back through the control
    steps of an iteration: take 15 to 24."""

    def __post_init__(self) -> None:
        """Checks the settings.

        Raises:
            ValueError: a setting that cannot work, named.
        """
        check_numbers(
            self,
            "distill",
            sizes=(
                *("num_envs", "num_steps", "num_minibatches", "num_epochs", "cnn_channels"),
                *("iterations", "hidden"),
            ),
            positive=("learning_rate", "agrees_within"),
            weights=(
                *IMITATES,
                *("value_weight", "label_weight", "place_weight", "action_noise"),
                *("shift_pixels", "rnn_hidden", "microbatch"),
            ),
            shares=("beta_share", "beta_decay", "steady_share"),
        )
        minibatches.check_items(
            self.num_envs,
            self.num_steps,
            self.num_minibatches,
            self.rnn_hidden > 0,
            what="distill",
            who="the student remembers",
        )
        if not any(getattr(self, name) for name in IMITATES):
            raise ValueError(f"distill: one of {', '.join(IMITATES)} must be above 0")
        if self.beta == "threshold":
            check_numbers(self, "distill", positive=("beta_error",))
        self._check_choice("acts")
        self._check_choice("beta")

    def _check_choice(self, name: str) -> None:
        """Raises ValueError unless a setting is one of those that its type lists."""
        known: tuple[Any, ...] = get_args(get_type_hints(type(self))[name])
        if getattr(self, name) not in known:
            listed = " or ".join(map(repr, known))
            raise ValueError(f"distill.{name} {getattr(self, name)!r} must be {listed}")

    @property
    def groups(self) -> int:
        """Number of groups of neighbouring worlds within which minibatches are shuffled."""
        return minibatches.groups(self.num_envs, self._items, self.num_minibatches)

    @property
    def microbatches(self) -> int:
        """Into how many parts a minibatch is cut for its gradient."""
        alone = jax.default_backend() == "cpu" and jax.device_count() == 1
        size = self.microbatch or (CACHED if alone else 0)
        items = minibatches.count_items(self.num_envs, self.num_steps, self.rnn_hidden > 0)
        return (
            1 if self.rnn_hidden else minibatches.microbatches(items // self.num_minibatches, size)
        )

    @property
    def changes_looks(self) -> bool:
        """Whether a world may wear a new look at every step: nobody who remembers watches."""
        return self.look_each_step and not self.rnn_hidden

    @property
    def _items(self) -> int:
        """What minibatches are made of: steps, or whole worlds where the student remembers."""
        return minibatches.count_items(self.num_envs, self.num_steps, self.rnn_hidden > 0)
