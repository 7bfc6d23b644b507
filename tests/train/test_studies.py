"""Studies: conclusions against closed forms, resuming, pages, a study of one's own."""

import json
import math
import shlex
import shutil
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tyro
from scipy import stats

from mjx_s2r import gallery
from mjx_s2r.api.student import StudentConfig
from mjx_s2r.curriculum.adversarial import SearchConfig
from mjx_s2r.curriculum.registry import CurriculumConfig, Uniform
from mjx_s2r.envs.registry import make_task
from mjx_s2r.eval.intervals import newcombe, wilson
from mjx_s2r.eval.reality import check_rows, load_reality
from mjx_s2r.io.run import RunError
from mjx_s2r.learn.ppo.config import PPOConfig
from mjx_s2r.params import Param, ParamError, ParamSpace
from mjx_s2r.robot.policy import Policy
from mjx_s2r.runtime.progress import console
from tests.train.tiny_study import STUDY
from train import study as verb
from train.studies import adr, approaches, critical, recipes, robots, run
from train.studies.arm_cameras import camera_presets
from train.studies.conclusions import Cell, Comparison, Judged, conclude, difference_of, rate_of
from train.studies.page import mean_curve
from train.studies.places import CARTPOLE_NOMINAL, CARTPOLE_OTHER
from train.studies.plan import Arm, Job, Made, Panel, Preset, Study
from train.studies.recipes import CameraPolicy, StatePolicy, TeacherRecipe
from train.studies.robots import fly_policy, make_families, open_pilot
from train.studies.run import StudyOptions, find_study, resolve, run_study

A, B = Cell("a", "robots"), Cell("b", "robots")
TINY = PPOConfig(
    num_envs=8,
    num_steps=4,
    num_minibatches=2,
    num_epochs=1,
    actor_hidden=(4,),
    critic_hidden=(4,),
    actor_obs="state",
)


def verdicts(arm: str, counts: Sequence[Sequence[int]], of: int = 10) -> list[Judged]:
    """Returns verdicts: ``counts`` are successes by seed and robot."""
    return [
        Judged(arm, seed, "robots", f"robot {i}", good, of)
        for seed, row in enumerate(counts)
        for i, good in enumerate(row)
    ]


def test_a_rate_has_wilsons_interval_and_students() -> None:
    """Robots that agree: Wilson of 12 in 20; seeds 0.5 and 0.7: 0.6 +- 12.706 * 0.1."""
    rate = rate_of(verdicts("a", [[5], [7]]), A)
    assert rate is not None and rate.success == pytest.approx(0.6)
    assert rate.by_episodes == pytest.approx(wilson(12, 20))
    reach = float(stats.t.ppf(0.975, 1)) * 0.1
    assert rate.by_trainings == pytest.approx((0.6 - reach, 0.6 + reach))
    assert rate.each == {0: 0.5, 1: 0.7}


def test_robots_that_differ_widen_the_interval() -> None:
    """0 and 10 of 10: C / (C - 1) sum (x - 5)^2 / 20 over 1/4 is 2 * 50 / 20 * 4 = 20."""
    rate = rate_of(verdicts("a", [[0, 10]]), A)
    assert rate is not None
    assert rate.by_episodes == pytest.approx(wilson(10 / 20, 20 / 20))
    assert rate.by_trainings == (-math.inf, math.inf)


def test_a_difference_is_paired_by_seed_and_takes_the_wider_ends() -> None:
    """Differences 0.2, 0.3, 0.4: 0.3 +- t(0.975, 2) 0.1 / sqrt(3) = 0.3 +- 0.248."""
    rows = verdicts("a", [[5], [6], [7]]) + verdicts("b", [[3], [3], [3]])
    found = difference_of(rows, Comparison(A, B))
    assert found is not None and found.value == pytest.approx(0.3) and found.pairs == 3
    assert found.by_trainings == pytest.approx((0.3 - 0.2484, 0.3 + 0.2484), abs=1e-4)
    assert found.by_episodes == pytest.approx(newcombe((18, 30), (9, 30)))
    assert found.low == pytest.approx(min(0.3 - 0.2484, found.by_episodes[0]), abs=1e-4)
    assert found.shown == (found.low > 0)


def test_trainings_that_happen_to_agree_do_not_make_a_claim_certain() -> None:
    """Equal differences have no variance, and Student's interval no width; the episodes' has."""
    rows = verdicts("a", [[6], [6], [6]]) + verdicts("b", [[5], [5], [5]])
    found = difference_of(rows, Comparison(A, B))
    assert found is not None and found.by_trainings == pytest.approx((0.1, 0.1))
    assert found.low < 0 < found.high and not found.shown


def test_sentences_say_no_more_than_the_intervals() -> None:
    strong = verdicts("a", [[10], [10], [9]]) + verdicts("b", [[1], [2], [0]])
    (won,) = conclude(strong, [Comparison(A, B)])
    assert won.sentence.startswith("A beats b on robots by 87 points (") and won.difference
    assert "not about the methods" not in won.sentence
    (lost,) = conclude(strong, [Comparison(B, A)])
    assert lost.sentence == won.sentence, "whoever is named first"
    weak = verdicts("a", [[6], [4], [7]]) + verdicts("b", [[5], [6], [3]])
    (open_,) = conclude(weak, [Comparison(A, B)])
    assert open_.sentence.startswith("No difference is shown between a and b on robots: +10 points")
    (single,) = conclude(verdicts("a", [[10]]) + verdicts("b", [[0]]), [Comparison(A, B)])
    assert single.sentence.endswith("about these policies and not about the methods.")
    (none,) = conclude(verdicts("a", [[10]]), [Comparison(A, B, "the drop")])
    assert none.sentence == "The drop: a on robots and b on robots have not both been measured."


def test_places_of_one_arm_are_compared_by_their_names() -> None:
    far = [replace(j, place="far robots") for j in verdicts("a", [[0], [1], [0]])]
    rows = verdicts("a", [[10], [9], [10]]) + far
    (found,) = conclude(rows, [Comparison(A, Cell("a", "far robots"), "the drop")])
    assert found.sentence.startswith(
        "The drop: a succeeds more often on robots than on far robots by 93 points ("
    )


def test_many_comparisons_are_drawn_wider() -> None:
    """Bonferroni: five comparisons at 99 % each."""
    rows = verdicts("a", [[5], [6], [7]]) + verdicts("b", [[3], [3], [3]])
    found = conclude(rows, [Comparison(A, B)] * 5)[0].difference
    assert found is not None
    half = float(stats.t.ppf(0.995, 2)) * 0.1 / math.sqrt(3)
    assert found.by_trainings == pytest.approx((0.3 - half, 0.3 + half))


def test_a_bound_has_settled_where_it_stood_still_in_the_last_quarter() -> None:
    """Row "even" runs to 0.5 and stays; row "log" moves to the end, a tenth at a time."""
    space = ParamSpace(
        (
            Param("even", "model.body_mass", ("a",), limits=(0.0, 2.0)),
            Param("log", "model.dof_damping", ("j",), limits=(0.1, 10.0), law="log_uniform"),
        )
    )
    assert adr.unit_places(space, np.array((0.5, 1.0))) == pytest.approx((0.25, 0.5))
    steps = np.arange(1.0, 9.0)
    low = np.stack((np.full(8, 0.25), np.linspace(0.5, 0.1, 8)), -1)
    high = np.stack((np.minimum(0.5 + 0.1 * steps, 0.9), np.full(8, 0.9)), -1)
    found = adr.settled(steps, np.stack((low, high), 1)[None])
    assert found.tolist() == [[[True, False], [True, True]]]


def test_a_mean_curve_stands_on_common_steps() -> None:
    logs: list[list[dict[str, Any]]] = [
        [{"env_steps": 0.0, "success": 0.0}, {"env_steps": 10.0, "success": 1.0}],
        [{"env_steps": 0.0, "success": 0.0}, {"env_steps": 10.0, "success": None}],
    ]
    curve = mean_curve("a", logs)
    assert curve.x[[0, -1]] == pytest.approx((0, 10)) and curve.y[-1] == pytest.approx(0.5)
    assert (curve.low == 0).all() and curve.high[-1] == 1


@dataclass(frozen=True)
class Copied:
    """A recipe that trains nothing: it hands a finished policy on, and keeps count.

    Attributes:
        policy: the file.
        stops_at: seed at which it is interrupted, while the file "stop" is there.
    """

    policy: Path
    stops_at: int = -1

    def make(self, job: Job) -> Made:
        """Copies the policy."""
        folder = job.named()
        folder.mkdir(parents=True, exist_ok=True)
        with (job.folder / "made.txt").open("a") as file:
            file.write(f"{job.arm} {job.seed}\n")
        if job.seed == self.stops_at and (job.folder / "stop").exists():
            raise KeyboardInterrupt
        curve = [{"step": 1, "env_steps": 10.0 * k, "success": 0.5} for k in (1, 2)]
        return Made(Path(shutil.copy(self.policy, folder)), 20, curve, facts={"half": 0.5})


@pytest.fixture
def policy() -> Path:
    """A cartpole's policy."""
    return gallery()["cartpole"].path


@pytest.mark.slow
def test_a_policy_is_trained_by_the_recipe_of_the_studies(tmp_path: Path) -> None:
    made = StatePolicy(keeps_bounds=True).make(Job("tiny", 0, small_preset(ppo=TINY), tmp_path))
    assert made.env_steps == 2 * 8 * 4 and Policy.load(made.policy).contract.task == "cartpole"
    assert [line["step"] for line in made.curve] == [1, 2]
    assert len(made.bounds) == 2 and "cart_mass" in made.bounds[0]["names"]


def small_preset(**other: object) -> Preset:
    """Returns the sizes of a study of some seconds."""
    return replace(STUDY.presets["small"], **other)  # type: ignore[arg-type]


def small_study(policy: Path, stops_at: int = -1) -> Study:
    """Returns a study of two arms that train nothing."""
    one, other = STUDY.arms
    return replace(
        STUDY,
        arms=(
            replace(one, recipe=Copied(policy)),
            replace(other, recipe=Copied(policy, stops_at)),
        ),
        notes=lambda rows, preset: [f"{len(rows)} policies on {preset.count} robots."],
        panels=lambda rows, preset: [Panel("More", "There is more.", (("a", "<svg></svg>"),))],
    )


def made(folder: Path) -> list[str]:
    """Returns what the recipes were asked for."""
    return (folder / "policies" / "made.txt").read_text().split("\n")[:-1]


def finished(folder: Path) -> bool:
    """Returns whether a study's result says that nothing is missing."""
    return bool(json.loads((folder / "result.json").read_text())["finished"])


def test_a_study_leaves_rows_a_conclusion_and_a_page(policy: Path, tmp_path: Path) -> None:
    options = StudyOptions(run=tmp_path / "run", result=tmp_path / "kept" / "study_tiny.json")
    (finding,) = run_study(small_study(policy), options)
    body = json.loads((tmp_path / "run" / "result.json").read_text())
    assert body == json.loads((tmp_path / "kept" / "study_tiny.json").read_text())
    assert [(r["arm"], r["seed"], r["facts"]) for r in body["rows"]] == [
        (arm, seed, {"half": 0.5}) for arm in ("one", "other") for seed in (0, 1)
    ]
    assert body["conclusion"] == [finding.sentence, "4 policies on 1 robots."]
    assert finding.difference is not None and finding.difference.value == 0, "one policy for all"
    assert str(tmp_path) not in json.dumps(body | {"study": None})
    page = (tmp_path / "run" / "report.html").read_text()
    for words in (finding.sentence, "4 policies on 1 robots.", "There is more.", "seed = 2012"):
        assert words in page
    assert "http" not in page.replace("http://www.w3.org", "") and "<script" not in page
    assert verb.last_result("tiny", runs=tmp_path, kept=tmp_path / "kept").startswith("No diff")


def test_processes_share_the_trainings_of_a_study(tmp_path: Path) -> None:
    """Each has a row, and what arms share is made once a seed, whoever comes first."""
    name = "tests.train.tiny_study:STUDY"
    options = StudyOptions(run=tmp_path / "run", processes=2)
    (finding,) = run_study(find_study(name), options, name, apart=True)
    assert finding.difference is not None and finding.difference.pairs == 2
    assert sorted(made(tmp_path / "run")) == ["0", "1"] and finished(tmp_path / "run")
    rows = sorted(f.name for f in (tmp_path / "run" / "rows").iterdir())
    assert rows == [f"{arm}-{seed}.json" for arm in ("one", "other") for seed in range(2)]


def test_a_page_says_what_to_type_to_get_the_same_again(tmp_path: Path) -> None:
    """With a size, an option that changes it, and a network that had to be named."""
    study = find_study("strength", verb.NAMES)
    given = StudyOptions("small", seeds=7, weights=Path("net works.pt"), run=tmp_path)
    words = shlex.split(run.command(study, resolve(study, given)))
    assert words[:5] == ["python", "-m", "train", "study", "strength"]
    assert tyro.cli(StudyOptions, args=words[5:]) == replace(given, run=None)
    plain = run.command(study, resolve(study, StudyOptions()))
    assert plain == "python -m train study strength --size small"


def test_a_camera_student_has_its_whole_schedule(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Looks by one schedule and the rest of the rows by others, as the arm's curriculum says."""
    begun: list[StudentConfig] = []

    def stopped(config: StudentConfig) -> None:
        """Keeps what is to be trained."""
        begun.append(config)
        raise KeyboardInterrupt

    monkeypatch.setattr(recipes, "train_teacher", lambda config: None)
    monkeypatch.setattr(recipes, "train_student", stopped)
    looks = CurriculumConfig("uniform", rows=("visual.*",), mix=("adr:camera.*",))
    job = Job("arm", 0, camera_presets({}, (1, 1))["small"], tmp_path)
    with pytest.raises(KeyboardInterrupt):
        CameraPolicy("eyes", TeacherRecipe("plain"), looks).make(job)
    (config,) = begun
    assert CurriculumConfig(config.curriculum, config.rows, config.mix) == looks


@pytest.mark.slow
def test_a_study_that_was_stopped_goes_on(
    policy: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It stops in a training, then between two robots; nothing finished is done again."""
    folder = tmp_path / "run"
    (folder / "policies").mkdir(parents=True)
    (folder / "policies" / "stop").touch()
    study, options = small_study(policy, stops_at=1), StudyOptions(run=folder)
    with pytest.raises(KeyboardInterrupt):
        run_study(study, options)
    assert made(folder) == ["one 0", "other 0", "one 1", "other 1"] and not finished(folder)
    (folder / "policies" / "stop").unlink()
    kept = {f: f.stat().st_mtime_ns for f in (folder / "rows").iterdir()}
    assert len(kept) == 3
    real = robots.fly_policy

    def stopped(*args: object, **options: object) -> object:
        raise KeyboardInterrupt

    monkeypatch.setattr(run, "fly_policy", stopped)
    with pytest.raises(KeyboardInterrupt):
        run_study(study, options)
    monkeypatch.setattr(run, "fly_policy", real)
    run_study(study, options)
    assert made(folder)[4:] == ["other 1"], "trained once, and judged later"
    assert finished(folder)
    assert all(f.stat().st_mtime_ns == stamp for f, stamp in kept.items())
    more = run_study(study, replace(options, seeds=3, arms=("one",)))
    assert made(folder)[5:] == ["one 2"] and more[0].difference is not None
    assert not finished(folder), "the other arm has no third training"
    with pytest.raises(RunError, match="episodes"):
        run_study(study, replace(options, episodes=2))


def test_what_does_not_fit_is_named_before_anything_is_trained(
    policy: Path, tmp_path: Path
) -> None:
    study = small_study(policy)
    for given, says in (
        ({"size": "full"}, "size of study tiny"),
        ({"arms": ("oen",)}, "one"),
        ({"episodes": -1}, "episodes -1"),
        ({"processes": -1}, "processes -1"),
    ):
        with pytest.raises(ParamError, match=says):
            resolve(study, StudyOptions(**given))
    gone = replace(study, presets={"small": small_preset(places={"x": Path("no.toml")})})
    with pytest.raises(ParamError, match="there is no file"):
        resolve(gone, StudyOptions())
    with pytest.raises(ParamError, match="weights"):
        lacking = replace(study, missing=lambda settings: "there are no weights")
        run_study(lacking, StudyOptions(run=tmp_path))
    with pytest.raises(ParamError, match="compares 'c'"):
        replace(study, comparisons=(Comparison(Cell("one"), Cell("c")),))


OWN = Study(
    name="own",
    question="Of whom?",
    about="One's own.",
    arms=(Arm("one", "copied", Copied(Path("none"))),),
    presets={"small": small_preset()},
    comparisons=(),
)


def test_a_study_of_ones_own_is_found_by_module_and_name() -> None:
    assert find_study("tests.train.test_studies:OWN") is OWN
    for name, says in (
        ("strenght", "strength"),
        ("no.such.module:STUDY", "no module"),
        ("tests.train.test_studies:NONE", "has no NONE"),
        ("tests.train.test_studies:TINY", "no Study"),
    ):
        with pytest.raises(ParamError, match=says):
            find_study(name, verb.NAMES)


@pytest.mark.parametrize("name", verb.NAMES)
def test_the_studies_fit_their_tasks_and_robots(name: str) -> None:
    study = find_study(name, verb.NAMES)
    for size, preset in study.presets.items():
        settings = resolve(study, StudyOptions(size=size))
        assert settings.study == study.name  # what the page is called and repeated by
        space = make_task(preset.task).space
        for file in preset.places.values():
            check_rows(load_reality(file), space)
        asked = {cell.place for c in study.comparisons for cell in (c.first, c.second)}
        searched = {critical.HARD, critical.WITHOUT, critical.CONTROL}
        assert asked - {""} <= (searched if name == "critical" else set(settings.places))


def test_the_judged_robots_are_not_those_of_development() -> None:
    judged, shown = (load_reality(f) for f in (CARTPOLE_OTHER, CARTPOLE_OTHER.with_name(DEV)))
    assert judged.seed != shown.seed and judged.rows == shown.rows


DEV = "cartpole_development.toml"


def test_the_list_has_every_study() -> None:
    with console.capture() as said:
        verb.main([])
    assert [name for name in (*verb.NAMES, *verb.OWN) if name not in said.get()] == []
    with pytest.raises(ParamError, match="strength"):
        verb.main(["strenght"])


@pytest.mark.slow
def test_robots_are_made_of_the_worlds_that_an_adversary_found(tmp_path: Path) -> None:
    recipe = critical.SearchedPolicy(
        StatePolicy(), SearchConfig(worlds=16, generations=1, hardest=2), episodes=1
    )
    preset = small_preset(ppo=TINY, places={}, count=2, seeds=1)
    study = replace(
        critical.STUDY,
        arms=(Arm("policy", "tiny", recipe),),
        presets={"small": preset},
    )
    findings = run_study(study, StudyOptions(run=tmp_path / "run"))
    assert all(f.difference is not None for f in findings)
    (row,) = json.loads((tmp_path / "run" / "result.json").read_text())["rows"]
    names = [(found["place"], found["robot"]) for found in row["robots"]]
    assert len(names) == 6 and {n for n, _ in names} == set(row["places"])
    top = row["facts"]["ranking"][0]
    hard, without = (
        json.loads((tmp_path / "run" / row["places"][place] / "world00.json").read_text())["rows"]
        for place in (critical.HARD, critical.WITHOUT)
    )
    assert set(hard) - set(without) == {top} and set(hard) > {"cart_mass", "action_delay"}
    assert all(hard[n] == without[n] for n in without)


@pytest.mark.slow
def test_a_student_without_pictures_is_made_and_flown(tmp_path: Path) -> None:
    recipe = approaches.StateStudent(
        TeacherRecipe("half", Uniform(width=0.5)),
        replace(approaches.STUDENT, num_envs=8, iterations=2, num_minibatches=2, hidden=(4,)),
    )
    made = recipe.make(Job("student", 0, small_preset(ppo=TINY), tmp_path))
    contract = Policy.load(made.policy).contract
    assert contract.memory == 32 and not contract.cameras
    assert made.env_steps == 2 * 8 * 4 + 2 * 8 * 16
    families = make_families("cartpole", {"nominal robots": CARTPOLE_NOMINAL}, 1)
    (robot,) = families.families["nominal robots"]
    assert len(fly_policy(open_pilot(made.policy, families.task), robot, 1)) == 1
