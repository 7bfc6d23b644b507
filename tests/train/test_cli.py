"""The command line: errors that name the remedy, before any long work."""

import os
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest

from mjx_s2r.curriculum.adr import ADRConfig
from mjx_s2r.io.config import ConfigError
from mjx_s2r.io.run import RunError
from mjx_s2r.learn.ppo.config import PPOConfig
from mjx_s2r.params import ParamError
from train import demo, pipeline, student, teacher

ROOT = Path(__file__).parents[2]


def run(*words: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """Runs the command line in a process of its own."""
    return subprocess.run(
        [sys.executable, "-m", "train", *words],
        capture_output=True,
        text=True,
        cwd=ROOT,
        env=os.environ | environment,
        timeout=120,
    )


def test_an_unknown_verb_lists_the_near_ones() -> None:
    done = run("techer")
    assert done.returncode == 2
    assert "'teacher'" in done.stderr


def test_a_python_without_the_packages_is_told_which_one_has_them() -> None:
    done = subprocess.run(
        [
            sys.executable,
            "-I",
            "-S",
            "-c",
            f"import sys; sys.path.insert(0, {str(ROOT)!r}); "
            "from train.__main__ import main; sys.exit(main())",
        ],
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == 2 and "lacks numpy, jax" in done.stderr
    assert "source .venv/bin/activate" in done.stderr and "Traceback" not in done.stderr


def test_help_lists_every_verb() -> None:
    done = run("--help")
    assert done.returncode == 0
    assert all(verb in done.stdout for verb in ("teacher", "student", "export", "demo", "view"))


@pytest.mark.parametrize(("verb", "setting"), [("teacher", "--ppo.*"), ("student", "--devices")])
def test_help_of_a_verb_lists_its_settings(verb: str, setting: str) -> None:
    done = run(verb, "--help")
    assert done.returncode == 0, done.stderr
    assert setting in done.stdout and f"python -m train {verb}" in done.stdout


def test_a_setting_of_jax_that_no_training_stands_is_one_line() -> None:
    for name, value in (("JAX_ENABLE_X64", "1"), ("JAX_NUMPY_DTYPE_PROMOTION", "strict")):
        done = run("teacher", "--task", "cartpole", **{name: value})
        assert done.returncode == 2
        assert done.stderr.startswith("error: jax_") and f"take {name} out" in done.stderr
        assert len(done.stderr.splitlines()) == 1


def test_a_user_error_is_one_line_without_a_traceback() -> None:
    done = run("teacher", "--task", "raech")
    assert done.returncode == 2
    assert "unknown task 'raech'; did you mean 'reach'?" in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize(
    ("words", "error", "says"),
    [
        (("--task", "mjx_s2r.envs.reach:Rech"), ParamError, "Reach"),
        (("--task", "nowhere:Task"), ParamError, "nowhere"),
        (("--run", "/dev/null/run"), RunError, "cannot write here"),
    ],
)
def test_bad_teacher_settings(words: tuple[str, ...], error: type[Exception], says: str) -> None:
    with pytest.raises(error, match=says):
        teacher.main(words)


def test_a_number_that_cannot_be_is_named(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        teacher.main(("--ppo.learning-rate", "nan"))
    assert "ppo.learning_rate nan must be finite" in capsys.readouterr().err


def test_settings_are_checked_one_by_one() -> None:
    with pytest.raises(ValueError, match="minibatches"):
        PPOConfig(num_envs=3, num_steps=5, num_minibatches=4)
    with pytest.raises(ValueError, match="privileged"):
        PPOConfig(actor_obs="everything")
    with pytest.raises(ParamError, match="widen_above"):
        ADRConfig(widen_above=0.2)


def test_a_student_needs_a_teacher(tmp_path: Path) -> None:
    with pytest.raises(RunError, match="holds no run"):
        student.main(("--teacher", str(tmp_path / "none"), "--run", str(tmp_path / "student")))


@pytest.mark.parametrize("verb", [pipeline, demo])
def test_what_no_robot_flies_is_refused_before_anything_is_trained(
    verb: ModuleType, tmp_path: Path
) -> None:
    folder = tmp_path / "run"
    with pytest.raises(ParamError, match="'brax:ant' is another library's environment"):
        verb.main(("--task", "brax:ant", "--run", str(folder)))
    assert not folder.exists()


@pytest.mark.parametrize(
    ("words", "error", "says"),
    [
        (("--reality", "none.toml"), ConfigError, "none.toml does not exist"),
        (("--evaluate.episodes", "0"), ParamError, "episodes 0 must be at least 1"),
        ((), ParamError, "has no camera, and its teacher reads 'privileged'"),
    ],
)
def test_a_pipeline_that_cannot_end_does_not_begin(
    words: tuple[str, ...], error: type[Exception], says: str, tmp_path: Path
) -> None:
    folder = tmp_path / "run"
    with pytest.raises(error, match=says):
        pipeline.main(("--task", "tests.eval.toy_task:ToyArm", "--run", str(folder), *words))
    assert not folder.exists()
