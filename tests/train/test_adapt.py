"""python -m train adapt: from a student's run and flights to a student's run, resumed or not."""

import json
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import jax
import numpy as np
import pytest

from mjx_s2r.api.adapt import AdaptConfig, train_adapted
from mjx_s2r.api.adapt_report import adapt_report, stage_figures
from mjx_s2r.api.policy import export_policy, load_policy
from mjx_s2r.api.real_frames import RealFeed, frames_of
from mjx_s2r.api.student import StudentConfig, load_student, train_student
from mjx_s2r.io.config import ConfigError
from mjx_s2r.io.run import METRICS, RunError, is_adapted, is_student, read_jsonl
from mjx_s2r.learn.adapt.adaptation import RealBatch
from mjx_s2r.learn.adapt.alignment import AlignmentConfig
from mjx_s2r.learn.adapt.config import AdaptationConfig
from mjx_s2r.learn.distill.config import DistillConfig
from mjx_s2r.learn.trainer import LoopConfig, run_loop
from mjx_s2r.robot.policy import Policy
from mjx_s2r.transfer.demonstrations.batches import RowSampler
from mjx_s2r.transfer.recording import RecordingError
from tests.train.adapting_run import SIDE, Started, fly, start
from tests.transfer.demonstrations.test_batches import demonstrated
from train import adapt as verb

SETTINGS = AdaptationConfig(
    simulated=(0.5, 0.0),
    iterations=(3, 25),
    learning_rate=(1e-2,),
    num_envs=8,
    num_steps=2,
    num_minibatches=2,
    real_batch=16,
    alignment=AlignmentConfig("dann"),
)


@pytest.fixture(scope="module")
def started(tmp_path_factory: pytest.TempPathFactory) -> Started:
    """A student and four flights."""
    return start(tmp_path_factory.mktemp("adapt"))


def config_of(started: Started, run: Path, **settings: Any) -> AdaptConfig:
    """Returns the settings of a run."""
    given = {"student": started.student, "data": started.logs, "adapt": SETTINGS}
    return AdaptConfig(run=run, checkpoint_every=4, **(given | settings))


@pytest.mark.slow
def test_an_adapted_student_is_a_student(started: Started, tmp_path: Path) -> None:
    """It learns the flights, is exported with the bit inside, and answers as JAX does."""
    run = tmp_path / "adapted"
    settings = {"simulated": (0.5, 0.0), "iterations": (3, 25), "learning-rate": (1e-2,)}
    words = ["--student", str(started.student), "--run", str(run), "--data"]
    words += map(str, started.logs)
    for name, values in settings.items():
        words += [f"--adapt.{name}", *map(str, values)]
    for name, number in {"envs": 8, "steps": 2, "minibatches": 2}.items():
        words += [f"--adapt.num-{name}", str(number)]
    verb.main([*words, "--adapt.real-batch", "16", "--adapt.alignment.method", "dann"])
    assert is_student(run) and is_adapted(run) and not is_adapted(started.student)
    result = json.loads((run / "result.json").read_text())
    assert result["demonstrations"] == [3, 1] and result["rows"] == [90, 30]
    assert result["after"]["held_out_error"] < 0.2 < 0.5 < result["before"]["held_out_error"]
    assert [x["iterations"] for x in result["stages"]] == [3, 25]
    assert 0.5 <= result["after"]["discernibility"] <= 1
    policy = load_policy(run)
    done = export_policy(policy, tmp_path / "policy.onnx", inputs=32)
    assert done.parity < 1e-4
    file = Policy.load(tmp_path / "policy.onnx")
    assert file.contract.size == started.contract.size  # the bit is inside
    for bright, push in ((100, 0.8), (0, -0.8)):
        image = np.full((SIDE, SIDE, 3), 60, np.uint8)
        image[: SIDE // 2] += np.uint8(bright)
        obs = np.zeros(file.contract.size, np.float32)
        obs[1] = 1.0
        assert abs(float(file.act(obs, {"fixed": image})[0]) - push) < 0.4
    with pytest.raises(RunError, match="has been adapted already"):
        train_adapted(config_of(started, tmp_path / "again", student=run))
    with pytest.raises(RunError, match="holds another run"):
        train_adapted(config_of(started, run))


@pytest.mark.slow
def test_a_killed_run_goes_on_as_if_nothing_had_been(
    started: Started, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It dies in its tenth iteration, two after a checkpoint; lines and parameters are equal."""
    short = replace(SETTINGS, iterations=(3, 9))
    whole = config_of(started, tmp_path / "whole", adapt=short)
    _, expected, _ = train_adapted(whole)
    killed = config_of(started, tmp_path / "killed", adapt=short)
    give = RealFeed.__call__

    def dies(self: RealFeed, iteration: int) -> RealBatch:
        """Ends the process, but for this one."""
        if iteration == 9:
            raise MemoryError("killed")
        return give(self, iteration)

    monkeypatch.setattr(RealFeed, "__call__", dies)
    with pytest.raises(MemoryError, match="killed"):
        train_adapted(killed)
    monkeypatch.setattr(RealFeed, "__call__", give)
    _, found, _ = train_adapted(replace(killed, resume=True))
    pairs = zip(*(jax.tree.leaves(x.learner) for x in (expected, found)), strict=True)
    for a, b in pairs:
        np.testing.assert_array_equal(a, b)
    lines = [read_jsonl(run / METRICS) for run in (whole.run, killed.run)]
    same = [
        [{k: v for k, v in x.items() if "second" not in k and "per_s" not in k} for x in part]
        for part in lines
    ]
    assert same[0] == same[1] and len(same[0]) == 12
    assert load_student(killed.run)[2].iteration == 12


@pytest.mark.slow
def test_a_student_with_a_memory_and_a_stack_adapts(started: Started, tmp_path: Path) -> None:
    """By a residual, on stretches of six rows; the file remembers as JAX does."""
    config = StudentConfig(
        teacher=started.student.with_name("teacher"),
        run=tmp_path / "student",
        cameras=(f"fixed:{SIDE}x{SIDE}@50x2",),
        distill=DistillConfig(
            num_envs=8,
            num_steps=4,
            iterations=1,
            num_minibatches=2,
            hidden=(8,),
            cnn_channels=4,
            rnn_hidden=6,
        ),
    )
    train_student(config)
    aligned, rate = AlignmentConfig("cdan"), (1e-2,)
    settings = replace(
        SETTINGS, iterations=(2, 10), trained=("residual",), learning_rate=rate, alignment=aligned
    )
    run = config_of(
        started,
        tmp_path / "run",
        student=config.run,
        adapt=replace(settings, num_steps=4, real_steps=6),
    )
    trainer, state, data = train_adapted(run)
    report = adapt_report(run, trainer, state, data)
    assert report.after.learned_error is not None and report.before.learned_error is not None
    assert report.after.learned_error < report.before.learned_error
    assert export_policy(load_policy(run.run), tmp_path / "p.onnx", inputs=32).parity < 1e-4


@pytest.mark.slow
def test_recordings_are_judged_before_work(started: Started, tmp_path: Path) -> None:
    other = replace(started.contract, action=replace(started.contract.action, joints=("rail",)))
    log = fly(tmp_path / "rail.log", other, 0)
    with pytest.raises(RecordingError, match=r"rail\.log is another robot's recording"):
        train_adapted(config_of(started, tmp_path / "run", data=(log,)))
    assert not (tmp_path / "run" / METRICS).exists()
    with pytest.raises(RecordingError, match="4 episodes, 1 of them held out; that leaves 3"):
        train_adapted(config_of(started, tmp_path / "many", count=4))
    fewer = config_of(started, tmp_path / "many", data=started.logs[:3], count=4)
    with pytest.raises(RecordingError, match="3 episodes, 1 of them held out"):  # nothing began
        train_adapted(fewer)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"unlabelled": (Path("a.log"),), "adapt": AdaptationConfig()}, "teach nothing by themsel"),
        ({"foreground": ("arm*",)}, "needs backgrounds"),
        ({"backgrounds": 5}, "needs foreground"),
        (
            {"adapt": AdaptationConfig(alignment=AlignmentConfig("ot"))},
            r"alignment\.method 'ot': .*pip install 'mjx_s2r\[alignment\]'",
        ),
        ({"held_out": 1.0}, r"held_out 1\.0 must lie in \[0, 1\)"),
    ],
)
def test_settings_that_contradict_are_named(
    settings: dict, message: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "ott.geometry", None)  # as where the extra is not installed
    with pytest.raises(ConfigError, match=message):
        AdaptConfig(**settings)


def test_nothing_to_learn_from_is_said() -> None:
    with pytest.raises(ConfigError, match="nothing to learn from"):
        train_adapted(AdaptConfig())


@pytest.mark.parametrize("steps", [1, 4])
def test_real_frames_are_those_of_their_rows(steps: int) -> None:
    """(G, T, M): the readings tell the row, and stretches go on from row to row."""
    found, settings = demonstrated(), replace(SETTINGS, real_batch=5)
    sampler = RowSampler(found, np.arange(15), steps)
    held_out = frames_of(sampler, sampler.spread(8))
    feed = RealFeed(7, settings, sampler, None, held_out)
    batch, again, other = feed(3), feed(3), feed(4)
    real = batch.labelled
    assert real is not None and batch.target is None and batch.held_out is held_out
    assert real.obs.shape[:3] == real.is_first.shape == (2, steps, 5)
    rows = np.asarray(real.obs)[..., 0].astype(int)
    np.testing.assert_array_equal(real.images[0], found.images[0][rows])
    going_on = ~np.asarray(real.is_first)[:, 1:]
    np.testing.assert_array_equal(going_on, np.diff(rows, axis=1) == 1)
    assert np.asarray(real.is_first)[:, 0].all()
    for a, b, c in zip(*(jax.tree.leaves(x.labelled) for x in (batch, again, other)), strict=True):
        np.testing.assert_array_equal(a, b)
        assert a.shape == c.shape
    assert other.labelled is not None and (other.labelled.obs != real.obs).any()


def test_stages_are_told_apart_in_the_log() -> None:
    base = {
        "mean_error": 1.0,
        "real_error": 2.0,
        "held_out_error": np.nan,
        "episodes": 0.0,
        "success": np.nan,
        "domain_accuracy": np.nan,
    }
    lines = [
        base | {"step": 1, "stage": 0.0, "held_out_error": 3.0},
        base | {"step": 2, "stage": 0.0, "mean_error": 3.0, "episodes": 4.0, "success": 0.5},
        base | {"step": 3, "stage": 1.0, "domain_accuracy": 0.75, "real_error": np.nan},
    ]
    first, second = stage_figures(AdaptConfig(adapt=SETTINGS), lines)
    assert (first.iterations, first.simulated_error, first.success) == (2, 2.0, 0.5)
    assert (first.held_out_error, first.simulated, second.simulated) == (3.0, 0.5, 0.0)
    assert (second.iterations, second.real_error, second.domain_accuracy) == (1, None, 0.75)


def test_means_of_a_stage_are_over_its_iterations() -> None:
    """Three iterations with errors 1, 1 and 4, in lines of one, and in lines of two and one."""
    rest = {"held_out_error": 1.0, "episodes": 0.0, "success": np.nan, "domain_accuracy": np.nan}

    def found(*lines: tuple[int, float]) -> tuple[float, float | None, int]:
        known = rest | {"stage": 0.0}
        said = [known | {"step": n, "mean_error": x, "real_error": x} for n, x in lines]
        (stage,) = stage_figures(AdaptConfig(adapt=SETTINGS), said)
        return stage.simulated_error, stage.real_error, stage.iterations

    assert found((1, 1.0), (2, 1.0), (3, 4.0)) == found((2, 1.0), (3, 4.0)) == (2.0, 2.0, 3)


def test_a_loop_ends_when_its_state_is_finished(tmp_path: Path) -> None:
    """After the fifth of ten iterations, which is saved; a resumed one does nothing more."""
    saved: list[int] = []

    class Kept:
        """Stands for the checkpoints, whose own tests are elsewhere."""

        def latest_step(self) -> int | None:
            """Returns the newest."""
            return saved[-1] if saved else None

        def restore(self, fresh: int) -> tuple[int, int]:
            """Returns the newest state, which is its number."""
            return saved[-1], saved[-1]

        def save(self, step: int, state: int, *, wait: bool) -> None:
            """Keeps one."""
            saved.append(step)

        def settle(self) -> None:
            """Does nothing."""

        def close(self) -> None:
            """Does nothing."""

    from mjx_s2r.io.run import Run

    logged: list[int] = []

    def log(run: Run, window: Any) -> str:
        """Keeps the number."""
        logged.append(window.done)
        return ""

    loop = LoopConfig(
        "count",
        10,
        2,
        3,
        False,
        lambda s: (s + 1, {"x": np.zeros(())}),
        log,
        finished=lambda s: s >= 5,
    )
    assert run_loop(loop, Run.create(tmp_path / "a", SETTINGS), Kept(), 0) == 5  # type: ignore[arg-type]
    assert saved == [3, 5] and logged == [2, 4, 5]
    again = Run.create(tmp_path / "a", SETTINGS, resume=True)
    assert run_loop(replace(loop, resume=True), again, Kept(), 0) == 5  # type: ignore[arg-type]
    assert saved == [3, 5]
