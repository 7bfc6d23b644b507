"""The posterior as a file, as ranges of a training, and in its first draws."""

import json
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import jax
import numpy as np
import pytest

from mjx_s2r.api.teacher import TeacherConfig, make_curriculum, ranges_given, with_ranges_kept
from mjx_s2r.envs.registry import make_env, make_task
from mjx_s2r.params import Param, ParamError, ParamSpace
from mjx_s2r.params.ranges import read_ranges
from mjx_s2r.transfer.posterior import Posterior, PosteriorError
from tests.sim.toy import SPACE

NAME = "tests.sim.toy:Toy"
ROWS = SPACE.rows[:3]  # mass, delay, noise


def posterior(rows: tuple[Param, ...] = ROWS, **changes: Any) -> Posterior:
    """Returns a posterior of the toy: mass and delay tied, noise unseen."""
    score = np.random.default_rng(0).normal(size=(200, 2))
    samples = np.stack(
        [1.2 + 0.1 * score[:, 0], 0.02 - 0.005 * score[:, 0], 0.05 + 0 * score[:, 1]], 1
    )
    made = Posterior(
        space=ParamSpace(rows),
        best=np.array([1.2, 0.02, 0.0]),
        samples=samples,
        interval=np.array([[1.0, 1.4], [0.01, 0.03], [0.0, 0.1]]),
        unseen=("noise",),
        at_bound=(),
        groups=(("mass", "delay"),),
        correlation=np.array([[1.0, -0.9, 0.0], [-0.9, 1.0, 0.0], [0.0, 0.0, 1.0]]),
        logs=("/home/me/logs/swing.mcap, rows 0 to 900", r"C:\logs\drop.csv"),
        task="toy",
        notes=("only the product of mass and delay is seen",),
    )
    return replace(made, **changes)


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """The posterior as a file."""
    path = tmp_path / "posterior.json"
    posterior().save(path)
    return path


def test_a_posterior_reads_as_it_was_written(file: Path) -> None:
    made, read = posterior(), Posterior.load(file)
    assert read.space == made.space and (read.task, read.notes) == (made.task, made.notes)
    assert (read.unseen, read.at_bound, read.groups) == (made.unseen, (), made.groups)
    np.testing.assert_array_equal(read.best, made.best)
    np.testing.assert_array_equal(read.interval, made.interval)
    np.testing.assert_allclose(read.samples, made.samples, rtol=1e-5)
    np.testing.assert_allclose(read.correlation, made.correlation)
    assert read.logs == ("swing.mcap, rows 0 to 900", "drop.csv")
    assert "/home" not in file.read_text()


def test_a_disk_that_fails_leaves_the_posterior_that_was_there(
    file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(_: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("mjx_s2r.io.run.os.fsync", full)
    with pytest.raises(OSError, match="No space left"):
        posterior(notes=("a second one",)).save(file)
    assert Posterior.load(file).notes == posterior().notes


def test_training_starts_from_the_intervals_and_draws_tied_rows_together(file: Path) -> None:
    config = with_ranges_kept(TeacherConfig(task=NAME, ranges=file, curriculum="initial"))
    file.unlink()
    env = make_env(config.task, ranges=config.range)
    mass, delay, noise, _ = env.space.rows
    assert (mass.initial, mass.nominal, mass.limits) == ((1.0, 1.4), 1.2, (0.25, 4))
    assert (delay.initial, delay.nominal, delay.limits) == ((0.01, 0.03), 0.02, (0, 0.04))
    assert noise == SPACE.rows[2], "an unseen row keeps the task's range"
    for kind in ("initial", "adr"):
        curriculum = make_curriculum(replace(config, curriculum=kind), env.space, sees=False)
        sample = jax.jit(partial(curriculum.sample, n=2000))
        drawn = sample(curriculum.init(), key=jax.random.key(0))
        xi = np.asarray(drawn.xi)
        assert xi[:, :2].min(0) == pytest.approx([1.0, 0.01], abs=1e-3)
        assert xi[:, :2].max(0) == pytest.approx([1.4, 0.03], abs=1e-3)
        plain = xi[np.asarray(drawn.kind) < 0]
        # normal scores with -0.9 give 6/pi asin(-0.45) = -0.89 between uniform draws
        together = np.corrcoef(np.log(plain[:, 0]), plain[:, 1])[0, 1]
        assert together == pytest.approx(-0.89, abs=0.02)
        assert not xi[:, 2].any()
    curriculum = make_curriculum(replace(config, curriculum="none"), env.space, sees=False)
    xi = np.asarray(
        jax.jit(partial(curriculum.sample, n=4))(curriculum.init(), key=jax.random.key(0)).xi
    )
    np.testing.assert_allclose(xi, np.tile([1.2, 0.02, 0.0, 1.0], (4, 1)), rtol=1e-6)


def test_a_range_by_hand_goes_before_that_of_the_posterior(file: Path) -> None:
    given = ranges_given(TeacherConfig(task=NAME, ranges=file, range=("mass=1.3",)))
    mass, delay, *_ = make_task(NAME, given).space.rows
    assert mass.limits == (1.3, 1.3) and delay.initial == (0.01, 0.03)
    assert mass.correlation == delay.correlation == "posterior_1"


def test_the_best_value_lies_in_its_range_whatever_the_interval(file: Path) -> None:
    posterior(best=np.array([0.9, 0.02, 0.0])).save(file)
    assert make_task(NAME, read_ranges(file)).space.rows[0].initial == (0.9, 1.4)


def test_rows_that_change_at_every_step_are_drawn_by_themselves() -> None:
    often = replace(ROWS[1], resample="step")
    ranges = posterior(rows=(ROWS[0], often, ROWS[2])).ranges()
    assert set(ranges) == {"mass", "delay"} and "rho" not in ranges["mass"] | ranges["delay"]


@pytest.mark.parametrize(
    ("row", "words"),
    [
        (replace(ROWS[0], name="weight"), "'weight', .* of a posterior of another table"),
        (
            replace(ROWS[0], unit="kg"),
            "in kg, and this table's is scale model.body_mass .block. in 1",
        ),
        (replace(ROWS[0], elements=("arm",)), "model.body_mass .arm. in 1, and"),
        (replace(ROWS[0], field="model.body_inertia"), "scale model.body_inertia"),
        (replace(ROWS[0], mode="add"), "it is of a row that is add"),
        (replace(ROWS[0], column=1), "column 1"),
    ],
)
def test_a_posterior_of_another_table_is_refused(row: Param, words: str, file: Path) -> None:
    groups = ((row.name, "delay"),)
    posterior(rows=(row, *ROWS[1:]), groups=groups).save(file)
    with pytest.raises(ParamError, match=words):
        make_task(NAME, read_ranges(file))


def test_an_interval_outside_the_tasks_limits_is_refused_with_the_remedy(file: Path) -> None:
    posterior(interval=np.array([[1.0, 6.0], [0.01, 0.03], [0.0, 0.1]])).save(file)
    with pytest.raises(ParamError, match=r"1 to 6 1, leaves 0.25 to 4; widen .*mass=limits=0.25,6"):
        make_task(NAME, read_ranges(file))


def change(file: Path, **entries: Any) -> None:
    """Changes entries of a file; None takes one out."""
    body = json.loads(file.read_text()) | entries
    file.write_text(json.dumps({k: v for k, v in body.items() if v is not None}))


@pytest.mark.parametrize(
    ("entries", "words"),
    [
        ({"format": "mjx_s2r posterior 9"}, "format 'mjx_s2r posterior 9' is not"),
        ({"samples": None}, "has no 'samples'; it is damaged"),
        ({"samples": [[1, 2]]}, "it is damaged"),
        ({"correlation": [[1, 0]]}, "it is damaged"),
        ({"samples": [[1, 2, float("inf")]]}, "not finite"),
        ({"rows": [{"name": "mass"}]}, "has no 'field'"),
    ],
)
def test_a_damaged_posterior_is_refused(entries: dict[str, Any], words: str, file: Path) -> None:
    change(file, **entries)
    with pytest.raises(PosteriorError, match=words):
        Posterior.load(file)


@pytest.mark.parametrize(
    ("text", "words"),
    [(None, "cannot be read"), ("{", "is no JSON"), ("[1]", "format None is not")],
)
def test_a_file_that_is_no_posterior_is_refused(
    text: str | None, words: str, tmp_path: Path
) -> None:
    path = tmp_path / "posterior.json"
    if text is not None:
        path.write_text(text)
    with pytest.raises(PosteriorError, match=words):
        Posterior.load(path)
