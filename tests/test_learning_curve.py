"""The comparison of two trainings, with figures worked out by hand."""

import math
import sys

import pytest

from benchmarks import cli, ppo_vs_brax
from benchmarks.learning_curve import LearningCurve, verdicts
from benchmarks.ppo_vs_brax import iterations
from benchmarks.rows import Row, Settings

FAST = LearningCurve(3.0, (6.0, 2.0, 1.0, 1.0, 2.0), (0.0, 100.0, 600.0, 800.0, 750.0), 1000)
SLOW = LearningCurve(1.0, (12.0, 4.0, 4.0, 4.0, 4.0), (0.0, 0.0, 50.0, 700.0, 900.0), 1000)
NEVER = LearningCurve(1.0, (4.0, 4.0, 4.0, 4.0, 4.0), (0.0,) * 5, 1000)


def test_compiling_is_told_from_running() -> None:
    assert FAST.typical_s == 1.0  # median of 1, 1, 2
    assert FAST.speed == 1000.0
    assert FAST.compile_s == 3.0 + 5.0 + 1.0
    assert FAST.clock(compiling=True).tolist() == [9, 11, 12, 13, 15]
    assert FAST.clock(compiling=False).tolist() == [1, 2, 3, 4, 6]
    assert SLOW.compile_s == 1.0 + 8.0


def test_the_time_to_a_return_is_of_the_first_stretch_that_has_it() -> None:
    assert FAST.time_to(700.0, compiling=False) == 4.0
    assert FAST.time_to(700.0, compiling=True) == 13.0
    assert SLOW.time_to(700.0, compiling=False) == 16.0
    assert math.isnan(NEVER.time_to(700.0, compiling=False))


def figures(rows: object) -> dict[str, float]:
    """Returns rows by name."""
    return {row.metric: row.value for row in rows}  # type: ignore[attr-defined]


def test_ratios_are_of_ours_to_theirs_and_of_pairs_that_both_arrived() -> None:
    got = figures(verdicts("a", {"ours": [FAST, FAST], "brax": [SLOW, NEVER]}, 700.0))
    assert got["speed_ratio"] == 4.0
    assert got["time_to_return_ratio"] == 0.25  # 4 s / 16 s; the second pair has none
    assert got["time_to_return_with_compile_ratio"] == pytest.approx(13 / 25)
    assert got["time_to_return_ratio_at_most"] == pytest.approx((4 / 16 + 4 / 20) / 2)
    assert got["speed_with_compile_ratio"] == pytest.approx((29 / 15 + 21 / 15) / 2)
    assert got["ours.reached"] == 1.0 and got["brax.reached"] == 0.5
    assert got["brax.final_return"] == 450.0 and got["brax.worst_final_return"] == 0.0
    alone = figures(verdicts("a", {"ours": [FAST], "b": [NEVER]}, 700.0))
    assert math.isnan(alone["time_to_return_ratio"])


def test_the_rows_of_a_training_hold_its_curve() -> None:
    got = figures(FAST.rows("a", "ours.seed0", 700.0))
    assert got["ours.seed0.steps_per_s_with_compile"] == pytest.approx(5000 / 15)
    assert got["ours.seed0.time_to_return"] == 4.0
    assert got["curve.ours.seed0.4000.seconds"] == 4.0
    assert got["curve.ours.seed0.4000.return"] == 800.0


def test_the_budget_is_split_into_stretches() -> None:
    one = 512 * ppo_vs_brax.UNROLL * ppo_vs_brax.STRETCHES
    assert iterations(Settings(num_envs=512, peer_steps=one)) == 1
    assert iterations(Settings(num_envs=512, peer_steps=one + 1)) == 2


def test_without_the_other_library_the_case_is_left_out(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(sys.modules, "brax", None)
    monkeypatch.setattr(ppo_vs_brax, "find_spec", lambda name: None)
    assert list(ppo_vs_brax.run(Settings())) == []
    assert "left out: brax is not installed; pip install 'mjx_s2r[peers]'" in (
        capsys.readouterr().err
    )


def test_long_cases_run_only_when_named_and_are_kept_row_by_row(
    monkeypatch: pytest.MonkeyPatch, tmp_path: object, capsys: pytest.CaptureFixture[str]
) -> None:
    ran: list[str] = []

    class Case:
        """Stands in for every case; its second figure never comes."""

        def __init__(self, name: str) -> None:
            """Takes its name."""
            self.name = name.removeprefix("benchmarks.")

        def run(self, settings: Settings) -> object:
            """Yields one figure, and fails in a long case."""
            ran.append(self.name)
            yield Row(self.name, "x", 1.0, "s")
            if self.name in cli.LONG:
                raise KeyboardInterrupt

    monkeypatch.setattr(cli.importlib, "import_module", Case)
    path = tmp_path / "run.json"  # type: ignore[operator]
    assert cli.main(["--cache"]) == 0
    assert ran == [name for name in cli.CASES if name not in cli.LONG]
    with pytest.raises(KeyboardInterrupt):
        cli.main(["--cache", "ppo_vs_brax", "--json", str(path)])
    assert '"metric": "x"' in path.read_text()
