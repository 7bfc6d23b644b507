"""What the routines find of one joint in C MuJoCo, beside what it was made of."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from mjx_s2r.robot.diagnose.settings import DiagnosisSettings
from mjx_s2r.robot.drivers.imperfections import Imperfections
from tests.robot.diagnose.coverage import drawn, truths
from tests.robot.diagnose.stand_ins import Truth, fly_routine

# (routine, largest error relative to the truth, of a delay in s)
CASES = (
    *(("friction", 0.06), ("inertia", 0.05), ("free-motion", 0.06)),
    pytest.param("gains", 0.15, marks=pytest.mark.slow),
)


@pytest.mark.parametrize(("routine", "share"), CASES)
def test_a_routine_finds_what_the_joint_is_made_of(
    routine: str, share: float, tmp_path: Path
) -> None:
    truth, settings, flaws = drawn(routine, 5)
    found = fly_routine(tmp_path, truth, settings, flaws)
    for name, true in truths(routine, truth, flaws).items():
        assert found[name].value == pytest.approx(true, rel=share), name
        assert found[name].low < found[name].value < found[name].high
    assert found.residual < 5e-3 and found.curves and len(found.lines()) > 2


def test_a_delay_is_found_to_a_fraction_of_a_period(tmp_path: Path) -> None:
    truth, settings, flaws = drawn("delay", 5)
    flaws = replace(flaws, latency_jitter=0.0)
    found = fly_routine(tmp_path, truth, replace(settings, trials=40), flaws)
    assert found["actuator.delay_s"].value == pytest.approx(1e-3 * flaws.latency_ms, abs=1e-3)
    assert found["jitter of the delay"].value < 1e-3, "of a period of 20 ms"


@pytest.mark.slow
def test_without_noise_the_fit_is_exact(tmp_path: Path) -> None:
    truth = Truth(level=True, kp=20.0, kd=1.0)
    settings = DiagnosisSettings("gains", "j", gravity=False, trials=12, kp=20.0)
    found = fly_routine(tmp_path, truth, settings, Imperfections(latency_ms=12.0))
    assert found["model.actuator_kd"].value == pytest.approx(1.15, rel=5e-3)
    assert found["inertia about the joint"].value == pytest.approx(truth.inertia, rel=5e-3)
    assert found["error at rest by dry friction"].value == pytest.approx(0.004, rel=0.02)
    assert found["actuator.delay_s"].value == pytest.approx(0.012, abs=5e-5)


@pytest.mark.slow
def test_sweeps_of_a_servo_show_dry_friction_and_play(tmp_path: Path) -> None:
    truth = Truth(level=False, kp=20.0, kd=0.6, damping=0.2, dry=0.1)
    flaws = Imperfections(latency_ms=8.0, encoder_counts=16384)
    settings = DiagnosisSettings(
        "friction", "j", kp=20.0, kd=0.6, delay_s=0.008, trials=12, amplitude=0.3
    )
    found = fly_routine(tmp_path, truth, settings, flaws)
    assert found["model.dof_frictionloss"].value == pytest.approx(0.1, rel=0.05)
    assert found["model.dof_damping"].value == pytest.approx(0.2, abs=0.04), "2 ms of lag"
    loose = replace(settings, what="backlash", dry=0.1)
    play = fly_routine(tmp_path, truth, loose, replace(flaws, backlash_deg=0.5))
    assert play["actuator.backlash"].value == pytest.approx(np.radians(0.5), rel=0.1)
