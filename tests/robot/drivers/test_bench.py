"""The bench robot: its servos against the equation of motion, and that it fits any contract."""

from dataclasses import replace

import numpy as np
import pytest

from mjx_s2r.contract import CameraSignal, PolicyContract, Signal
from mjx_s2r.robot.clock import VirtualClock
from mjx_s2r.robot.controller import ControllerConfig, homing, run
from mjx_s2r.robot.driver import check
from mjx_s2r.robot.drivers.bench import SERVO_RAD_S, BenchRobot
from mjx_s2r.robot.drivers.conformance import check_driver
from mjx_s2r.robot.drivers.imperfections import Imperfections
from tests.robot.fakes import contract_for, with_home

PERFECT = Imperfections()


def fast_contract(**changes: object) -> PolicyContract:
    """Returns a contract whose speed limit does not act."""
    contract = contract_for()
    action = replace(contract.action, max_rate=(1e3, 1e3), kp=(), kd=(), **changes)
    return replace(contract, action=action)


def test_a_servo_follows_the_equation_of_motion() -> None:
    """X'' = w^2 (u - x) - 2 w x', integrated by scipy."""
    from scipy.integrate import solve_ivp

    contract = replace(fast_contract(), action=replace(fast_contract().action, kp=(8.0, 30.0),
                                                       kd=(1.0, 1.0)))  # fmt: skip
    w = np.array([16.0, 60.0])
    clock = VirtualClock()
    robot = BenchRobot(contract, clock, PERFECT)
    times, course = np.linspace(0, 0.5, 26)[1:], []
    robot.write(np.array([0.5, -0.3]))
    for _ in times:
        clock.advance(0.02)
        robot.read()
        course.append(robot.position.copy())
    for joint, target in enumerate((0.5, -0.3)):

        def motion(t: float, x: np.ndarray, w: float = w[joint], u: float = target) -> list[float]:
            return [x[1], w * w * (u - x[0]) - 2 * w * x[1]]

        solution = solve_ivp(motion, (0, 0.5), [0, 0], t_eval=times, rtol=1e-9, atol=1e-12)
        np.testing.assert_allclose(np.array(course)[:, joint], solution.y[0], atol=1e-6)


def test_commands_come_late_and_readings_in_counts() -> None:
    clock = VirtualClock()
    flaws = Imperfections(latency_ms=20.0, encoder_counts=4096)
    robot = BenchRobot(fast_contract(), clock, flaws, noise_counts=0.0)
    robot.write(np.array([0.5, 0.5]))
    clock.advance(0.018)
    robot.read()
    assert not robot.position.any()
    clock.advance(0.05)
    counts = robot.read().signals["joint_pos"] / (2 * np.pi / 4096)
    assert robot.position.all()
    np.testing.assert_allclose(counts, np.round(counts), atol=1e-9)
    assert abs(counts[0] * 2 * np.pi / 4096 - robot.position[0]) < 2 * np.pi / 4096
    robot.stop()
    held = robot.position.copy()
    clock.advance(1.0)
    robot.read()
    np.testing.assert_allclose(robot.position, held, atol=0.2)
    assert SERVO_RAD_S > 0


def test_speed_is_cut_at_the_contracts() -> None:
    clock = VirtualClock()
    robot = BenchRobot(contract_for(), clock, PERFECT)
    robot.write(np.array([0.9, -0.9]))
    last = robot.position
    for _ in range(20):
        clock.advance(0.01)
        robot.read()
        assert np.all(np.abs(robot.position - last) <= 2.0 * 0.01 + 1e-9)
        last = robot.position


@pytest.mark.parametrize("mode", ["delta_position", "position", "effort"])
def test_it_fits_its_contract_and_can_be_flown(mode: str) -> None:
    contract = contract_for(mode, cameras=True)  # type: ignore[arg-type]
    depth = CameraSignal("depth", 4, 4, 10.0, kind="depth", near=0.1, far=2.0)
    contract = replace(
        contract,
        cameras=(*contract.cameras, depth),
        signals=(*contract.signals, Signal("goal", 3, "m", offset=(0.2,), low=0.1, high=0.4)),
    )
    clock = VirtualClock()
    robot = BenchRobot(contract, clock)
    check(contract, robot.describe())
    assert "no scene" in robot.describe().name
    findings = check_driver(robot, moves=True, clock=clock, wait=clock.advance)
    assert [f for f in findings if f.is_kept is False] == []
    assert len(findings) > 15


def test_a_homing_arrives() -> None:
    contract = contract_for()
    clock = VirtualClock()
    robot = BenchRobot(contract, clock)
    robot.connect()
    summary = run(
        robot, homing(with_home(contract, (0.5, -0.5))), clock, ControllerConfig(duration_s=3.0)
    )
    assert summary.reason == "duration"
    np.testing.assert_allclose(robot.position, [0.5, -0.5], atol=0.01)
