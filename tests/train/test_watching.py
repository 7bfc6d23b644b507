"""A tracker and a profiler beside a training: the figures that they get, and what is left of it."""

import gzip
import json
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from mjx_s2r.api.teacher import TeacherConfig, train_teacher
from mjx_s2r.io.run import METRICS, RunError, read_jsonl
from mjx_s2r.learn.ppo.config import PPOConfig
from mjx_s2r.learn.profiler import FIRST, PARTS, Profiler
from mjx_s2r.runtime.progress import console
from mjx_s2r.sim.backends.physics_config import PhysicsConfig
from tests.fake_wandb import FakeWandb

SMALL = PPOConfig(
    num_envs=8, num_steps=4, num_minibatches=2, num_epochs=1, actor_hidden=(4,), critic_hidden=(4,)
)


@pytest.fixture(scope="module")
def wandb() -> Iterator[FakeWandb]:
    """A module in wandb's place."""
    with pytest.MonkeyPatch.context() as patch:
        fake = FakeWandb()
        patch.setitem(sys.modules, "wandb", fake)
        yield fake


@pytest.fixture(scope="module")
def config(wandb: FakeWandb, tmp_path_factory: pytest.TempPathFactory) -> TeacherConfig:
    """A finished run of five iterations, two of them traced, the last one after a resume."""
    config = TeacherConfig(
        task="tests.sim.toy:Toy",
        run=tmp_path_factory.mktemp("runs") / "toy",
        iterations=4,
        curriculum="expand",  # as in test_teacher_logs, so that both find one program in the cache
        episodes=64,
        log_every=2,
        devices=1,
        physics=PhysicsConfig("c"),
        wandb="toys",
        profile=2,
        ppo=SMALL,
    )
    train_teacher(config)
    config = replace(config, iterations=5, resume=True, profile=0)
    train_teacher(config)
    return config


@pytest.mark.slow
def test_the_tracker_gets_the_figures_of_the_log(config: TeacherConfig, wandb: FakeWandb) -> None:
    assert list(wandb.runs) == ["run0"], "a resumed run is the same one"
    sent = wandb.runs["run0"].lines
    kept = read_jsonl(config.run / METRICS)
    assert [line["iteration"] for line in sent] == [row["step"] for row in kept] == [2, 4, 5]
    for line, row in zip(sent, kept, strict=True):
        finite = {n: v for n, v in row.items() if n != "step" and v == v}
        assert finite.items() <= line.items()
    assert sent[0]["low/mass"] <= 1.0 <= sent[0]["high/mass"]
    assert wandb.runs["run0"].ended == 0


@pytest.mark.slow
def test_the_trace_can_be_opened(config: TeacherConfig) -> None:
    found = list(config.run.glob("profile/plugins/profile/*/*.json.gz"))
    assert any("perfetto" in path.name for path in found)
    assert list(config.run.glob("profile/plugins/profile/*/*.xplane.pb"))
    with gzip.open(next(p for p in found if "perfetto" in p.name), "rt") as file:
        held = json.load(file)
    names = {str(e.get("name")) for e in (held["traceEvents"] if isinstance(held, dict) else held)}
    assert any("iterate" in name for name in names)


def test_a_run_too_short_to_be_traced_says_so(tmp_path: Path) -> None:
    profiler = Profiler(lambda state: (state, None), None, tmp_path, 3)
    for _ in range(FIRST):
        profiler(0)
    with console.capture() as said:
        profiler.close()
    assert "nothing was traced" in said.get() and f"at least {FIRST + 3}" in said.get()
    with console.capture() as said:
        Profiler(lambda state: (state, None), None, tmp_path, 0).close()
    assert not said.get()


def test_every_part_of_an_iteration_is_timed(config: TeacherConfig) -> None:
    line = json.loads((config.run / "profile" / PARTS).read_text())
    assert set(line) == {"whole_s", "reset_pool_s", "collect_s", "update_s"}
    assert all(0 < seconds < 60 for seconds in line.values())


def test_a_missing_package_is_named_before_a_folder_is_made(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, config: TeacherConfig
) -> None:
    monkeypatch.setitem(sys.modules, "wandb", None)
    with pytest.raises(RunError, match="wandb"):
        train_teacher(replace(config, run=tmp_path / "new", resume=False))
    assert not (tmp_path / "new").exists()
