"""Which rows of the table are critical? An adversary searches, robots confirm.

The cross-entropy search of `train adversary` finds the worlds in which a policy fails, and ranks
rows by how much the score rises when one of them alone goes back to nominal. That is found in the
training's simulator; whether it holds is judged on robots made of these worlds: as they are, with
the most critical row nominal, and with a row of the middle of the ranking nominal.
"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from mjx_s2r.curriculum.adversarial import Hardest, SearchConfig
from mjx_s2r.curriculum.registry import Uniform
from mjx_s2r.io.run import write_json
from mjx_s2r.params import ParamSpace
from train.adversary import AdversaryConfig, find_hardest
from train.studies.conclusions import Cell, Comparison
from train.studies.places import QUICK_CARTPOLE, SWING_UP
from train.studies.plan import Arm, Job, Made, Panel, Preset, Row, Study
from train.studies.recipes import StatePolicy

HARD = "robots of the hardest worlds"
WITHOUT = "such robots with the critical row nominal"
CONTROL = "such robots with a middling row nominal"
SOLVER = {"iterations": 50, "ls_iterations": 20}


@dataclass(frozen=True)
class SearchedPolicy:
    """A policy, and robots made of the worlds in which an adversary makes it fail.

    Attributes:
        policy: how it is made; a StatePolicy.
        search: settings of the search.
        episodes: in each world.
    """

    policy: StatePolicy
    search: SearchConfig
    episodes: int = 2

    def make(self, job: Job) -> Made:
        """Trains the policy, searches, and writes the robots."""
        made = self.policy.make(job)
        config = AdversaryConfig(
            run=made.policy.parent, seed=job.seed, episodes=self.episodes, search=self.search
        )
        space, found = find_hardest(config)
        top, middle = found.ranking[0], found.ranking[len(found.ranking) // 2]
        folder = made.policy.parent / "hardest"
        places = {HARD: None, WITHOUT: top, CONTROL: middle}
        return Made(
            made.policy,
            made.env_steps,
            made.curve,
            facts=_facts(space, found),
            places={
                place: write_worlds(folder / f"{i}", space, found, row)
                for i, (place, row) in enumerate(places.items())
            },
        )


def write_worlds(folder: Path, space: ParamSpace, found: Hardest, nominal: str | None) -> Path:
    """Writes the hardest worlds as reality files, a row of them ``nominal``; returns the folder.

    Args:
        folder: where to.
        space: the table.
        found: the worlds.
        nominal: name of the row that goes back to its nominal value; None for none.
    """
    folder.mkdir(parents=True, exist_ok=True)
    for k, xi in enumerate(found.xi):
        rows = {n: float(xi[space.index(n)]) for n in found.ranking if n != nominal}
        body = {"count": 1, "seed": 4000 + k, "rows": rows, "physics": SOLVER}
        write_json(folder / f"world{k:02d}.json", body)
    return folder


def _facts(space: ParamSpace, found: Hardest) -> dict[str, object]:
    """Returns the ranking as JSON values, and the score of the hardest worlds in simulation."""
    each = {
        name: [
            float(found.recovery[space.index(name)]),
            float(found.share[space.index(name)]),
        ]
        for name in found.ranking
    }
    return {"hardest": float(np.mean(found.score)), "ranking": list(found.ranking), "rows": each}


def notes(rows: Sequence[Row], preset: Preset) -> list[str]:
    """Returns which rows came first, in sentences."""
    first = Counter(row["facts"]["ranking"][0] for row in rows)
    if not first:
        return []
    told = ", ".join(f"{name} in {count} of {len(rows)}" for name, count in first.most_common())
    hard = float(np.mean([row["facts"]["hardest"] for row in rows]))
    return [
        f"Most critical by the search in simulation: {told} trainings; success in the hardest "
        f"worlds there {100 * hard:.0f} %."
    ]


def panels(rows: Sequence[Row], preset: Preset) -> list[Panel]:
    """Returns the section with the rows, by their mean recovery."""
    if not rows:
        return []
    names = rows[0]["facts"]["ranking"]
    gain = {n: [row["facts"]["rows"][n][0] for row in rows] for n in names}
    share = {n: [row["facts"]["rows"][n][1] for row in rows] for n in names}
    place = {n: [row["facts"]["ranking"].index(n) + 1 for row in rows] for n in names}
    order = sorted(names, key=lambda n: -float(np.mean(gain[n])))
    table = [("row", "success gained at nominal, points", "share of variance", "rank by training")]
    for n in order:
        ranks = ", ".join(map(str, place[n]))
        mean, part = 100 * float(np.mean(gain[n])), 100 * float(np.mean(share[n]))
        table.append((n, f"{mean:+.0f}", f"{part:.0f} %", ranks))
    text = (
        "Found in the simulator of the training. Gained: how much the success in the hardest "
        "worlds rises when this row alone is nominal. Share: of the variance of the success over "
        "the whole table, what the row explains by itself. Means over trainings."
    )
    return [Panel("The rows, most critical first", text, (), table)]


STUDY = Study(
    name="critical",
    question="Which rows are critical for a policy, and does that hold on robots?",
    about=(
        "A policy that reads what the robot has is trained in worlds a quarter of the way to the "
        "limits. The cross-entropy method then searches the whole table for worlds in which it "
        "fails. Robots are made of the hardest worlds; on some of them the most critical row, or "
        "one of the middle of the ranking, goes back to nominal."
    ),
    arms=(
        Arm(
            "policy",
            "a quarter of the way to the limits",
            SearchedPolicy(
                StatePolicy(Uniform(width=0.25)),
                SearchConfig(worlds=128, generations=6, hardest=10),
            ),
        ),
    ),
    presets={
        "small": Preset(
            task=QUICK_CARTPOLE,
            iterations=200,
            seeds=3,
            places={},
            count=10,
            episodes=1,
            minutes=4,
            ppo=SWING_UP,
        ),
        "full": Preset(
            task=QUICK_CARTPOLE,
            iterations=240,
            seeds=8,
            places={},
            count=10,
            episodes=5,
            minutes=60,
            ppo=SWING_UP,
        ),
    },
    comparisons=(
        Comparison(Cell("policy", WITHOUT), Cell("policy", HARD), "the critical row nominal"),
        Comparison(Cell("policy", CONTROL), Cell("policy", HARD), "a middling row nominal"),
        Comparison(Cell("policy", WITHOUT), Cell("policy", CONTROL), "critical against middling"),
    ),
    notes=notes,
    panels=panels,
)
