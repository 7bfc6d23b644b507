"""Settings to and from JSON, refusals by dotted path, overrides."""

import enum
import math
from dataclasses import dataclass, field, replace
from typing import Literal

import pytest

from mjx_s2r.io import config as cfg


class Color(enum.Enum):
    """An enumeration."""

    RED = 1
    BLUE = 2


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
    color: Color = Color.RED
    law: Literal["uniform", "log", 3] = "uniform"
    limit: float | None = None
    camera: bool = False
    ranges: dict[str, tuple[float, float]] = field(default_factory=dict)


FULL = Outer(
    "reach",
    Inner(1e-3, (32,), (-1, 2)),
    Inner(),
    7,
    Color.BLUE,
    "log",
    0.1,
    True,
    {"m": (1.0, 2.0)},
)


@pytest.mark.parametrize("config", [Outer("x"), FULL])
def test_round_trip_is_exact(config: Outer) -> None:
    assert cfg.from_json(Outer, cfg.to_json(config)) == config


def test_left_out_settings_take_their_defaults() -> None:
    assert cfg.from_json(Outer, '{"task": "x", "ppo": {"sizes": [8]}}') == Outer(
        "x", Inner(sizes=(8,))
    )


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ({"task": "x", "ppo": {"lerning_rate": 1}}, "ppo:.*'lerning_rate'.*'learning_rate'"),
        ({"tusk": "x"}, "'tusk'; did you mean 'task'"),
        ({}, "task: missing"),
        ({"task": 3}, "task: expected str, got 3"),
        ({"task": "x", "seed": 1.5}, "seed: expected int, got 1.5"),
        ({"task": "x", "seed": True}, "seed: expected int, got True"),
        ({"task": "x", "camera": 1}, "camera: expected bool, got 1"),
        ({"task": "x", "ppo": {"sizes": [1, "a"]}}, r"ppo.sizes\[1\]: expected int"),
        ({"task": "x", "ppo": {"span": [1]}}, "ppo.span: expected 2 values, got 1"),
        (
            {"task": "x", "ppo": {"learning_rate": math.nan}},
            "ppo.learning_rate: nan is not a finite",
        ),
        ({"task": "x", "limit": math.inf}, "limit: inf is not a finite"),
        ({"task": "x", "law": "lag"}, "law: 'lag' must be one of 'uniform', 'log', 3"),
        ({"task": "x", "color": "GREEN"}, "color: 'GREEN' must be one of RED, BLUE"),
        ({"task": "x", "ppo": 3}, "ppo: expected settings of Inner"),
        ({"task": "x", "ppo": {"learning_rate": -1.0}}, "ppo: learning_rate -1.0 must be above"),
        ({"task": "x", "ranges": {"m": [1]}}, "ranges.m: expected 2 values"),
    ],
)
def test_refusals_name_the_dotted_path(body: dict[str, object], message: str) -> None:
    with pytest.raises(cfg.ConfigError, match=message):
        cfg.from_dict(Outer, body)


def test_writing_refuses_what_is_not_finite() -> None:
    with pytest.raises(cfg.ConfigError, match=r"ppo\.span\[1\]: inf"):
        cfg.to_json(Outer("x", Inner(span=(0.0, math.inf))))


def test_reading_refuses_what_is_not_json() -> None:
    with pytest.raises(cfg.ConfigError, match="Outer is not readable JSON"):
        cfg.from_json(Outer, "{")


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("ppo.learning_rate=1e-3", replace(FULL, ppo=replace(FULL.ppo, learning_rate=1e-3))),
        ("ppo.sizes=[1, 2]", replace(FULL, ppo=replace(FULL.ppo, sizes=(1, 2)))),
        ("also.sizes=[]", replace(FULL, also=Inner(sizes=()))),
        ("also=null", replace(FULL, also=None)),
        ("limit=None", replace(FULL, limit=None)),
        ("limit=2", replace(FULL, limit=2.0)),
        ("law=3", replace(FULL, law=3)),
        ("color=RED", replace(FULL, color=Color.RED)),
        ("camera=False", replace(FULL, camera=False)),
        ("task=12", replace(FULL, task="12")),
        ("task=a=b", replace(FULL, task="a=b")),
    ],
)
def test_override_by_dotted_name(text: str, expected: Outer) -> None:
    assert cfg.override(FULL, [text]) == expected


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("ppo.lerning_rate=1", "ppo:.*'lerning_rate'.*'learning_rate'"),
        ("pop.sizes=1", "'pop'.*'ppo'"),
        ("seed", "name=value"),
        ("seed=x", "seed: expected int, got 'x'"),
        ("ppo.learning_rate=NaN", "ppo.learning_rate: nan"),
        ("ppo.learning_rate=nan", "ppo.learning_rate: expected float"),
        ("seed.x=1", "seed holds 7, not settings"),
    ],
)
def test_overrides_that_do_not_fit_are_named(text: str, message: str) -> None:
    with pytest.raises(cfg.ConfigError, match=message):
        cfg.override(FULL, [text])


def test_differences_are_named_by_path() -> None:
    other = replace(FULL, seed=8, ppo=replace(FULL.ppo, sizes=(1,)))
    found = cfg.differences(cfg.to_dict(FULL), cfg.to_dict(other))
    assert found == {"seed": (7, 8), "ppo.sizes": ([32], [1])}
