"""python -m train evaluate --policy runs/student/policy.onnx: its success rate on robots.

Runs the file through controller, guard and driver on simulated robots: the task's own, those of a
reality file (--reality my_robot.toml, docs/reality.md), or the task's model with usual flaws. The
figures also go into a JSON file beside the policy.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import tyro
from rich.table import Table

from mjx_s2r.api.robots import EvaluateConfig, evaluate_on_robots, summary
from mjx_s2r.io.run import check_writable, write_json
from mjx_s2r.runtime.progress import console

ENDING = ".evaluation.json"


def main(argv: Sequence[str]) -> None:
    """Parses the command line, evaluates, prints and writes."""
    config = tyro.cli(EvaluateConfig, args=list(argv))
    path = config.json or config.policy.with_suffix(ENDING)
    if config.policy.is_file():
        check_writable(path.parent)
    figures = summary(evaluate_on_robots(config))
    console.print(table(figures))
    for name in ("interventions", "overruns", "act_p50_us", "act_p99_us"):
        console.print(f"{name}: {figures[name]}", highlight=False)
    given = {"policy": config.policy, "task": config.task, "reality": config.reality}
    write_json(path, {**given, **figures})
    console.print(f"written to {path}", highlight=False)


def table(figures: Mapping[str, Any]) -> Table:
    """Returns the successes on each robot and on all."""
    out = Table("robot", "success", "of", "95 % interval", "why the others failed")
    for name, row in (*figures["per_robot"].items(), ("all", figures)):
        low, high = row["interval"]
        why = ", ".join(f"{reason} ({count})" for reason, count in row["reasons"].items())
        good, count = row["successes"], row["episodes"]
        out.add_row(name, str(good), str(count), f"{low:.2f} to {high:.2f}", why)
    return out
