"""What only training knows reaches the robot: readings met, lenses, sizes of pictures."""

import math
from dataclasses import replace

import jax.numpy as jnp
import mujoco
import numpy as np
import pytest

from mjx_s2r.api.export_facts import seen_signals, trained_optics
from mjx_s2r.contract import (
    CameraSignal,
    ContractError,
    Optics,
    Signal,
    TrainedRange,
    from_json,
    to_json,
)
from mjx_s2r.learn import normalizer
from mjx_s2r.learn.camera_schedule import check_picture_memory
from mjx_s2r.learn.networks.modules import check_pictures
from mjx_s2r.params import ParamSpace, set_to
from mjx_s2r.params.param import Param
from mjx_s2r.robot.driver import CameraInfo, check, lens_notes
from mjx_s2r.robot.drivers.mujoco_wiring import picture_optics
from mjx_s2r.sim.backends.physics_config import ModelError
from tests.robot.fakes import contract_for, info_for

CAMERAS = mujoco.MjModel.from_xml_string("""
<mujoco><worldbody>
  <camera name="front" fovy="45"/>
  <camera name="chip" sensorsize="0.004 0.003" focal="0.002 0.002" resolution="64 48"/>
  <camera name="map" projection="orthographic" fovy="2"/>
</worldbody></mujoco>""")
FOV = Param("front_fovy", "visual.camera_fovy", ("front",), None, "add", 0.0, (0, 0), (-9, 9))
BEND = replace(FOV, name="bend", field="visual.camera_distortion", column=0)
SPACE = ParamSpace((set_to("light", "visual.ambient", (), (0.1, 0.9), nominal=0.5), FOV, BEND))
RANGES = (
    TrainedRange("light", "1", 0.5, 0.1, 0.9),
    TrainedRange("front_fovy", "deg", 0.0, -3.0, 2.0),
    TrainedRange("bend", "1", 0.0, -0.1, 0.0),
)
FRONT = CameraSignal("front", 480, 640, 10.0)


def test_readings_met_are_those_of_the_normalizer_in_the_signals_unit() -> None:
    raw = np.random.default_rng(0).normal((2.0, -1.0, 7.0), (0.5, 3.0, 1e-3), (4000, 3))
    signals = (
        Signal("joint_pos", 2, "rad", scale=-2.0, offset=(1.0, 2.0)),
        Signal("level", 1, "m", scale=0.5, low=6.9),
    )
    seen = (raw - (1.0, 2.0, 0.0)) * (-2.0, -2.0, 0.5)
    moments = normalizer.update(normalizer.init(3), jnp.asarray(seen))
    pos, level = seen_signals(signals, moments)
    middle, width = raw.mean(0), normalizer.CLIP * raw.std(0)
    np.testing.assert_allclose(pos.seen_low, (middle - width)[:2], rtol=1e-4)
    np.testing.assert_allclose(pos.seen_high, (middle + width)[:2], rtol=1e-4)
    assert level.seen_low == (6.9,), "no lower than what is believed"
    floor = normalizer.CLIP * 0.1 / 0.5  # the least deviation that the normalizer takes
    assert level.seen_high[0] - middle[2] == pytest.approx(floor, rel=1e-3)
    assert seen_signals(signals, normalizer.init(3)) == signals, "nothing seen, nothing claimed"


def test_optics_are_those_of_the_model() -> None:
    assert picture_optics(CAMERAS, "front") == Optics(45.0)
    chip = picture_optics(CAMERAS, "chip").fov_deg
    assert chip == pytest.approx(2 * math.degrees(math.atan(0.0015 / 0.002)))
    assert picture_optics(CAMERAS, "map").fov_deg == 0, "an orthographic camera has no angle"


def test_optics_hold_what_the_table_did_to_the_lens() -> None:
    optics = trained_optics(CAMERAS, SPACE, FRONT, RANGES)
    assert (optics.fov_deg, optics.fov_range) == (45.0, (42.0, 47.0))
    assert optics.distortion_range == ((-0.1, 0.0), (0.0, 0.0))
    still = tuple(replace(r, low=r.nominal, high=r.nominal) for r in RANGES)
    assert trained_optics(CAMERAS, SPACE, FRONT, still) == Optics(45.0)
    chip = CameraSignal("chip", 48, 64, 10.0)
    assert trained_optics(CAMERAS, SPACE, chip, RANGES) == picture_optics(CAMERAS, "chip")


TRAINED = Optics(45.0, fov_range=(42.0, 47.0), distortion_range=((-0.1, 0.0), (0.0, 0.0)))


@pytest.mark.parametrize(
    ("lens", "says"),
    [
        (Optics(69.0), r"sees 69 degrees.*trained at 42 to 47.*middle 289x386 out of each 480x640"),
        (Optics(30.0), r"sees 30 degrees.*take a wider lens, or train with a row visual.camera_f"),
        (Optics(45.0, order="BGR"), "delivers BGR, the policy reads RGB"),
        (Optics(45.0, fit="squash"), "fitted by 'squash', the policy was trained with 'crop'"),
        (
            Optics(45.0, distortion=(-0.3, 0.01, 0, 0, 0.2)),
            r"bends the picture by k1 -0.3 \(trained from -0.1 to 0\), k3 0.2 .*undistort",
        ),
        (Optics(46.9), ""),
        (Optics(45.0, distortion=(-0.09, 0.0, 0.001, 0, 0)), ""),
        (Optics(), ""),
    ],
)
def test_a_lens_that_training_never_saw_is_refused(lens: Optics, says: str) -> None:
    contract = replace(contract_for(), cameras=(replace(FRONT, optics=TRAINED),))
    info = info_for(contract)
    info = replace(info, cameras=(CameraInfo("front", 480, 640, 10.0, optics=lens),))
    if says:
        with pytest.raises(ContractError, match=says):
            check(contract, info)
    else:
        check(contract, info)
    notes = lens_notes(contract, info)
    assert bool(notes) == (lens == Optics())
    if notes:
        assert "trained at 45 degrees; fill in CameraInfo.optics" in notes[0]


def test_a_cut_picture_has_the_angle_that_was_trained() -> None:
    """The middle 289 of 480 rows of 69 degrees: 2 atan(289/480 tan 34.5) = 45."""
    angle = 2 * math.degrees(math.atan(289 / 480 * math.tan(math.radians(34.5))))
    assert angle == pytest.approx(45, abs=0.1)


def test_files_of_before_claim_nothing() -> None:
    contract = replace(contract_for(), cameras=(FRONT,))
    info = replace(
        info_for(contract), cameras=(CameraInfo("front", 480, 640, 10.0, optics=Optics(69.0)),)
    )
    check(contract, info)
    assert "does not say at which field of view" in lens_notes(contract, info)[0]


def test_what_training_knew_travels() -> None:
    contract = replace(contract_for(), cameras=(replace(FRONT, optics=TRAINED),), memory=7)
    met = replace(contract.signals[0], seen_low=(-1.0, -2.0), seen_high=(1.0, math.inf))
    contract = replace(contract, signals=(met, *contract.signals[1:]))
    assert from_json(to_json(contract)) == contract


@pytest.mark.parametrize(
    ("size", "take"),
    [((1, 1), "4x4"), ((7, 5), "8x4"), ((66, 64), "64x64"), ((3, 4000), "4x4000")],
)
def test_pictures_that_a_network_cannot_take_are_named(size: tuple[int, int], take: str) -> None:
    with pytest.raises(ContractError, match=rf"'front'.*{size[0]}x{size[1]}.*4x4 at least.*{take}"):
        check_pictures([CameraSignal("front", *size, 10.0)])
    check_pictures([CameraSignal("front", 4, 12, 10.0), FRONT])


def test_pictures_that_find_no_room_are_named() -> None:
    large = CameraSignal("top", 3000, 4000, 10.0)
    with pytest.raises(
        ModelError, match=r"'top'.*3000x4000 of 512 worlds over 16 steps.*884\.7 GB in 3 copies"
    ):
        check_picture_memory([FRONT, large], 512, 16, 64e9)
    with pytest.raises(ModelError, match=r"110\.6 GB"):  # one copy alone would fit
        check_picture_memory([FRONT, large], 64, 16, 64e9)
    check_picture_memory([FRONT, large], 32, 16, 64e9)


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"fov_range": (50.0, 40.0)}, "fov_range .* from a smaller number to a larger"),
        ({"distortion_range": ((0.0, 0.1),)}, "must be those of k1 and k2"),
        ({"fov_deg": 180.0}, r"must be in \[0, 180\)"),
    ],
)
def test_optics_that_are_none_are_refused(changes: dict[str, object], says: str) -> None:
    with pytest.raises(ContractError, match=says):
        replace(TRAINED, **changes)  # type: ignore[arg-type]
