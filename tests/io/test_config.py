"""Settings to and from JSON, refusals by dotted path."""

import json
import math
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

import pytest

from mjx_s2r.io import config as cfg


@dataclass(frozen=True)
class Inner:
    """Nested settings."""

    learning_rate: float = 3e-4
    sizes: tuple[int, ...] = (64, 64)
    span: tuple[float, float] = (0.0, 1.0)

    def __post_init__(self) -> None:
        """Checks the rate."""
        if self.learning_rate <= 0:
            raise ValueError(f"learning_rate {self.learning_rate} must be above zero")


@dataclass(frozen=True)
class Outer:
    """Settings of every kind."""

    task: str
    ppo: Inner = field(default_factory=Inner)
    also: Inner | None = None
    seed: int = 0
    law: Literal["uniform", "log", 3] = "uniform"
    laws: tuple[Literal["uniform", "log"], ...] = ()
    limit: float | None = None
    camera: bool = False
    run: Path = Path("runs/x")
    parts: tuple[Inner, ...] = ()


FULL = Outer(
    task="reach",
    ppo=Inner(1e-3, (32,), (-1, 2)),
    also=Inner(),
    seed=7,
    law="log",
    laws=("log", "uniform"),
    limit=0.1,
    camera=True,
    run=Path("runs/y"),
    parts=(Inner(), Inner(sizes=())),
)


@pytest.mark.parametrize("config", [Outer("x"), FULL])
def test_round_trip_is_exact(config: Outer) -> None:
    text = json.dumps(cfg.to_dict(config), allow_nan=False)
    assert cfg.from_dict(Outer, json.loads(text)) == config


def test_left_out_settings_take_their_defaults() -> None:
    found = cfg.from_dict(Outer, {"task": "x", "ppo": {"sizes": [8]}})
    assert found == Outer("x", Inner(sizes=(8,)))


def test_whole_numbers_stand_for_floats() -> None:
    found = cfg.from_dict(Outer, {"task": "x", "limit": 2})
    assert isinstance(found.limit, float) and found.limit == 2.0


@pytest.mark.parametrize(
    ("body", "where", "value"),
    [
        ({}, "Outer", "`task`"),
        ({"task": 3}, "task", "3"),
        ({"seed": 1.5}, "seed", "1.5"),
        ({"seed": True}, "seed", "True"),
        ({"camera": 1}, "camera", "1"),
        ({"limit": "wide"}, "limit", "'wide'"),
        ({"limit": math.inf}, "limit", "inf"),
        ({"law": "lag"}, "law", "must be one of 'uniform', 'log', 3: 'lag'"),
        ({"laws": ["log", "lag"]}, "laws[1]", "must be one of 'uniform', 'log': 'lag'"),
        ({"run": 3}, "run", "3"),
        ({"ppo": 3}, "ppo", "3"),
        ({"also": 3}, "also", "3"),
        ({"ppo": {"sizes": [1, "a"]}}, "ppo.sizes[1]", "'a'"),
        ({"ppo": {"sizes": "64"}}, "ppo.sizes", "'64'"),
        ({"ppo": {"span": [1]}}, "ppo.span", "[1]"),
        ({"ppo": {"learning_rate": math.nan}}, "ppo.learning_rate", "nan"),
        ({"ppo": {"learning_rate": -1.0}}, "ppo", "learning_rate -1.0 must be above zero"),
        ({"parts": [{}, {"span": [0, "b"]}]}, "parts[1].span[1]", "'b'"),
    ],
)
def test_refusals_name_the_dotted_path_and_the_value(
    body: dict[str, Any], where: str, value: str
) -> None:
    whole = {"task": "x"} | body if body else body
    with pytest.raises(cfg.ConfigError) as caught:
        cfg.from_dict(Outer, whole)
    assert str(caught.value).startswith(f"{where}: ")
    assert value in str(caught.value)


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ({"tsk": 1}, "unknown setting of Outer: 'tsk'; did you mean 'task'"),
        ({"ppo": {"lerning_rate": 1}}, "of ppo: 'lerning_rate'; did you mean 'learning_rate'"),
        ({"also": {"size": []}}, "of also: 'size'; did you mean 'sizes'"),
        ({"parts": [{}, {"spam": []}]}, r"of parts\[1\]: 'spam'; did you mean 'span'"),
    ],
)
def test_unknown_settings_are_refused_with_near_names(body: dict[str, Any], message: str) -> None:
    with pytest.raises(cfg.ConfigError, match=message):
        cfg.from_dict(Outer, {"task": "x"} | body)


def test_over_replaces_what_is_named_and_keeps_the_rest() -> None:
    found = cfg.over(FULL, {"seed": 8, "also": None, "ppo": {"sizes": [1]}})
    assert found == replace(FULL, seed=8, also=None, ppo=replace(FULL.ppo, sizes=(1,)))
    with pytest.raises(cfg.ConfigError, match="of ppo: 'size'; did you mean 'sizes'"):
        cfg.over(FULL, {"ppo": {"size": [1]}})


def test_writing_refuses_what_is_not_finite() -> None:
    with pytest.raises(cfg.ConfigError, match=r"ppo\.span\[1\]: inf"):
        cfg.to_dict(Outer("x", Inner(span=(0.0, math.inf))))


def test_writing_refuses_what_json_cannot_hold() -> None:
    with pytest.raises(cfg.ConfigError, match=r"a\.b\[0\]: object cannot be written"):
        cfg.to_dict({"a": {"b": [object()]}})


def test_differences_are_named_by_path() -> None:
    other = replace(FULL, seed=8, ppo=replace(FULL.ppo, sizes=(1,)))
    found = cfg.differences(cfg.to_dict(FULL), cfg.to_dict(other))
    assert found == {"seed": (7, 8), "ppo.sizes": ([32], [1])}
