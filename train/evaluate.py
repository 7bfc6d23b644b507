"""python -m train evaluate --policy runs/student/policy.onnx: its success rate on robots.

Runs the file through controller, guard and driver on simulated robots: the task's own, those of a
reality file (--reality my_robot.toml, docs/reality.md), or the task's model with usual flaws. The
same file then plays in worlds of its training from the same starts, and the share of its success
that the robots lose is judged: below 10 % good, above 30 % poor (`mjx_s2r.eval.gap_verdict`); why
it is lost is the business of `train gap`. The figures also go into a JSON file beside the policy:
those of the robots at once, the verdict when it is known. Every episode is kept as it ends: an
evaluation that was stopped, by Ctrl-C or by kill -9, goes on by the same command.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

import tyro
from rich.table import Table

from mjx_s2r.api.robots import (
    ROBOTS,
    evaluate_in_simulation,
    evaluate_on_robots,
    kept_episodes,
    open_policy,
    performance,
    summary,
    wear_of,
)
from mjx_s2r.api.robots import EvaluateConfig as RobotsConfig
from mjx_s2r.eval.gap_verdict import judge_gap
from mjx_s2r.io.run import check_writable, write_json
from mjx_s2r.params import ParamError
from mjx_s2r.robot.log.wear import JointWear, wear_remarks
from mjx_s2r.runtime.progress import console

ENDING = ".evaluation.json"
KEPT = ".episodes.jsonl"  # beside the figures, until these are complete


@dataclass(frozen=True)
class EvaluateConfig(RobotsConfig):
    """Settings of an evaluation and its verdict."""

    simulated: int = 5
    """Episodes in each of as many simulated worlds as there are robots, for the verdict; 0 leaves
    it out."""
    processes: int = 0
    """Processes that share the robots; 0: one per processor, at most 8."""

    def __post_init__(self) -> None:
        """Checks the settings.

        Raises:
            ParamError: fewer than no episodes.
        """
        if self.simulated < 0:
            raise ParamError(f"simulated {self.simulated} must be at least 0")


def main(argv: Sequence[str]) -> None:
    """Parses the command line, evaluates, prints and writes."""
    config = tyro.cli(EvaluateConfig, args=list(argv))
    path = config.json or config.policy.with_suffix(ENDING)
    if config.policy.is_file():
        for folder in filter(None, (path.parent, config.logs)):
            check_writable(folder)
    kept = kept_episodes(config, path.with_suffix(KEPT))
    if before := len(kept.episodes(ROBOTS)):
        console.print(f"{before} episodes on robots were kept and are not run again")
    try:
        episodes = evaluate_on_robots(config, kept)
    except KeyboardInterrupt:
        if so_far := list(kept.episodes(ROBOTS).values()):
            console.print(table(summary(so_far)))
        raise
    given = {"policy": config.policy, "task": config.task, "reality": config.reality}
    contract = open_policy(config.policy, config.task)[0].contract
    wear = wear_of(contract, episodes)
    figures = {**given, **summary(episodes), "wear": {j: _numbers(w) for j, w in wear.items()}}
    write_json(path, figures)  # kept whatever becomes of the simulated part
    console.print(table(figures))
    for text in wear_remarks(list(wear), list(wear.values())):
        console.print(text, highlight=False)
    for name in ("interventions", "overruns", "act_p50_us", "act_p99_us"):
        console.print(f"{name}: {figures[name]}", highlight=False)
    if config.simulated and not contract.ranges:
        console.print("no verdict: the file does not say what it was trained on")
    elif config.simulated:
        plain = replace(config, films=0, logs=None)
        played = evaluate_in_simulation(plain, episodes=config.simulated, kept=kept)
        verdict = judge_gap(performance(played), performance(episodes))
        figures["simulation"] = performance(played).to_json()
        figures["verdict"] = verdict.to_json()
        write_json(path, figures)
        console.print(f"gap to simulation: {verdict.sentence}", highlight=False)
    kept.remove()
    console.print(f"written to {path}", highlight=False)


def table(figures: Mapping[str, Any]) -> Table:
    """Returns the successes on each robot and on all."""
    columns = ("robot", "success", "of", "95 % interval", "return", "length")
    out = Table(*columns, "why the others failed")
    for name, row in (*figures["per_robot"].items(), ("all", figures)):
        low, high = row["interval"]
        why = ", ".join(f"{reason} ({count})" for reason, count in row["reasons"].items())
        good, count = row["successes"], row["episodes"]
        means = [_mean(row[key]) for key in ("return", "length")]
        out.add_row(name, str(good), str(count), f"{low:.2f} to {high:.2f}", *means, why)
    return out


def _numbers(wear: JointWear) -> dict[str, float | None]:
    """Returns what wore a joint, as JSON values; None for what is not known."""
    return {name: None if math.isnan(x) else x for name, x in asdict(wear).items()}


def _mean(value: float | Sequence[float | None]) -> str:
    """Returns a mean, with its interval where there is one."""
    if isinstance(value, float):
        return f"{value:.4g}"
    mean, low, high = value
    ends = "" if low is None or high is None else f" ({low:.4g} to {high:.4g})"
    return f"{mean:.4g}{ends}"
