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


@pytest.mark.parametrize(
    ("text", "kind", "said"),
    [
        ("soft_limt = 0.8", ParamError, "did you mean 'soft_limit'"),
        ("soft_limit = 2.0", ValueError, "must be in"),
        ("soft_limit = 'much'", ContractError, "must be a number"),
        ("soft_limit = true", ContractError, "must be a number"),
        ("speed_fraction = 1.0", ContractError, "use --stage"),
        ("soft_limit", ContractError, "holds no limits"),
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
