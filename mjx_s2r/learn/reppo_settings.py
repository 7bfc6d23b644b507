"""Settings of REPPO.

Paper and reference code run 1,024 worlds for 128 steps, and four epochs of 128 minibatches through
layers of 512 units: far too much for a CPU. The defaults here are the best of ten tried on cartpole
(with reward_low -0.2), one seed each, six of them stopped early. There PPO is the better learner:
its return was 747 after 0.87 million steps and 14 s of processor time, with these settings 503, and
366 while exploring, after 2.26 million and 77 s. Both prices begin higher than the reference's
0.01, with which the entropy fell far below its target at first.
"""

from dataclasses import dataclass

from mjx_s2r.learn import shuffle


@dataclass(frozen=True)
class ReppoConfig:
    """Settings of REPPO."""

    worlds: int = 512
    """Number of worlds, B."""
    unroll: int = 32
    """Control steps per rollout, T."""
    minibatches: int = 32
    """Minibatches per epoch."""
    epochs: int = 2
    """Passes over a rollout."""
    discount: float = 0.99
    """gamma per control step."""
    trace: float = 0.95
    """lambda of the targets."""
    learning_rate: float = 1e-3
    """Adam step size of actor and critic."""
    multiplier_rate: float = 3e-3
    """Adam step size of the logarithms of both multipliers."""
    max_grad_norm: float = 0.5
    """Largest norm of a network's gradient."""
    kl_bound: float = 0.1
    """How far one rollout may move the actor in a state: KL(before || after), nats."""
    entropy_target: float = 0.0
    """Entropy to hold, nats per action component; log 2 = 0.69 is a uniform one in [-1, 1]."""
    first_alpha: float = 0.1
    """Price of entropy at the start."""
    first_beta: float = 1.0
    """Price of KL at the start."""
    bins: int = 151
    """Bins that the critic spreads its estimate over."""
    spread: float = 0.75
    """Standard deviation of a target among the bins, in bins."""
    reward_scale: float = 1.0
    """Rewards are multiplied by this."""
    reward_low: float = -1.0
    """Least scaled reward that may go on for ever; bins begin at reward_low / (1 - discount)."""
    reward_high: float = 1.0
    """Most scaled reward that may go on for ever; bins end at reward_high / (1 - discount)."""
    self_prediction: float = 0.0
    """Weight of the loss by which the critic foresees its next features and the reward; 0: none."""
    actor_hidden: tuple[int, ...] = (64, 64)
    """Hidden layers of the actor."""
    critic_hidden: tuple[int, ...] = (64, 64)
    """Hidden layers of the critic."""
    actor_obs: str = "privileged"
    """What the actor reads: "state" or "privileged"."""
    critic_obs: str = "privileged"
    """What the critic reads: "state" or "privileged"."""

    def __post_init__(self) -> None:
        """Checks the settings.

        Raises:
            ValueError: a setting that cannot work, named.
        """
        for name in ("worlds", "unroll", "minibatches", "epochs"):
            if getattr(self, name) < 1:
                raise ValueError(f"reppo.{name} {getattr(self, name)} must be at least 1")
        for name in ("kl_bound", "first_alpha", "first_beta", "spread"):
            if getattr(self, name) <= 0:
                raise ValueError(f"reppo.{name} {getattr(self, name)} must be above 0")
        if not 0 <= self.discount < 1 or not 0 <= self.trace <= 1:
            raise ValueError(
                f"reppo.discount {self.discount} must be in [0, 1), for the bins have an end, and "
                f"reppo.trace {self.trace} in [0, 1]"
            )
        if self.bins < 2 or not self.critic_hidden or self.reward_low >= self.reward_high:
            raise ValueError(
                f"reppo.bins {self.bins} must be at least 2, reppo.critic_hidden "
                f"{self.critic_hidden} not empty, and reppo.reward_low {self.reward_low} below "
                f"reppo.reward_high {self.reward_high}"
            )
        if (self.worlds * self.unroll) % self.minibatches:
            raise ValueError(
                f"reppo: {self.worlds} worlds times {self.unroll} steps do not divide into "
                f"{self.minibatches} minibatches"
            )
        for name in ("actor_obs", "critic_obs"):
            if getattr(self, name) not in ("state", "privileged"):
                raise ValueError(
                    f"reppo.{name} {getattr(self, name)!r} must be 'state' or 'privileged'; actors "
                    "that see, or remember, train by PPO"
                )

    @property
    def units(self) -> int:
        """Size of the actor's memory: it has none."""
        return 0

    @property
    def support(self) -> tuple[float, float]:
        """Where the critic's bins begin and end."""
        horizon = 1 / (1 - self.discount)
        return self.reward_low * horizon, self.reward_high * horizon

    @property
    def groups(self) -> int:
        """Number of groups of neighbouring worlds within which samples are shuffled."""
        return shuffle.groups(self.worlds, self.worlds * self.unroll, self.minibatches)
