"""From the folders of a demo to the fields of its report."""

from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from mjx_s2r.envs.registry import make_task, robots_of
from mjx_s2r.eval.intervals import design_effect
from mjx_s2r.io.run import BOUNDS, METRICS, POLICY, REPORT
from mjx_s2r.report import demo_report
from mjx_s2r.report.findings import (
    NOMINAL,
    PLAIN,
    RANDOMIZED,
    STAND_IN,
    DemoReport,
    Film,
    Outcome,
    Pipeline,
    Provenance,
    RobotSide,
)
from mjx_s2r.report.media import FILMS, read_films
from mjx_s2r.robot.drivers.imperfections import SERVO_ARM
from mjx_s2r.robot.loop_bench import measure_loop
from mjx_s2r.robot.policy import Policy
from mjx_s2r.runtime import devices

TARGET = 0.8
LOOP_S = 4.0  # of the control loop, in which a policy's time is taken
NOT_MODELLED = (
    "A real robot: the stand-in is another simulation with other numbers.",
    "Contact in training: collisions are switched off there and on in the stand-in.",
    "Heat, cable drag, a soft table, motion blur, rolling shutter.",
)


def write_report(
    folder: Path, config: tuple[str, int], result: Mapping[str, Any], figures: Mapping[str, Any]
) -> None:
    """Writes report.html of a demo of ``config``, (task, seed)."""
    name, seed = config
    task, suite = make_task(name), robots_of(name)
    about = devices.describe()
    page = DemoReport(
        task=task.name,
        goal=f"The goal of task {task.name} holds for {task.hold_s} s."
        if suite is None
        else suite.GOAL,
        total_s=result["seconds"],
        outcomes=_outcomes(figures),
        target=TARGET,
        space=task.space,
        randomized=_pipeline(folder / "randomized", figures["randomized"]),
        plain=_pipeline(folder / "plain", figures["plain"]),
        policy=str(folder / "randomized" / POLICY),
        provenance=Provenance(
            command="make demo",
            machine=str(about.get("machine", "")),
            commit=str(about.get("commit", "")),
            seeds={"training": seed},
            versions=dict(about.get("versions", {})),
            effects=asdict(SERVO_ARM),
            not_modelled=NOT_MODELLED,
        ),
    )
    demo_report.write(folder / REPORT, page)


def _outcomes(figures: Mapping[str, Any]) -> tuple[Outcome, ...]:
    """Returns the rows of the table of successes."""
    rows = []
    for kind, name in ((RANDOMIZED, "randomized"), (PLAIN, "plain")):
        teacher, student = figures[name]["teacher"], figures[name]["student"]
        good = round(teacher["success"] * teacher["episodes"])
        rows.append(Outcome("teacher", kind, NOMINAL, good, teacher["episodes"]))
        robots = student["per_robot"].values()
        counts = ([robot[count] for robot in robots] for count in ("successes", "episodes"))
        total = (student["successes"], student["episodes"])
        effect = design_effect(*counts)
        rows.append(Outcome("student", kind, STAND_IN, *total, effect, len(robots)))
    return tuple(rows)


def _pipeline(folder: Path, figures: Mapping[str, Any]) -> Pipeline:
    """Returns what the page shows of one pipeline.

    A policy's time is taken here, in real time and with nothing beside it: while the robots were
    played, their processes and the other pipeline's shared the processors.
    """
    student = figures["student"]
    loop = measure_loop(Policy.load(folder / POLICY), LOOP_S)
    return Pipeline(
        teacher=folder / "teacher" / METRICS,
        student=folder / "student" / METRICS,
        bounds=folder / "teacher" / BOUNDS,
        ranges=folder / "student" / BOUNDS,
        worlds=np.load(folder / "mosaic.npz")["images"],
        films=_films(folder / FILMS),
        robot=RobotSide(
            steps=student["steps"],
            events=student["interventions"],
            latency_us=(loop.act_us[0], loop.act_us[1]),
            parity_error=figures["export"]["parity"],
        ),
    )


def _films(path: Path) -> tuple[Film, ...]:
    """Returns the kept episodes."""
    return tuple(
        Film(frames, success, f"robot {place}")
        for place, (_, frames, success) in enumerate(read_films(path), 1)
    )
