"""The gallery: every card agrees with the policy beside it, and one flies."""

import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

import mjx_s2r as s2r
from mjx_s2r.api.gallery import (
    CARD,
    FILE,
    GALLERY,
    Card,
    GalleryPolicy,
    gallery,
    gallery_policy,
    read_card,
)
from mjx_s2r.envs.registry import make_task, task_names, task_spec
from mjx_s2r.eval.intervals import wilson
from mjx_s2r.io.config import ConfigError
from mjx_s2r.io.run import RunError
from mjx_s2r.params import ParamError

MOST_MB = 6.0
NAMES = sorted(gallery())
TRAINED = [name for name, entry in gallery().items() if not entry.card.untrained]


def test_every_task_that_ships_has_a_place() -> None:
    known = {name: task_spec(name) for name in task_names()}
    ours = {name for name, spec in known.items() if spec.make.__module__.startswith("mjx_s2r.")}
    assert ours == {entry.card.task for entry in gallery().values()}


def test_the_files_are_small() -> None:
    size = sum(path.stat().st_size for path in GALLERY.rglob("*") if path.is_file())
    assert size < MOST_MB * 1e6


@pytest.mark.parametrize("name", TRAINED)
def test_a_card_agrees_with_its_policy(name: str) -> None:
    """Loading runs golden vectors, so the file computes here what it computed where it was made."""
    entry = gallery()[name]
    policy, card = entry.load(), entry.card
    contract, task = policy.contract, make_task(card.task)
    assert contract.action.joints == task.contract.action.joints
    assert contract.task == task.name and contract.engine == card.engine
    assert {r.name for r in contract.ranges} == set(task.space.names)
    assert all(signal.name in card.reads for signal in contract.signals)
    assert all(f"camera {camera.name}" in card.reads for camera in contract.cameras)
    action = policy.act(
        np.zeros(contract.size, np.float32),
        {c.name: np.zeros((c.height, c.width, 3), np.uint8) for c in contract.cameras},
    )
    assert action.shape == (len(contract.action.joints),) and np.isfinite(action).all()


@pytest.mark.parametrize("name", TRAINED)
def test_a_card_says_what_the_policy_makes(name: str) -> None:
    card = gallery()[name].card
    assert card.outcomes and card.steps > 0 and len(card.commit) == 40 and card.machine
    for outcome in card.outcomes:
        share = outcome.successes / outcome.episodes
        assert outcome.low <= share <= outcome.high
        low, high = wilson(outcome.successes, outcome.episodes)  # clustered ones are no narrower
        assert outcome.low <= low + 1e-9 and outcome.high >= high - 1e-9
        assert f"mjx_s2r/gallery/{name}/{FILE}" in outcome.command


def test_the_page_says_what_the_cards_say() -> None:
    text = (Path(__file__).parents[2] / "docs" / "gallery.md").read_text()
    for name in TRAINED:
        assert f"| `{name}` |" in text and gallery()[name].card.outcomes[0].words in text, name
    untrained = set(NAMES) - set(TRAINED)
    assert all(f"`{name}`" in text.partition("none is trained")[2] for name in untrained)


def test_what_is_untrained_says_so_and_has_no_file() -> None:
    entry = gallery_policy("reorient")
    assert entry.card.untrained and not (entry.folder / FILE).exists()
    with pytest.raises(ParamError, match="no policy of 'reorient' has been trained"):
        entry.load()


def test_an_unknown_name_lists_the_near_ones() -> None:
    with pytest.raises(ParamError, match="'raech'; did you mean 'reach'"):
        gallery_policy("raech")


def test_a_card_that_is_none_is_named(tmp_path: Path) -> None:
    for text, says in (
        ("{", "card.json: "),
        ('{"task": "reach", "goal": "g"}', "either commands that made a policy"),
        ('{"task": "reach", "goal": "g", "untrained": "x", "steeps": 1}', "did you mean 'steps'"),
    ):
        (tmp_path / CARD).write_text(text)
        with pytest.raises(ConfigError, match=says):
            read_card(tmp_path)


def test_a_card_is_shown_in_lines() -> None:
    card = Card(task="reach", goal="The cube is touched.", commands=("one", "two"), steps=1000)
    text = str(GalleryPolicy("mine", card, Path()))
    assert text.startswith("mine\n") and "control steps: 1,000" in text
    assert text.endswith("made by: one\n  made by: two")
    assert "untrained: no" in str(
        GalleryPolicy("x", replace(card, commands=(), untrained="no"), Path())
    )


def test_the_door_leads_to_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert s2r.gallery() == gallery()
    with pytest.raises(RunError, match=r"gallery\(\)\['cartpole'\], and fly\('cartpole'\)"):
        s2r.load("cartpole")
    with pytest.raises(ParamError, match="'cartpol'; did you mean 'cartpole'"):
        s2r.fly("cartpol")


def test_listing_the_gallery_loads_no_jax() -> None:
    code = (
        "import sys; from mjx_s2r.api.gallery import gallery; gallery();"
        "print(*(n in sys.modules for n in ('jax', 'mujoco')))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["False", "False"]
