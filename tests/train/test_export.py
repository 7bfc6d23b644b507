"""What an export says of the policy that it writes."""

import json
from pathlib import Path

import pytest

from mjx_s2r.io.run import METRICS
from train.export import success_told


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
