"""The benchmarks: the cheapest case end to end, the clock work, the file, the comparison."""

import importlib
import json
import math
import time
from collections.abc import Callable
from pathlib import Path

import jax.numpy as jnp
import pytest

from benchmarks import cli, compare, rows, students, timing
from benchmarks.rows import BenchmarkError, Row, Settings
from benchmarks.workload import finite_share

TINY = ("--cache", "--num-envs", "2", "--repeat", "1", "--min-s", "0")


class FakeTime:
    """A clock that only calls move."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """Stands in for the machine's clock."""
        self.now_s = 0.0
        self.order: list[str] = []
        monkeypatch.setattr(time, "perf_counter", lambda: self.now_s)

    def call(self, name: str, first_s: float, *then_s: float) -> Callable[[], None]:
        """Returns a call that takes ``first_s``, then ``then_s`` in turn, the last for ever."""
        left = [first_s, *then_s]

        def go() -> None:
            self.order.append(name)
            self.now_s += left.pop(0) if len(left) > 1 else left[0]

        return go


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> FakeTime:
    """A clock that only calls move."""
    return FakeTime(monkeypatch)


def write(path: Path, values: dict[str, float], **about: object) -> Path:
    """Writes a run of case "a" and returns its path."""
    rows.save(path, dict(about), [Row("a", name, x, "steps/s") for name, x in values.items()])
    return path


@pytest.mark.slow
def test_a_case_from_the_command_line_to_the_file(tmp_path: Path) -> None:
    path = tmp_path / "out" / "run.json"
    assert cli.main(["checkpoint", *TINY, "--json", str(path)]) == 0
    held = json.loads(path.read_text())
    assert set(held) == {"about", "rows"}
    assert {"cpu", "cores", "devices", "versions", "commit", "date"} <= set(held["about"])
    assert held["about"]["settings"]["num_envs"] == 2
    assert {tuple(row) for row in held["rows"]} == {("case", "metric", "value", "unit")}
    assert {row["case"] for row in held["rows"]} == {"checkpoint"}
    values = {row["metric"]: row["value"] for row in held["rows"]}
    assert values["restored_exactly"] == 1.0
    assert values["save"] > 0 and values["restore"] > 0 and values["size"] > 0


def test_an_unknown_case_names_the_near_ones(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["phisics"]) == 2
    assert "unknown benchmark 'phisics'; did you mean 'physics'" in capsys.readouterr().err


def test_the_list_names_every_case(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["--list"]) == 0
    assert [line.split()[0] for line in capsys.readouterr().out.splitlines()] == list(cli.CASES)


@pytest.mark.parametrize("name", cli.CASES)
def test_every_case_is_there(name: str) -> None:
    assert callable(importlib.import_module(f"benchmarks.{name}").run)


def test_sizes_below_one_are_refused() -> None:
    with pytest.raises(ValueError, match="num_envs 0 must be at least 1"):
        Settings(num_envs=0)
    for name in ("peer_error", "peer_rate"):
        with pytest.raises(ValueError, match=rf"{name} 0\.0 must be above 0"):
            Settings(**{name: 0.0})


def test_a_run_holds_the_versions_of_the_libraries_compared_with(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def version(name: str) -> str:
        if name != "torch":
            raise rows.metadata.PackageNotFoundError(name)
        return "2.99"

    monkeypatch.setattr(rows.metadata, "version", version)
    assert rows.peers() == {"torch": "2.99"}


def test_calls_take_turns_and_compiling_is_not_counted(clock: FakeTime) -> None:
    calls = {"a": clock.call("a", 10.0, 1.0, 1.0, 2.0, 3.0), "b": clock.call("b", 5.0)}
    taken = timing.measure(calls, 3)
    assert "".join(clock.order) == "ab" * 5
    assert taken["a"].seconds == (1.0, 2.0, 3.0)
    assert taken["a"].median_s == 2.0
    assert taken["a"].compile_s == 8.0  # 10 s less the median
    assert taken["a"].spread == 1.0  # (3 - 1) / 2
    assert taken["b"].compile_s == 0.0


def test_a_quick_call_is_repeated(clock: FakeTime) -> None:
    taken = timing.measure({"a": clock.call("a", 0.25)}, 2, min_s=1.0)
    assert len(clock.order) == 2 + 2 * 4
    assert taken["a"].seconds == (0.25, 0.25)


def test_a_speed_is_amount_over_median() -> None:
    made = rows.timed("a", "b", timing.Timing(7.0, (1.0, 2.0, 4.0)), 100.0, "steps/s")
    assert made == [
        Row("a", "b", 50.0, "steps/s"),
        Row("a", "b.spread", 1.5, "1"),
        Row("a", "b.compile", 7.0, "s"),
    ]


def test_latencies_are_of_single_calls(clock: FakeTime) -> None:
    assert timing.latencies(clock.call("a", 9.0, 1.0), 5).tolist() == [1.0] * 5


def test_a_stepper_carries_its_state() -> None:
    stepper = timing.Stepper(lambda state, count: (state + 10, count), 1)
    assert (stepper(), stepper()) == (11, 21)
    assert stepper.out == 1


def test_a_world_with_one_bad_number_is_not_finite() -> None:
    bad = jnp.ones((4, 3)).at[1, 2].set(jnp.nan)
    assert finite_share({"a": jnp.ones(4), "b": bad, "c": jnp.ones(4, int)}) == 0.75


def test_a_figure_that_is_not_finite_is_null_in_the_file(tmp_path: Path) -> None:
    path = write(tmp_path / "a.json", {"x": math.nan, "y": 2.0})
    assert [row["value"] for row in json.loads(path.read_text())["rows"]] == [None, 2.0]
    read = rows.load(path)[1]
    assert math.isnan(read[0].value)
    assert read[1] == Row("a", "y", 2.0, "steps/s")


def test_two_runs_side_by_side(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    old = write(tmp_path / "old.json", {"x": 200.0, "gone": 1.0, "zero": 0.0}, cores=2)
    new = write(tmp_path / "new.json", {"x": 500.0, "zero": 1.0, "fresh": 7.0}, cores=8)
    assert cli.main(["--compare", str(old), str(new)]) == 0
    out = capsys.readouterr().out
    cells = {
        parts[1]: parts[3:]
        for parts in ([c.strip() for c in line.split("│")[1:-1]] for line in out.splitlines())
        if len(parts) == 6
    }
    assert cells["x"] == ["200", "500", "2.5"]
    assert cells["gone"] == ["1", "-", "-"]
    assert cells["fresh"] == ["-", "7", "-"]
    assert cells["zero"] == ["0", "1", "-"]
    assert "not the same: cores: 2 -> 8" in out


def test_figures_are_shown_with_the_digits_that_count() -> None:
    shown = [compare.number(x) for x in (61234.5, 0.000123456, 12.3456, math.inf)]
    assert shown == ["61,234", "0.0001235", "12.35", "-"]


@pytest.mark.parametrize("text", ["", "{}", '{"about": {}, "rows": [{"case": "a"}]}'])
def test_a_file_without_a_run_is_refused(tmp_path: Path, text: str) -> None:
    path = tmp_path / "run.json"
    path.write_text(text)
    with pytest.raises(BenchmarkError, match=r"run\.json holds no benchmark run"):
        rows.load(path)


def test_comparing_with_a_missing_file_is_an_error(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["--compare", "none.json", "none.json"]) == 2
    assert "none.json holds no benchmark run" in capsys.readouterr().err


def test_kept_figures_of_students_count_each_policy_once() -> None:
    """No verdict stands under two names, and the summary is that of the rows.

    Two policies that never fail have the same verdict by right.
    """
    kept = json.loads(students.RESULTS.read_text())
    flawed = [row for row in kept["rows"] if row["success"] < 1]
    plain = [json.dumps({k: v for k, v in row.items() if k != "method"}) for row in flawed]
    assert len(set(plain)) == len(plain)
    assert kept["summary"] == students.summarize(kept["rows"])
