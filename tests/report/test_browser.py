"""The run browser: the page holds what the folders hold, whatever lies in them, and stays small."""

import base64
import json
import math
import os
import re
import time
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from mjx_s2r.io.run import Run, RunError, lock_holder
from mjx_s2r.params import Param
from mjx_s2r.report.browser.page import RunsPage, flat_settings, watch
from mjx_s2r.robot.log import FlightLog, Step
from mjx_s2r.robot.safety import Event, Mode
from tests.robot.fakes import contract_for
from train.browse import BrowseConfig, main

ROWS = (
    Param("mass", "model.body_mass", ("a",), limits=(0.5, 2.0), law="log_uniform"),
    Param("delay", "actuator.delay_s", mode="set", nominal=0, initial=(0, 0), limits=(0, 0.05)),
    Param("fixed", "model.body_mass", ("b",), initial=(1, 1), limits=(1, 1)),
)


@dataclass(frozen=True)
class Ppo:
    """Settings as a teacher has them, in small."""

    learning_rate: float = 1e-3
    hidden: tuple[int, ...] = (64, 64)


@dataclass(frozen=True)
class Settings:
    """Settings as a teacher has them, in small."""

    task: str = "reach"
    run: str = "runs/a"
    seed: int = 0
    iterations: int = 4
    ppo: Ppo = field(default_factory=Ppo)


@dataclass(frozen=True)
class Asked:
    """Settings as a study has them, in small."""

    run: str = "runs/study"
    study: str = "gap"


def train(folder: Path, settings: Settings, done: int | None = None) -> Path:
    """Leaves a run of so many iterations, each with a line, in a folder."""
    with Run.create(folder, replace(settings, run=str(folder))) as run:
        run.keep_table(ROWS)
        for step in range(1, 1 + (settings.iterations if done is None else done)):
            run.log(step, {"success": step / 8, "env_steps": 100 * step, "seconds": 2.0 * step})
            run.log_bounds(step, ("mass", "delay"), (1.0, 0.0), (1.0 + step / 4, 0.01 * step))
    return folder


def read_page(file: Path) -> dict[str, Any]:
    """Returns the data in a page, which ends where a browser ends it: at the first </script>."""
    found = re.search(
        r'<script type="application/json" id="data">(.*?)</script', file.read_text(), re.S
    )
    assert found
    return dict(json.loads(found[1]))


def browse(*folders: Path, **settings: Any) -> dict[str, Any]:
    """Writes a page over folders and returns its data."""
    page = RunsPage(folders, folders[0] / "browse.html", **settings)
    page.write()
    return read_page(page.out)


def by_name(data: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """Returns the runs of a page by their names."""
    return {run["name"]: run for run in data["runs"]}


def all_settings(data: dict[str, Any], run: dict[str, Any]) -> dict[str, Any]:
    """Returns a run's settings as the page's program puts them together."""
    usual = {k: v for k, v in data["bases"][run["verb"]].items() if k not in run["without"]}
    return usual | run["settings"]


def test_the_page_holds_what_a_run_holds(tmp_path: Path) -> None:
    folder = train(tmp_path / "deep" / "a", Settings(seed=3))
    (folder / "report.html").write_text("a page")
    data = browse(tmp_path)
    run = by_name(data)["deep/a"]
    assert (run["verb"], run["task"], run["status"]) == ("teacher", "reach", "finished")
    assert (run["planned"], run["lines"]) == (4, 4)
    assert run["x"] == {
        "step": [1, 2, 3, 4],
        "env_steps": [100, 200, 300, 400],
        "seconds": [2, 4, 6, 8],
    }
    assert run["curves"] == {"success": [0.125, 0.25, 0.375, 0.5]}
    assert run["last"] == {"step": 4, "success": 0.5, "env_steps": 400, "seconds": 8}
    assert all_settings(data, run) == {
        **{"task": "reach", "run": str(folder), "seed": 3, "iterations": 4},
        **{"ppo.learning_rate": 1e-3, "ppo.hidden": "[64, 64]"},
    }
    assert ["report.html", "deep/a/report.html"] in run["links"]


def test_settings_of_many_runs_come_back_from_what_they_share(tmp_path: Path) -> None:
    wanted = {}
    for index, rate in enumerate((1e-3, 1e-3, 3e-3)):
        settings = Settings(seed=index, ppo=Ppo(rate))
        folder = train(tmp_path / str(index), settings, 1)
        wanted[str(index)] = flat_settings(json.loads((folder / "config.json").read_text()))
    odd = tmp_path / "2" / "config.json"
    body = json.loads(odd.read_text())
    del body["seed"]
    odd.write_text(json.dumps(body))
    data = browse(tmp_path)
    for name, run in by_name(data).items():
        expected = {k: v for k, v in wanted[name].items() if k != "schema"}
        if name == "2":
            del expected["seed"]
        assert all_settings(data, run) == expected


def test_ranges_are_percents_of_the_way_through_the_limits(tmp_path: Path) -> None:
    """Mass 0.5 to 2 is logarithmic: 1 is half of the way, and 1.25 is log(2.5) / log(4) of it."""
    train(tmp_path / "a", Settings())
    data = browse(tmp_path)
    run = by_name(data)["a"]
    up = [round(100 * math.log((1 + step / 4) / 0.5) / math.log(4)) for step in range(1, 5)]
    assert run["ranges"] == {
        "step": [1, 2, 3, 4],
        "rows": {"mass": [50, up, 1, 2], "delay": [0, [20, 40, 60, 80], 0, 0.04]},
    }
    assert data["tables"][run["table"]] == {
        "mass": ["ratio", 1.0, 0.5, 2.0, "model", True],
        "delay": ["", 0, 0, 0.05, "actuator", False],
    }


def test_a_long_log_is_thinned_to_means_of_neighbours(tmp_path: Path) -> None:
    """With 402 lines and 240 points, points 2 to 239 are the means of one or two lines."""
    folder = tmp_path / "a"
    with Run.create(folder, Settings(iterations=402)) as run:
        for step in range(402):
            run.log(step, {"success": step / 500, "return": math.nan if step % 2 else 1.0})
    data = browse(tmp_path)
    found = by_name(data)["a"]
    steps, values = np.array(found["x"]["step"]), np.array(found["curves"]["success"])
    assert len(steps) == len(values) == data["points"] == 240
    assert steps[[0, -1]].tolist() == [0, 401]
    assert np.allclose(values, steps / 500, rtol=1e-3)  # a mean of a line through the origin
    assert set(np.diff(steps)) <= {1.0, 1.5, 2.0}
    assert set(found["curves"]["return"]) == {None, 1}  # NaN counts for nothing in a mean


@pytest.mark.parametrize("done", [False, True])
def test_a_study_is_finished_when_its_result_says_so(tmp_path: Path, done: bool) -> None:
    """It publishes a page after every seed."""
    folder = tmp_path / "study"
    with Run.create(folder, Asked()):
        pass
    (folder / "report.html").write_text("<p>so far</p>")
    (folder / "result.json").write_text(json.dumps({"finished": done, "conclusion": []}))
    for file in folder.iterdir():
        os.utime(file, (1e9, 1e9))
    found = by_name(browse(tmp_path))["study"]
    assert found["status"] == ("finished" if done else "interrupted")


def test_seconds_go_on_after_a_resume(tmp_path: Path) -> None:
    folder = tmp_path / "a"
    with Run.create(folder, Settings()) as run:
        for step, seconds in enumerate((10.0, 20.0, 5.0, 15.0), 1):
            run.log(step, {"seconds": seconds})
    assert by_name(browse(tmp_path))["a"]["x"]["seconds"] == [10, 20, 25, 35]


def test_the_status_follows_from_lock_log_and_what_a_sweep_says(tmp_path: Path) -> None:
    train(tmp_path / "whole", Settings())
    train(tmp_path / "half", Settings(), 2)
    train(tmp_path / "sweep" / "seed-0", Settings(), 2)
    (tmp_path / "sweep" / "sweep.json").write_text(
        json.dumps({"task": "reach", "became": {"seed-0": "exit status 3"}, "runs": {}})
    )
    train(tmp_path / "pipe" / "teacher", Settings(), 2)
    (tmp_path / "pipe" / "log.txt").write_text(
        "so far\nTraceback (most recent call last):\nKeyError: 'x'\n"
    )
    with Run.create(tmp_path / "now", Settings()):
        found = by_name(browse(tmp_path))
        assert (
            lock_holder(tmp_path / "now")
            == found["now"]["note"]
            == f"process {os.getpid()} on {os.uname().nodename}"
        )
    stand = {name: run["status"] for name, run in found.items()}
    assert stand == {
        **{"whole": "finished", "half": "interrupted", "now": "running", "sweep": "finished"},
        **{"sweep/seed-0": "failed", "pipe": "failed", "pipe/teacher": "failed"},
    }
    assert found["sweep/seed-0"]["note"] == "exit status 3"
    assert found["pipe"]["note"] == "KeyError: 'x'"
    assert lock_holder(tmp_path / "now") == ""
    assert (found["sweep"]["verb"], found["pipe"]["verb"], found["pipe"]["task"]) == (
        "sweep",
        "pipeline",
        "reach",
    )


def test_a_student_has_the_task_of_its_teacher(tmp_path: Path) -> None:
    teacher = train(tmp_path / "teacher", Settings(task="lift"))
    for name, body in (
        ("student", {"teacher": str(teacher), "run": "x", "distill": {"iterations": 7}}),
        ("adapted", {"student": str(tmp_path / "student"), "run": "x"}),
    ):
        (tmp_path / name).mkdir()
        (tmp_path / name / "config.json").write_text(json.dumps({"schema": 2} | body))
    found = by_name(browse(tmp_path))
    assert (found["student"]["verb"], found["student"]["task"], found["student"]["planned"]) == (
        "student",
        "lift",
        7,
    )
    assert (found["adapted"]["verb"], found["adapted"]["task"]) == ("adapt", "lift")


def test_names_and_settings_cannot_end_the_script(tmp_path: Path) -> None:
    odd = "x<" + "/script><script>alert(1)<" + "/script>&\"'"
    train(tmp_path / odd, Settings(task="</script><b>"))
    data = browse(tmp_path)
    assert list(by_name(data)) == [odd]
    assert by_name(data)[odd]["task"] == "</script><b>"
    text = (tmp_path / "browse.html").read_text()
    assert "<script>alert" not in text and "</script><b>" not in text


def test_torn_and_foreign_files_are_named_and_kill_nothing(tmp_path: Path) -> None:
    folder = train(tmp_path / "a", Settings())
    lines = (folder / "metrics.jsonl").read_text().splitlines()
    (folder / "metrics.jsonl").write_text(
        "\n".join([lines[0], "{broken", *lines[2:], '{"step": 5, "s'])
    )
    (folder / "judged.json").write_text("{no json")
    (folder / "poses.flight").write_bytes(b"no log")
    (folder / "films.npz").write_bytes(b"no zip")
    (tmp_path / "b").mkdir()
    (tmp_path / "b" / "config.json").write_text('{"schema": 2, "ta')
    (tmp_path / "old").mkdir()
    (tmp_path / "old" / "config.json").write_text('{"schema": 1, "task": "reach"}')
    (tmp_path / "foreign").mkdir()
    (tmp_path / "foreign" / "config.json").write_text('{"version": 3}')
    data = browse(tmp_path)
    why = {Path(p["file"]).relative_to(tmp_path).as_posix(): p["why"] for p in data["problems"]}
    assert set(why) == {
        *("a/metrics.jsonl", "a/judged.json", "a/poses.flight", "a/films.npz"),
        *("b/config.json", "old/config.json"),
    }
    assert why["a/metrics.jsonl"] == "line 2 is not JSON and was left out"
    assert "schema 1" in why["old/config.json"]
    found = by_name(data)
    assert set(found) == {"a", "b", "old"}  # what is no run is not shown
    assert found["a"]["x"]["step"] == [1, 3, 4]


def test_results_of_every_verb_are_read_by_one_rule(tmp_path: Path) -> None:
    folder = train(tmp_path / "a", Settings())
    one = {"episodes": 4, "successes": 3, "interval": [0.3, 0.95], "reasons": {"time over": 1}}
    evaluation = {
        **{"episodes": 4, "successes": 3, "success": 0.75, "interval": [0.3, 0.95]},
        **{"return": [9.5, 9.0, 10.0], "per_robot": {"r1": one}, "act_p50_us": 271.713},
        "simulation": {"episodes": 5, "success": [1.0, 0.5655, 1.0]},
        "verdict": {"word": "good", "sentence": "good: gap 5 %"},
    }
    (folder / "policy.evaluation.json").write_text(json.dumps(evaluation))
    judged = [{"iteration": 2, "worlds": "nominal", "episodes": 8, "success": [0.5, 0.2, 0.8]}]
    (folder / "judged.json").write_text(json.dumps({"best": 2, "judged": judged}))
    run = by_name(browse(tmp_path))["a"]
    files = {file["file"]: file for file in run["results"]}
    lines = [
        (x["label"], x["success"], x["episodes"], x["part"])
        for f in files.values()
        for x in f["lines"]
    ]
    assert lines == [
        ("iteration 2, nominal", [0.5, 0.2, 0.8], 8, False),
        ("", [0.75, 0.3, 0.95], 4, False),
        ("r1", [0.75, 0.3, 0.95], 4, True),
        ("simulation", [1, 0.5655, 1], 5, False),
    ]
    assert files["policy.evaluation.json"]["lines"][0]["return"] == [9.5, 9, 10]
    assert files["policy.evaluation.json"]["lines"][1]["note"] == "time over (1)"
    assert files["policy.evaluation.json"]["facts"] == {
        **{"act_p50_us": 271.713, "verdict.word": "good", "verdict.sentence": "good: gap 5 %"}
    }
    assert files["judged.json"]["facts"] == {"best": 2}
    assert run["robots"]["success"] == [0.75, 0.3, 0.95]
    assert run["robots"]["file"] == "policy.evaluation.json"


def test_flight_logs_are_summed_up(tmp_path: Path) -> None:
    folder = train(tmp_path / "a", Settings())
    (folder / "flights").mkdir()
    event = Event("rate", "a", 1.5, 1.0)
    with FlightLog(folder / "flights" / "one.flight", contract_for(), "arm") as log:
        for k in range(5):
            log.append(
                Step(
                    k, 0.5 * k, Mode.HOLD if k == 4 else Mode.RUN, events=(event,) if k < 2 else ()
                )
            )
    flights = by_name(browse(tmp_path))["a"]["flights"]
    assert (flights["modes"], flights["events"], flights["counted"]) == (
        {"RUN": 4, "HOLD": 1},
        {"rate": 2},
        1,
    )
    (told,) = flights["logs"]
    assert (told["file"], told["robot"], told["steps"], told["seconds"]) == (
        "flights/one.flight",
        "arm",
        5,
        2,
    )


def test_pictures_are_embedded_while_there_is_room(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    folder = train(tmp_path / "a", Settings())
    for name, size in (("small.png", 8), ("large.png", 100)):
        Image.fromarray(rng.integers(0, 256, (size, size, 3)).astype(np.uint8)).save(folder / name)
    frames = rng.integers(0, 256, (5, 16, 16, 3)).astype(np.uint8)
    np.savez_compressed(folder / "films.npz", film0=frames, end0=np.array(True))
    pictures = by_name(browse(tmp_path, pictures_mb=0.03))["a"]["pictures"]
    small, large, film = (pictures[i] for i in (0, 1, 2))
    assert small["src"].startswith("data:image/png;base64,")
    assert base64.b64decode(small["src"].partition(",")[2]) == (folder / "small.png").read_bytes()
    assert not large["embedded"]
    assert (tmp_path / large["src"]).samefile(folder / "large.png")
    assert film["title"] == "films.npz: episode 1, reached"
    assert film["src"].startswith("data:image/webp;base64,")
    none = by_name(browse(tmp_path, pictures_mb=0.0))["a"]["pictures"]
    assert not [p for p in none if p["embedded"]]


def test_the_page_needs_nothing_from_elsewhere(tmp_path: Path) -> None:
    train(tmp_path / "a", Settings())
    browse(tmp_path)
    text = (tmp_path / "browse.html").read_text()
    assert set(re.findall(r"\w+://[^\"'\s]+", text)) <= {"http://www.w3.org/2000/svg"}
    assert not re.search(r"<(script|link|img)[^>]*\b(src|href)=\"(?!data:)", text)


@pytest.mark.slow
def test_hundreds_of_runs_make_a_small_page_in_seconds(tmp_path: Path) -> None:
    """200 runs with 100 lines of 20 metrics each, and 10 lines of ranges of 60 rows."""
    rng = np.random.default_rng(0)
    names = [f"metric_{i}" for i in range(20)]
    rows = [f"row_{i}" for i in range(60)]
    lines = [dict(zip(names, rng.normal(size=20).tolist(), strict=True)) for _ in range(100)]
    metrics = "".join(json.dumps({"step": i} | line) + "\n" for i, line in enumerate(lines))
    ends = [{"low": [0.0] * 60, "high": [0.1 * i] * 60} for i in range(10)]
    bounds = "".join(
        json.dumps({"step": 10 * i, "names": rows} | end) + "\n" for i, end in enumerate(ends)
    )
    row = {"field": "model.x", "mode": "set", "nominal": 0.0, "limits": [0.0, 1.0], "unit": "m"}
    table = json.dumps(dict.fromkeys(rows, row))
    settings = {"schema": 2, "task": "reach", "iterations": 99, "ppo": {"learning_rate": 1}}
    for index in range(200):
        folder = tmp_path / f"seed_{index}"
        folder.mkdir()
        (folder / "config.json").write_text(json.dumps(settings | {"seed": index}))
        for name, text in (("metrics.jsonl", metrics), ("bounds.jsonl", bounds)):
            (folder / name).write_text(text)
        (folder / "table.json").write_text(table)
    begun = time.process_time()  # of this process: other programs do not count
    data = browse(tmp_path)
    assert time.process_time() - begun < 10
    assert len(data["runs"]) == 200
    assert data["points"] == 100 == len(data["runs"][0]["curves"]["metric_3"])
    assert (tmp_path / "browse.html").stat().st_size < 5e6


def test_a_page_that_is_watched_follows_the_runs(tmp_path: Path) -> None:
    folder = train(tmp_path / "a", Settings(), 1)
    page = RunsPage([tmp_path], tmp_path / "browse.html", watch_s=0.01)
    seen: list[tuple[float, list[float]]] = []

    def tell(body: dict[str, Any]) -> None:
        """Keeps what the file says, adds a line to the log, and has enough after three pages."""
        written = read_page(page.out)
        seen.append((written["watch_s"], written["runs"][0]["x"]["step"]))
        with (folder / "metrics.jsonl").open("a") as log:
            log.write(json.dumps({"step": 1 + len(seen), "success": 0.5}) + "\n")
        if len(seen) == 2:
            raise KeyboardInterrupt

    watch(page, tell)
    assert seen == [(0.01, [1]), (0.01, [1, 2]), (0.0, [1, 2, 3])]
    assert [f.name for f in tmp_path.iterdir() if f.name.startswith("browse")] == ["browse.html"]


def test_the_verb_writes_into_the_first_folder(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    train(tmp_path / "one" / "a", Settings())
    train(tmp_path / "two" / "a", Settings(), 2)
    assert main([str(tmp_path / "one"), str(tmp_path / "two")]) == 0
    assert set(by_name(read_page(tmp_path / "one" / "browse.html"))) == {"one/a", "two/a"}
    assert "2 runs: 1 finished, 1 interrupted" in capsys.readouterr().out


def test_a_folder_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(RunError, match="nowhere"):
        main([str(tmp_path / "nowhere")])
    assert not (tmp_path / "nowhere").exists()
    for wrong, words in (({"pictures_mb": -1.0}, "pictures_mb"), ({"every_s": 0.0}, "every_s")):
        with pytest.raises(ValueError, match=words):
            BrowseConfig(**wrong)
