"""The gallery: trained policies that come with the package, a folder each with policy and card.

    gallery/reach/policy.onnx    the policy; its contract and the ranges trained on are inside
    gallery/reach/card.json      how it was made, and what it did on robots: `Card`

A task without a trained policy has a card alone, which says why. Nothing here loads jax.
"""

from dataclasses import dataclass
from pathlib import Path

import msgspec

from mjx_s2r.io.config import ConfigError, from_dict
from mjx_s2r.params import ParamError, unknown
from mjx_s2r.robot.policy import Policy

GALLERY = Path(__file__).parents[1] / "gallery"
CARD, FILE = "card.json", "policy.onnx"


@dataclass(frozen=True)
class CardOutcome:
    """What a policy did on one kind of robots.

    Attributes:
        robots: which, in words.
        count: how many of them.
        episodes: on all of them together.
        successes: how many of the episodes.
        low: low end of the 95 % interval of the success rate, over robots.
        high: high end.
        command: what judged it.
    """

    robots: str
    count: int
    episodes: int
    successes: int
    low: float
    high: float
    command: str

    @property
    def words(self) -> str:
        """The figure in words."""
        share = self.successes / self.episodes
        return (
            f"{share:.0%} of {self.episodes} episodes on {self.count} {self.robots} "
            f"({100 * self.low:.0f} to {100 * self.high:.0f} %)"
        )


@dataclass(frozen=True)
class Card:
    """How a policy of the gallery was made, and what it makes.

    Attributes:
        task: name that makes its task.
        goal: what counts as a success, a sentence.
        reads: what it reads, in words.
        ranges: what it was trained on, in words; the file has every range.
        engine: of the physics that it was trained in.
        steps: control steps of training, of teacher and student together.
        seed: of the training.
        commands: what made it, one after another.
        outcomes: what it did, by kind of robots; the task's own first.
        commit: of the code that trained it.
        machine: that trained it.
        versions: of the packages.
        note: what else must be known.
        untrained: why there is no policy; empty where there is one.
    """

    task: str
    goal: str
    reads: str = ""
    ranges: str = ""
    engine: str = ""
    steps: int = 0
    seed: int = 0
    commands: tuple[str, ...] = ()
    outcomes: tuple[CardOutcome, ...] = ()
    commit: str = ""
    machine: str = ""
    versions: dict[str, str] | None = None
    note: str = ""
    untrained: str = ""

    def __post_init__(self) -> None:
        """Checks that there is either a policy's making or the reason for its lack.

        Raises:
            ValueError: both or neither.
        """
        if bool(self.untrained) == bool(self.commands):
            raise ValueError("a card has either commands that made a policy, or says untrained")

    @property
    def facts(self) -> tuple[tuple[str, str], ...]:
        """Name and value of what the card says beside its outcomes, for people."""
        made = {
            "task": self.task,
            "goal": self.goal,
            "reads": self.reads,
            "trained on": self.ranges,
            "physics": {"jax": "MJX on JAX", "c": "C MuJoCo", "warp": "MuJoCo Warp"}.get(
                self.engine, self.engine
            ),
            "control steps": f"{self.steps:,}" if self.steps else "",
            "seed": str(self.seed) if self.steps else "",
            "commit": self.commit[:12],
            "machine": self.machine,
            "versions": ", ".join(f"{n} {v}" for n, v in (self.versions or {}).items()),
            "note": self.note,
            "untrained": self.untrained,
        }
        return tuple((name, value) for name, value in made.items() if value)


@dataclass(frozen=True)
class GalleryPolicy:
    """A place of the gallery.

    Attributes:
        name: its name.
        card: its card.
        folder: where both lie.
    """

    name: str
    card: Card
    folder: Path

    @property
    def path(self) -> Path:
        """The ONNX file, for `mjx_s2r.evaluate`, `mjx_s2r.fly` or ``mjx-s2r-robot run``.

        Raises:
            ParamError: a task that nobody has trained.
        """
        if self.card.untrained:
            raise ParamError(
                f"no policy of {self.name!r} has been trained: {self.card.untrained}; train one "
                f"(python -m train teacher --task {self.card.task})"
            )
        return self.folder / FILE

    def load(self) -> Policy:
        """Returns the policy, ready to act.

        Raises:
            ParamError: a task that nobody has trained.
        """
        return Policy.load(self.path)

    def __str__(self) -> str:
        """Returns the card in lines for a terminal."""
        lines = [self.name, *(f"  {name}: {value}" for name, value in self.card.facts)]
        lines += [f"  success: {outcome.words}" for outcome in self.card.outcomes]
        return "\n".join([*lines, *(f"  made by: {line}" for line in self.card.commands)])


def gallery() -> dict[str, GalleryPolicy]:
    """Returns the trained policies that come with the package, by name, each with its card.

    Raises:
        ConfigError: a card that cannot be read.
    """
    folders = sorted(path.parent for path in GALLERY.glob(f"*/{CARD}"))
    return {
        folder.name: GalleryPolicy(folder.name, read_card(folder), folder) for folder in folders
    }


def gallery_policy(name: str) -> GalleryPolicy:
    """Returns a policy of the gallery.

    Raises:
        ParamError: no such name; lists the near ones.
    """
    known = gallery()
    if name not in known:
        raise unknown("policy of the gallery", name, list(known))
    return known[name]


def read_card(folder: Path) -> Card:
    """Returns the card in a folder.

    Raises:
        ConfigError: one that is no card; names the file.
    """
    path = folder / CARD
    try:
        return from_dict(Card, msgspec.json.decode(path.read_bytes()))
    except (msgspec.DecodeError, ConfigError, ValueError) as error:
        raise ConfigError(f"{path}: {error}") from error
