"""What is refused before anything moves, and what a command line makes of it."""

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from mjx_s2r.robot.cli import session
from mjx_s2r.robot.cli.main import main
from mjx_s2r.robot.cli.parser import OK, WRONG
from mjx_s2r.robot.diagnose.estimate import DiagnosisError
from mjx_s2r.robot.diagnose.excitation import diagnosis_contract
from mjx_s2r.robot.diagnose.routines import ROUTINES
from mjx_s2r.robot.diagnose.settings import DiagnosisSettings, Routine
from mjx_s2r.robot.driver import Reading
from mjx_s2r.robot.safety import Guard, SafetyConfig
from tests.robot.fakes import contract_for, info_for, write_onnx

Rest = Callable[[np.ndarray], np.ndarray]
CALM = np.random.default_rng(0).normal(0, 1e-4, (50, 2))


def plan(what: Routine, rest: np.ndarray = CALM, *, effort: bool = False, **asked: float):  # type: ignore[no-untyped-def] # noqa: ANN201
    """Returns the plan of a routine on joint "a" of a robot that stands at zero."""
    safety = SafetyConfig(speed_fraction=asked.pop("fraction", 1.0))
    info = info_for(contract_for("effort" if effort else "position"))
    contract = diagnosis_contract(info, 50.0)
    settings = DiagnosisSettings(what, "a", **asked)  # type: ignore[arg-type]
    spec = ROUTINES[what]
    return spec.plan(
        spec.complete(settings, contract), Guard.build(safety, contract, info), info, rest
    )


@pytest.mark.parametrize(
    ("what", "asked", "rest", "said"),
    [
        ("gains", {"effort": True}, CALM, "takes efforts; use a driver in a position mode"),
        ("free-motion", {}, CALM, "takes positions; use a driver in a mode of efforts"),
        ("delay", {}, CALM + np.array([1.9, 0.0]), "too near its end"),
        ("delay", {}, 100 * CALM, "shake by .* which hides"),
        ("delay", {}, CALM + np.linspace(0, 0.03, 50)[:, None], "moves by .* nothing commands"),
        ("delay", {"fraction": 0.05}, CALM, "higher stage of speed"),
        ("backlash", {"fraction": 0.005}, CALM, "limits leave sweeps of"),
        ("delay", {"trials": 2}, CALM, "leave no interval"),
    ],
)
def test_what_cannot_be_diagnosed_is_refused_before_it_moves(
    what: Routine, asked: dict[str, float], rest: np.ndarray, said: str
) -> None:
    with pytest.raises(DiagnosisError, match=said):
        plan(what, rest, **asked)  # type: ignore[arg-type]


def test_a_joint_that_leaves_its_room_ends_the_flight() -> None:
    made = plan("friction", effort=True)
    assert not made.leaves(Reading(0.0, {"joint_pos": np.array([0.3, 0.0])}))
    assert made.leaves(Reading(0.0, {"joint_pos": np.array([0.5, 0.0])})), "1.2 times 0.4"
    assert any("hold them mechanically" in line for line in made.lines)


def test_a_plan_of_steps_stays_inside_its_amplitude() -> None:
    made = plan("delay", trials=20)
    targets = [made.actor.act(np.zeros(4), {}) for _ in range(1000)]
    assert np.max(np.abs(targets)) <= 0.05 + 1e-6 and not np.any(np.array(targets)[:, 1])
    assert made.done()


@pytest.mark.slow
def test_the_verb_moves_a_bench_robot_and_writes_what_it_found(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("MJX_S2R_ROBOTS", str(tmp_path / "robots"))
    monkeypatch.setattr(session, "somebody_there", lambda: False)
    policy = write_onnx(tmp_path / "p.onnx", replace(contract_for("position"), control_hz=50.0))
    words = ["diagnose", "gains", "--policy", str(policy), "--driver", "bench", "--virtual"]
    assert main([*words, "--joints", "b", "--trials", "8", "--no-gravity"]) == OK
    folder = next(p for p in (tmp_path / "flights").glob("*/*") if p.is_dir())
    body = json.loads((folder / "diagnosis.json").read_text())
    others = {x["name"]: x for x in body["others"]}
    assert others["natural frequency"]["value"] == pytest.approx(30, rel=0.1)
    assert others["damping ratio"]["value"] == pytest.approx(1.0, rel=0.1)
    assert {r["field"] for r in body["rows"]} >= {"model.actuator_kd", "actuator.delay_s"}
    assert "<svg" in (folder / "diagnosis.html").read_text()
    log = str(folder / "gains-b.log")
    assert main(["diagnose", "gains", "--log", log, "--joints", "b", "--no-gravity"]) == OK
    again = json.loads((tmp_path / "diagnosis.json").read_text())
    assert again["rows"] == body["rows"], "the same log says the same"
    capsys.readouterr()
    for wrong, said in (
        (["drop"], "--csv FILE"),
        (["delay"], "--driver NAME"),
        (["delay", "--log", log, "--joints", "c"], "unknown joint 'c'"),
        (["free-motion", "--log", log, "--joints", "b"], "held by its servo"),
        (["inertia", "--driver", "bench"], "name a policy"),
    ):
        assert main(["diagnose", *wrong]) == WRONG
        assert said in capsys.readouterr().err
