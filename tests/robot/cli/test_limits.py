"""Limits of the guard from a file: names and kinds are checked before anything else."""

from pathlib import Path

import pytest

from mjx_s2r.contract import ContractError
from mjx_s2r.params import ParamError
from mjx_s2r.robot.cli.limits import read_limits
from mjx_s2r.robot.safety import SafetyConfig


def test_what_a_file_names_is_in_force_and_the_rest_is_usual(tmp_path: Path) -> None:
    file = tmp_path / "limits.toml"
    file.write_text("soft_limit = 0.8\ntolerated_bad = 2\nramp_s = 3\n")
    assert read_limits(file) == SafetyConfig(soft_limit=0.8, tolerated_bad=2, ramp_s=3.0)
    assert read_limits(None) == SafetyConfig()


def test_whole_numbers_stand_among_others(tmp_path: Path) -> None:
    file = tmp_path / "limits.toml"
    file.write_text(
        "workspace_low = [-1, -1, 0.5]\nworkspace_high = [1, 1, 2]\nmax_jerk = [90]\n"
        "noisy_signals = ['joint_pos']\nunseen = 'hold'\n"
    )
    assert read_limits(file) == SafetyConfig(
        workspace_low=(-1.0, -1.0, 0.5),
        workspace_high=(1.0, 1.0, 2.0),
        max_jerk=(90.0,),
        noisy_signals=("joint_pos",),
        unseen="hold",
    )


@pytest.mark.parametrize(
    ("text", "kind", "said"),
    [
        ("soft_limt = 0.8", ParamError, "did you mean 'soft_limit'"),
        ("soft_limit = 2.0", ValueError, "must be in"),
        ("soft_limit = 'much'", ContractError, "must be a number"),
        ("soft_limit = true", ContractError, "must be a number"),
        ("speed_fraction = 1.0", ContractError, "use --stage"),
        ("soft_limit", ContractError, "holds no limits"),
        ("tolerated_bad = 0.9", ContractError, r"tolerated_bad = 0.9 must be a whole number"),
        ("workspace_low = [0, 'x', 1]", ContractError, "must be a list of numbers"),
        ("max_jerk = ['fast']", ContractError, "must be a list of numbers"),
        ("max_jerk = [true]", ContractError, "must be a list of numbers"),
        ("max_jerk = 3.0", ContractError, "must be a list of numbers"),
        ("noisy_signals = [1]", ContractError, "must be a list of names"),
        ("unseen = 3", ContractError, "must be a word in quotes"),
    ],
)
def test_what_is_wrong_is_named(
    text: str, kind: type[Exception], said: str, tmp_path: Path
) -> None:
    (tmp_path / "limits.toml").write_text(text)
    with pytest.raises(kind, match=said):
        read_limits(tmp_path / "limits.toml")


def test_a_file_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(ContractError, match=r"none\.toml holds no limits"):
        read_limits(tmp_path / "none.toml")
