"""python -m train new NAME --model my_robot/robot.xml: a task file and its test, for that robot.

An arm brings its tip to a target, a robot that floats stands or walks; which of them it is follows
from the model. The table names the robot's own links, joints and servos.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

import tyro

from mjx_s2r.newtask.task_writer import NewTask, write_new_task
from mjx_s2r.runtime.progress import print_line


@dataclass(frozen=True)
class NewConfig:
    """Settings of a new task."""

    name: Annotated[str, tyro.conf.Positional, tyro.conf.arg(metavar="NAME")]
    """Name of the task and of its file, a Python name."""
    model: Path = Path("my_robot/robot.xml")
    """The robot's MJCF; `python -m train prepare` makes one of what its maker publishes."""
    kind: Literal["auto", "arm", "legged"] = "auto"
    """What it does: arm reaches, legged stands or walks; auto chooses by whether it floats."""
    out: Path = Path()
    """Folder of the two files."""
    overwrite: bool = False
    """Replace files that are there."""


def next_steps(new: NewTask) -> list[str]:
    """Returns the commands that come next."""
    folder, here = new.file.parent.resolve(), Path.cwd().resolve()
    inside = folder.relative_to(here).parts if folder.is_relative_to(here) else ()
    importable = folder.is_relative_to(here) and all(part.isidentifier() for part in inside)
    task = ".".join((*(inside if importable else ()), new.name)) + f":{new.class_name}"
    python = "python -m train" if importable else f"PYTHONPATH={folder} python -m train"
    teacher, student = f"runs/{new.name}/teacher", f"runs/{new.name}/student"
    lines = [
        f"python -m pytest {new.test}",
        f"{python} check --task {task}",
        f"{python} teacher --task {task} --run {teacher}",
    ]
    if new.facts.camera:
        lines += [
            f"{python} student --teacher {teacher} --run {student}",
            f"{python} export --student {student}",
            f"{python} evaluate --task {task} --policy {student}/policy.onnx",
            f"{python} pipeline --task {task} --run runs/{new.name}",
        ]
    return lines


def main(argv: Sequence[str]) -> None:
    """Parses the command line, writes the files and says what comes next."""
    config = tyro.cli(NewConfig, args=list(argv))
    new = write_new_task(
        config.name, config.model, config.out, kind=config.kind, overwrite=config.overwrite
    )
    for line in new.told:
        print_line(line)
    for line in new.left_out:
        print_line(f"row left out: {line}")
    print_line(f"{new.file}: {new.class_name}, {new.rows} rows; {new.test}: its test")
    print_line("next:")
    for line in next_steps(new):
        print_line(f"  {line}")
