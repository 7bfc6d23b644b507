"""What an export says of the policy that it writes."""

import json
from pathlib import Path

import pytest

from mjx_s2r.curriculum.registry import CurriculumConfig
from mjx_s2r.io.run import METRICS
from mjx_s2r.learn.train_logger import width_told
from mjx_s2r.params import ParamSpace, scale
from train.export import single_physics_told, success_told


@pytest.mark.parametrize(
    ("iteration", "told"),
    [
        (40, "iteration 40: no episode of the policy's own ended in training"),
        (80, "12% of its episodes succeeded; what fails in simulation"),
        (90, "12% of its episodes succeeded (iteration 80); what fails"),
        (120, "iteration 120: in training 97% of its episodes succeeded"),
        (160, "97% of its episodes succeeded (iteration 120)"),  # none has ended since
    ],
)
def test_export_tells_what_the_policy_made_in_training(
    iteration: int, told: str, tmp_path: Path
) -> None:
    lines = [{"step": 40, "success": None}, {"step": 80, "success": 0.12}]
    lines += [{"step": 120, "success": 0.97}, {"step": 160, "success": None}]
    (tmp_path / METRICS).write_text("".join(json.dumps(line) + "\n" for line in lines))
    said = success_told(tmp_path, iteration)
    assert told in said
    assert ("[yellow]" in said) == ("what fails" in told)


def test_a_run_without_figures_can_be_exported(tmp_path: Path) -> None:
    assert "no episode" in success_told(tmp_path, 3)


MASS = scale("mass", "model.body_mass", ("a",), (0.5, 2.0))
LIGHT = scale("light", "visual.light_intensity", None, (0.5, 2.0))
TABLE = ParamSpace((MASS, LIGHT))


@pytest.mark.parametrize(
    ("space", "ranges", "told"),
    [
        (TABLE, {"mass": (1.0, 1.0), "light": (0.5, 2.0)}, "none of the table's 1 rows"),
        (TABLE, {"mass": (1.0, 1.01), "light": (1.0, 1.0)}, ""),
        (ParamSpace(()), {}, "has no rows of physics"),
    ],
)
def test_a_policy_of_a_single_physics_is_told_so(
    space: ParamSpace, ranges: dict[str, tuple[float, float]], told: str
) -> None:
    said = single_physics_told(space, ranges)
    assert told in said and bool(told) == bool(said)


@pytest.mark.parametrize(
    ("kind", "copies", "told"),
    [
        ("none", False, "--curriculum adr or uniform draws from"),
        ("none", True, "its teacher was trained on that one alone"),
        ("adr", False, "widens it as the policy succeeds"),
        ("uniform", False, ""),
    ],
)
def test_a_training_without_widths_says_so_once(kind: str, copies: bool, told: str) -> None:
    named = CurriculumConfig(kind)
    said = width_told(TABLE, named.build(TABLE), moves=named.moves, copies=copies)
    assert told in said and bool(told) == bool(said)


def test_a_table_without_physics_is_told_so() -> None:
    space = ParamSpace((LIGHT,))
    said = width_told(space, CurriculumConfig("none").build(space), moves=False)
    assert "the table has no rows of physics" in said
