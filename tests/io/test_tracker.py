"""Weights & Biases: what is sent, that a resumed run is the same one, and that no error ends it."""

import json
import math
import sys
import warnings
from dataclasses import dataclass
from pathlib import Path

import pytest

from mjx_s2r.io.run import RunError
from mjx_s2r.io.tracker import IDENTITY, ending, mode, track
from tests.fake_wandb import FakeWandb


@dataclass(frozen=True)
class Settings:
    """Settings of a run."""

    rate: float = 0.5
    where: Path = Path("runs/x")


@pytest.fixture
def wandb(monkeypatch: pytest.MonkeyPatch) -> FakeWandb:
    """A module in wandb's place, and no variables of the user's."""
    fake = FakeWandb()
    monkeypatch.setitem(sys.modules, "wandb", fake)
    for name in ("WANDB_MODE", "WANDB_API_KEY"):
        monkeypatch.delenv(name, raising=False)
    return fake


def test_lines_go_to_the_run_with_the_iteration_as_their_axis(
    wandb: FakeWandb, tmp_path: Path
) -> None:
    tracker = track(tmp_path, "arms", Settings())
    assert tracker is not None
    tracker.log(5, {"return": 2.0, "success": math.nan})
    tracker.close()
    run = wandb.runs["run0"]
    assert run.lines == [{"iteration": 5, "return": 2.0}]
    assert run.axes == {"iteration": None, "*": "iteration"} and run.ended == 0
    asked = wandb.asked[0]
    assert asked["project"] == "arms" and asked["name"] == tmp_path.name
    assert asked["config"] == {"rate": 0.5, "where": "runs/x"} and asked["dir"] == str(tmp_path)


def test_a_resumed_run_goes_on_under_the_same_id(wandb: FakeWandb, tmp_path: Path) -> None:
    for step in (1, 2):
        tracker = track(tmp_path, "arms", Settings())
        assert tracker is not None
        tracker.log(step, {"return": 1.0})
        tracker.close(failed=step == 2)
    assert [a["id"] for a in wandb.asked] == [None, "run0"]
    assert [a["resume"] for a in wandb.asked] == [None, "allow"]
    assert [line["iteration"] for line in wandb.runs["run0"].lines] == [1, 2]
    assert wandb.runs["run0"].ended == 1
    assert json.loads((tmp_path / IDENTITY).read_text()) == {"project": "arms", "id": "run0"}
    track(tmp_path, "legs", Settings())
    assert wandb.asked[-1]["id"] is None, "another project knows no such run"


def test_a_run_that_an_error_ends_counts_as_failed(wandb: FakeWandb, tmp_path: Path) -> None:
    with ending(track(tmp_path, "arms", Settings())):
        pass
    assert wandb.runs["run0"].ended == 0
    with (
        pytest.raises(KeyboardInterrupt),
        ending(track(tmp_path, "arms", Settings())),
        ending(None),
    ):
        raise KeyboardInterrupt
    assert wandb.runs["run0"].ended == 1


@pytest.mark.parametrize("where", ["init", "log"])
def test_an_error_is_told_once_and_ends_nothing(
    wandb: FakeWandb, tmp_path: Path, where: str
) -> None:
    wandb.breaks = where == "init"
    with pytest.warns(RuntimeWarning, match="training goes on") as told:
        tracker = track(tmp_path, "arms", Settings())
        assert tracker is not None
        for run in wandb.runs.values():
            run.breaks = True
        for step in range(3):
            tracker.log(step, {"return": 1.0})
        tracker.close()
    assert len(told) == 1


def test_an_unwritable_folder_ends_nothing(wandb: FakeWandb, tmp_path: Path) -> None:
    with pytest.warns(RuntimeWarning, match="Weights & Biases is given up"):
        track(tmp_path / "gone", "arms", Settings())


def test_nothing_leaves_the_machine_unasked(
    wandb: FakeWandb, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert mode() == "offline"
    monkeypatch.setenv("WANDB_API_KEY", "k")
    assert mode() == "online"
    monkeypatch.setenv("WANDB_MODE", "disabled")
    track(tmp_path, "arms", Settings())
    assert wandb.asked[0]["mode"] == "disabled"


def test_without_a_project_nothing_is_imported(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setitem(sys.modules, "wandb", None)  # importing it is an error
    assert track(tmp_path, "", Settings()) is None
    with pytest.raises(RunError, match=r"pip install 'mjx_s2r\[wandb\]'"):
        track(tmp_path, "arms", Settings())


def test_the_real_package_keeps_a_run_offline(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        pytest.importorskip("wandb")
        monkeypatch.setenv("WANDB_MODE", "offline")
        monkeypatch.setenv("WANDB_SILENT", "true")
        tracker = track(tmp_path, "arms", Settings())
        assert tracker is not None
        tracker.log(1, {"return": 1.0})
        tracker.close()
    assert list(tmp_path.glob("wandb/offline-run-*/*.wandb"))
