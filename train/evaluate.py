"""python -m train evaluate --policy runs/student/policy.onnx: its success rate on robots.

Runs the file through controller, guard and driver on simulated robots.
"""

from collections.abc import Sequence

import tyro

from mjx_s2r.api.robots import EvaluateConfig, evaluate_on_robots, summary
from mjx_s2r.runtime.progress import console


def main(argv: Sequence[str]) -> None:
    """Parses the command line, evaluates and prints."""
    figures = summary(evaluate_on_robots(tyro.cli(EvaluateConfig, args=list(argv))))
    for name, value in figures.items():
        console.print(f"{name}: {value}", highlight=False)
