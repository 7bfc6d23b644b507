"""python -m train teacher --task reach: a privileged teacher by PPO, and its curriculum."""

from collections.abc import Sequence

import tyro

from mjx_s2r.api.teacher import TeacherConfig, recipe, train_teacher
from train.command_line import base, gather_ranges


def main(argv: Sequence[str]) -> None:
    """Parses the command line and trains."""
    argv = gather_ranges(argv)
    train_teacher(tyro.cli(TeacherConfig, args=argv, default=recipe(*base(argv))))
