"""Every mismatch between a policy and a robot is found and named."""

import json
from dataclasses import asdict, replace
from typing import Any

import numpy as np
import pytest

from mjx_s2r.contract import ContractError, PolicyContract
from mjx_s2r.robot.driver import CameraInfo, DriverInfo, check
from tests.robot.fakes import contract_for, info_for


def test_fitting_pair_passes() -> None:
    for mode in ("delta_position", "position", "effort"):
        contract = contract_for(mode, cameras=True)
        check(contract, info_for(contract))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"joints": ("b", "a")}, "joint order"),
        ({"joints": ("a", "c")}, r"missing on the robot: \['b'\], unknown to the policy: \['c'\]"),
        ({"command": "effort"}, "needs position commands"),
        ({"unit": "deg"}, "'rad' but the robot takes 'deg'"),
        ({"high": (2.0, 0.9)}, "action.high 1 of joint 'b'"),
        ({"low": (-0.5, -2.0)}, "action.-low 1 of joint 'a'"),
        ({"max_rate": (1.0, 3.0)}, "action.max_rate 2 of joint 'a'"),
        ({"max_effort": (3.0, 1.0)}, "action.max_effort 3 of joint 'b'"),
        ({"max_hz": 5.0}, "control rate 10.0 Hz is above"),
        ({"signals": {"joint_pos": 2}}, "signal 'joint_vel' is missing"),
        ({"signals": {"joint_pos": 3, "joint_vel": 2}}, "signal 'joint_pos' has 3 values"),
        ({"cameras": ()}, "camera 'front' is missing"),
        ({"cameras": (CameraInfo("front", 8, 8, 10.0),)}, "delivers 8x8, the policy reads 8x6"),
        ({"cameras": (CameraInfo("front", 8, 6, 5.0),)}, "runs at 5.0 Hz"),
    ],
)
def test_mismatch_is_named(change: dict[str, Any], message: str) -> None:
    contract = contract_for(cameras=True)
    with pytest.raises(ContractError, match=message):
        check(contract, replace(info_for(contract), **change))


def test_effort_limits_are_compared_with_effort() -> None:
    contract = contract_for("effort")
    weak = replace(info_for(contract), max_effort=(3.0, 0.5))
    with pytest.raises(ContractError, match="high 1 of joint 'b' is outside the robot's 0"):
        check(contract, weak)


def test_all_mismatches_in_one_error() -> None:
    contract = contract_for(cameras=True)
    info = replace(info_for(contract), unit="deg", max_hz=1.0, cameras=())
    with pytest.raises(ContractError) as caught:
        check(contract, info)
    assert str(caught.value).count("\n - ") == 3


def test_limits_have_one_value_per_joint() -> None:
    contract: PolicyContract = contract_for()
    info: DriverInfo = info_for(contract)
    with pytest.raises(ContractError, match="max_rate has 1 values for 2 joints"):
        replace(info, max_rate=(1.0,))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"low": (-2.0, np.nan)}, "low of joint 'b' is nan; write a number, inf where it is unkn"),
        ({"high": (np.float32(np.nan), 2.0)}, "high of joint 'a' is .*nan"),
        ({"max_rate": (2.0, np.nan)}, "max_rate of joint 'b' is nan"),
        ({"max_effort": (None, 3.0)}, "max_effort of joint 'a' is None"),
        ({"max_effort": (3.0, "3")}, "max_effort of joint 'b' is '3'"),
        ({"low": (-2.0, 3.0)}, "joint 'b' has low 3 above high 2"),
        ({"max_rate": (2.0, -1.0)}, "max_rate of joint 'b' is -1"),
        ({"max_hz": np.nan}, "max_hz is nan"),
        ({"max_hz": 0.0}, "max_hz = 0 must be above zero"),
        ({"timeout_s": np.nan}, "timeout_s is nan"),
    ],
)
def test_a_limit_that_lets_everything_through_is_refused(
    change: dict[str, Any], message: str
) -> None:
    with pytest.raises(ContractError, match=f"driver 'fake': {message}"):
        replace(info_for(contract_for()), **change)


def test_a_data_sheet_of_arrays_is_one_of_plain_numbers() -> None:
    plain = info_for(contract_for(cameras=True))
    camera = CameraInfo("front", np.int64(8), np.int32(6), np.float32(10))  # type: ignore[arg-type]
    arrays = replace(
        plain,
        joints=list(plain.joints),
        low=np.float32(plain.low),
        high=np.array(plain.high),
        max_rate=np.float32(plain.max_rate),
        max_effort=list(np.float32(plain.max_effort)),
        max_hz=np.float32(plain.max_hz),
        signals={name: np.int64(size) for name, size in plain.signals.items()},
        cameras=[camera],
    )
    assert arrays == plain
    assert json.dumps(asdict(arrays)) == json.dumps(asdict(plain))
