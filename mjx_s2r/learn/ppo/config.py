"""Settings of PPO."""

from dataclasses import dataclass

from mjx_s2r.learn import minibatches
from mjx_s2r.learn.setting_checks import check_numbers


@dataclass(frozen=True)
class PPOConfig:
    """Settings of PPO."""

    num_envs: int = 512
    """Number of worlds, B."""
    num_steps: int = 16
    """Control steps per rollout, T."""
    num_minibatches: int = 4
    """Minibatches per epoch."""
    num_epochs: int = 4
    """Passes over a rollout."""
    gamma: float = 0.97
    """gamma per control step."""
    gae_lambda: float = 0.95
    """lambda of GAE."""
    clip_epsilon: float = 0.2
    """Clip of the probability ratio."""
    value_coef: float = 0.5
    """Weight of the value loss."""
    entropy_coef: float = 2e-3
    """Weight of the entropy bonus."""
    learning_rate: float = 1e-3
    """Adam step size at the start."""
    target_kl: float = 0.01
    """KL per update that the learning rate is steered to; 0 keeps the rate."""
    value_clip: float = 0.0
    """How far a value may move from what it was per rollout before it earns no more; 0: freely."""
    max_grad_norm: float = 1.0
    """Largest global norm of a gradient."""
    reward_scale: float = 1.0
    """Rewards are multiplied by this."""
    init_std: float = 0.6
    """Standard deviation of raw actions at the start: how far it explores."""
    state_dependent_std: bool = False
    """The actor says in each state how far it explores, its log within [-5, 2]; else everywhere the
    same."""
    actor_hidden: tuple[int, ...] = (64, 64)
    """Hidden layers of the actor."""
    critic_hidden: tuple[int, ...] = (64, 64)
    """Hidden layers of the critic."""
    actor_obs: str = "privileged"
    """What the actor reads: "state", "privileged", "inferable": "state" and what the task says of
    the scene, as a student could find out, without xi; or "pixels": its cameras and "state"."""
    critic_obs: str = "privileged"
    """What the critic reads: "state" or "privileged"."""
    rnn_hidden: int = 0
    """Size of the memory (GRU) of actor and critic, H; 0 remembers nothing."""
    cnn_channels: int = 16
    """Feature maps of each image encoder of an actor that reads pixels."""
    imitation_coef: float = 0.1
    """Weight of KL(teacher || actor) where the actor begins as a student (--start); it falls evenly
    to 0 over the run."""
    bf16: bool = False
    """Hidden layers and image encoders compute in bfloat16; all else stays float32."""

    def __post_init__(self) -> None:
        """Checks the settings.

        Raises:
            ValueError: a setting that cannot work, named.
        """
        check_numbers(
            self,
            "ppo",
            sizes=(
                *("num_envs", "num_steps", "num_minibatches", "num_epochs", "cnn_channels"),
                *("actor_hidden", "critic_hidden"),
            ),
            positive=(
                *("learning_rate", "clip_epsilon", "max_grad_norm", "reward_scale", "init_std"),
            ),
            weights=(
                *("value_coef", "entropy_coef", "target_kl", "value_clip", "imitation_coef"),
                "rnn_hidden",
            ),
            shares=("gamma", "gae_lambda"),
        )
        minibatches.check_items(
            self.num_envs,
            self.num_steps,
            self.num_minibatches,
            self.rnn_hidden > 0,
            what="ppo",
            who="the networks remember",
        )
        kinds = ("state", "privileged")
        self._check("actor_obs", (*kinds, "inferable", "pixels"))
        self._check("critic_obs", kinds)

    def _check(self, name: str, kinds: tuple[str, ...]) -> None:
        """Raises ValueError unless a setting is one of ``kinds``."""
        if getattr(self, name) not in kinds:
            known = " or ".join(map(repr, kinds))
            raise ValueError(f"ppo.{name} {getattr(self, name)!r} must be {known}")

    @property
    def actor_reads(self) -> str:
        """Name of the actor's numbers: an observation's, or "inferable", which is made of two."""
        return "state" if self.actor_obs == "pixels" else self.actor_obs

    @property
    def groups(self) -> int:
        """Number of groups of neighbouring worlds within which minibatches are shuffled."""
        return minibatches.groups(self.num_envs, self._items, self.num_minibatches)

    @property
    def _items(self) -> int:
        """What minibatches are made of: steps, or whole worlds where the networks remember."""
        return minibatches.count_items(self.num_envs, self.num_steps, self.rnn_hidden > 0)
