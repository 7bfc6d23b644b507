"""What a study is made of: arms, robots, sizes, and the comparisons that it concludes on.

An arm is a name and a recipe, and a recipe is anything with `Recipe.make`: it trains one policy and
returns the exported file. A place is a family of robots, named by words that fit behind "on", and
made of a reality file (docs/reality.md).
"""

import json
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, Protocol

from mjx_s2r.io.run import write_json
from mjx_s2r.learn.distill.config import DistillConfig
from mjx_s2r.learn.ppo.config import PPOConfig
from mjx_s2r.params import ParamError
from train.studies.conclusions import Comparison

if sys.platform != "win32":
    import fcntl

Row = dict[str, Any]  # a finished training and its verdicts, as its file holds it
Size = Literal["small", "full"]
ROWS = "rows"  # folder of a study with a file for each finished training


@dataclass(frozen=True)
class Preset:
    """The sizes of a study, and the task that it is made on.

    Attributes:
        task: name of the task, or module:Class.
        iterations: PPO iterations of every training.
        seeds: trainings of each arm.
        places: name of a family of robots -> its reality file.
        count: robots of each family.
        episodes: of each policy on each robot.
        minutes: what it takes on two cores, estimated.
        ppo: settings of PPO; absent, those that fit the task.
        distill: settings of students; absent, those that fit the task.
        engine: what takes the physics steps of trainings.
    """

    task: str
    iterations: int
    seeds: int
    places: Mapping[str, Path]
    count: int
    episodes: int
    minutes: float
    ppo: PPOConfig | None = None
    distill: DistillConfig | None = None
    engine: Literal["auto", "jax", "warp", "c"] = "jax"

    def __post_init__(self) -> None:
        """Checks the sizes.

        Raises:
            ParamError: one that cannot be, named.
        """
        for name in ("iterations", "seeds", "count", "episodes"):
            if getattr(self, name) < 1:
                raise ParamError(f"study.{name} {getattr(self, name)} must be at least 1")


@dataclass(frozen=True)
class Job:
    """One training that a recipe is asked for.

    Attributes:
        arm: name of the arm.
        seed: of the training.
        preset: task and sizes.
        folder: where runs lie; arms of one study share it.
        robot: number of the robot that it is for, of an arm that knows its robot.
        weights: file of a pretrained network, for studies that need one.
    """

    arm: str
    seed: int
    preset: Preset
    folder: Path
    robot: int | None = None
    weights: Path | None = None

    def named(self, name: str = "") -> Path:
        """Returns the folder of a training; ``name`` is that of the arm if it is absent."""
        label = (name or self.arm).replace(" ", "_")
        robot = "" if name or self.robot is None else f"-robot{self.robot}"
        return self.folder / f"{label}{robot}-{self.seed}"

    @contextmanager
    def making(self, name: str = "") -> Iterator[Path]:
        """Yields the folder of a training that arms may share, to one process at a time.

        The others wait; what they then find there is finished, and they go on from it.
        """
        folder = self.named(name)
        self.folder.mkdir(parents=True, exist_ok=True)
        with (self.folder / f".{folder.name}.making").open("w") as file:
            if sys.platform != "win32":
                with suppress(OSError):  # of a file system without locks
                    fcntl.flock(file, fcntl.LOCK_EX)
            yield folder


@dataclass(frozen=True)
class Made:
    """What a recipe made.

    Attributes:
        policy: the exported file.
        env_steps: environment steps of all trainings behind it.
        curve: lines of the training's success: step, env_steps, success.
        bounds: lines of bounds.jsonl, where a study looks at ranges.
        facts: further figures of the study's own, as JSON values.
        places: further families of robots, which only this policy is judged on: a reality file, or
            a folder of them.
    """

    policy: Path
    env_steps: int = 0
    curve: Sequence[Mapping[str, float]] = ()
    bounds: Sequence[Mapping[str, Any]] = ()
    facts: Mapping[str, Any] = field(default_factory=dict)
    places: Mapping[str, Path] = field(default_factory=dict)


class Recipe(Protocol):
    """How the policy of an arm is made; a frozen dataclass."""

    def make(self, job: Job) -> Made:
        """Trains and exports one policy; what a killed process had done is not done again."""
        ...


@dataclass(frozen=True)
class Arm:
    """One of the ways that a study compares.

    Attributes:
        name: short; it stands in tables and sentences.
        about: how its policies are made, a few words.
        recipe: makes them; None in a study that is a program of its own.
        places: families of robots that judge it; empty: all.
        each_robot: it has a training for each robot, which alone judges it.
    """

    name: str
    about: str
    recipe: Recipe | None = None
    places: tuple[str, ...] = ()
    each_robot: bool = False


@dataclass(frozen=True)
class Panel:
    """One more section of a study's page.

    Attributes:
        title: of the section.
        text: what is to be seen.
        charts: title and <svg> of each chart.
        table: rows of a table; the first one is its head.
    """

    title: str
    text: str = ""
    charts: Sequence[tuple[str, str]] = ()
    table: Sequence[Sequence[str]] = ()


@dataclass(frozen=True)
class Study:
    """A study: everything that is not a number of this machine.

    Attributes:
        name: on the command line.
        question: one sentence.
        about: what is trained, what the robots are, why so; a paragraph.
        arms: what is compared.
        presets: its sizes.
        comparisons: what the conclusion says; all of them together hold with 95 %.
        notes: (rows, preset) -> sentences that no comparison can say, from the rows alone.
        panels: (rows, preset) -> further sections of the page.
        missing: says why the study cannot run here, e.g. what must be given; "" if it can.
        shares: name of the folder of trainings, beside that of the study, that studies of one size
            share; empty: a folder of its own.
    """

    name: str
    question: str
    about: str
    arms: tuple[Arm, ...]
    presets: Mapping[Size, Preset]
    comparisons: tuple[Comparison, ...]
    notes: Callable[[Sequence[Row], Preset], Sequence[str]] | None = None
    panels: Callable[[Sequence[Row], Preset], Sequence[Panel]] | None = None
    missing: Callable[["StudySettings"], str] | None = None
    shares: str = ""

    def __post_init__(self) -> None:
        """Checks that comparisons name arms and places that there are.

        Raises:
            ParamError: no arm, an arm twice, or a name that leads nowhere.
        """
        names = [arm.name for arm in self.arms]
        if not names or len(set(names)) < len(names):
            raise ParamError(f"study {self.name!r}: arms {names} must be some, each named once")
        for comparison in self.comparisons:
            for cell in (comparison.first, comparison.second):
                if cell.arm not in names:
                    raise ParamError(
                        f"study {self.name!r} compares {cell.arm!r}, which is none of its arms "
                        f"{names}"
                    )


@dataclass(frozen=True)
class StudySettings:
    """What a study's run is made with; kept in its config.json.

    Attributes:
        run: folder of the study.
        study: its name.
        size: which preset was begun with.
        preset: sizes and task.
        arms: name -> the recipe's settings.
        places: family of robots -> what its file says.
        weights: file of a pretrained network, for studies that need one.
    """

    run: Path
    study: str
    size: Size
    preset: Preset
    arms: dict[str, Any] = field(default_factory=dict)
    places: dict[str, str] = field(default_factory=dict)
    weights: Path | None = None


def read_rows(folder: Path) -> list[Row]:
    """Returns the row of every finished training of a study."""
    return [json.loads(path.read_text()) for path in sorted((folder / ROWS).glob("*.json"))]


def gathered_rows(folder: Path, inner: str) -> list[Row]:
    """Returns a row for each entry of the list ``inner`` of every finished training."""
    return spread_rows(read_rows(folder), inner)


def spread_rows(rows: Sequence[Row], inner: str) -> list[Row]:
    """Returns a row for each entry of the list ``inner`` of each row."""
    found = []
    for held in rows:
        shared = {name: value for name, value in held.items() if name != inner}
        found += [shared | one for one in held[inner]]
    return found


def write_figures(body: Mapping[str, Any], kept: Path, second: Path | None) -> list[Path]:
    """Writes what a study found into its folder and to a second place; returns the files."""
    files = [kept] if second is None else [kept, second]
    for file in files:
        file.parent.mkdir(parents=True, exist_ok=True)
        write_json(file, body)
    return files
