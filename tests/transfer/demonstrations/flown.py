"""Flights of a two-joint robot with a camera, by the controller itself."""

from dataclasses import asdict, replace
from pathlib import Path

import numpy as np

from mjx_s2r.contract import CameraSignal, PolicyContract
from mjx_s2r.robot.camera_warp import CameraCalibration
from mjx_s2r.robot.clock import VirtualClock
from mjx_s2r.robot.controller import ControllerConfig, run
from mjx_s2r.robot.driver import Reading
from mjx_s2r.robot.log import FlightLog
from mjx_s2r.robot.safety import SafetyConfig
from tests.robot.fakes import FakeDriver, FakePolicy, contract_for

CAMERA = CameraSignal("front", 16, 24, 10.0)
CONTRACT = replace(contract_for(), cameras=(CAMERA,))


def picture(step: int, seed: int, camera: CameraSignal = CAMERA) -> np.ndarray:
    """Returns an orange square on grey, whose brightness and place tell step and seed."""
    image = np.full((camera.height, camera.width, 3), 40 + (10 * step) % 160, np.uint8)
    image[4:12, 4 + 2 * (seed % 4) : 12 + 2 * (seed % 4)] = (220, 120, 30)
    return image


def fly(
    path: Path,
    seconds: float = 1.2,
    seed: int = 0,
    contract: PolicyContract = CONTRACT,
    calibrations: tuple[CameraCalibration, ...] = (),
    gain: float = 1.0,
    phase: int = 0,
) -> Path:
    """Writes the log of a flight whose policy draws its actions.

    Joints reach ``gain`` times a command. A slow camera's first period is ``phase`` steps shorter.
    """
    clock, rng, count = VirtualClock(100.0), np.random.default_rng(seed), [0]
    every = round(contract.control_hz / contract.cameras[0].rate_hz)
    taken: dict[str, float] = {}
    driver = FakeDriver(contract, clock.now_s)

    def seen(reading: Reading) -> Reading:
        """Adds a fresh picture."""
        count[0] += 1
        camera = contract.cameras[0]
        signals = {**reading.signals, "joint_pos": gain * reading.signals["joint_pos"]}
        shot = (count[0] + phase) // every
        if shot != (count[0] - 1 + phase) // every or not taken:
            taken[camera.name] = reading.time_s
        images = {camera.name: picture(shot, seed, camera)}
        return replace(reading, signals=signals, images=images, image_time_s=dict(taken))

    driver.on_read = seen
    scale = np.asarray(contract.action.scale)
    policy = FakePolicy(contract, lambda obs: scale * rng.uniform(-0.9, 0.9, 2))
    safety = SafetyConfig(ramp_s=0.0)
    config = ControllerConfig(duration_s=seconds, safety=safety, calibrations=calibrations)
    with FlightLog(path, contract, "fake arm", asdict(config)) as log:
        run(driver, policy, clock, config, log)
    return path
