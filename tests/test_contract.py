"""The contract: exact on its way through JSON, refused when touched, one meaning of an action."""

import json
import math
from dataclasses import replace
from typing import Any

import jax.numpy as jnp
import numpy as np
import pytest

from mjx_s2r.contract import (
    ActionMode,
    ActionSpec,
    CameraSignal,
    ContractError,
    PolicyContract,
    Signal,
    TrainedRange,
    assemble,
    from_json,
    next_command,
    to_json,
)

ACTION = ActionSpec(
    joints=("pan", "lift"),
    mode="delta_position",
    unit="rad",
    scale=(0.1, 1 / 3),
    home=(0.25, -0.5),
    low=(-1.0, -2.0),
    high=(1.0, 0.5),
    max_rate=(math.inf, 3.0),
    max_effort=(3.35, 1.0),
    kp=(17.8, 10.0),
    kd=(0.1, 0.0),
)
CONTRACT = PolicyContract(
    task="test",
    control_hz=25.0,
    signals=(
        Signal("joint_pos", 2, "rad", 2.0, (0.5, -1.0), -3.2, 3.2),
        Signal("speed", 1, "rad/s", 0.1, (1.0,)),
    ),
    action=ACTION,
    cameras=(CameraSignal("front", 64, 48, 30.0),),
    ranges=(TrainedRange("mass", "kg", 1 / 3, 0.1 + 0.2, math.pi),),
)


def tampered(**changes: object) -> str:
    """Returns the contract's JSON with top-level entries replaced, its hash left as it was."""
    return json.dumps(json.loads(to_json(CONTRACT)) | changes)


def test_json_brings_back_the_same_contract() -> None:
    text = to_json(CONTRACT)
    assert from_json(text) == CONTRACT
    assert to_json(from_json(text)) == text


def test_json_is_canonical() -> None:
    shuffled = json.loads(to_json(CONTRACT))
    text = json.dumps(dict(reversed(shuffled.items())), indent=2)
    assert from_json(text) == CONTRACT


@pytest.mark.parametrize(
    "changes", [{"control_hz": 26.0}, {"task": "other"}, {"signals": []}, {"extra": 1}]
)
def test_a_contract_changed_after_export_is_refused(changes: dict) -> None:
    with pytest.raises(ContractError, match="changed after export"):
        from_json(tampered(**changes))


def test_one_digit_of_a_limit_is_noticed() -> None:
    text = to_json(CONTRACT)
    changed = text.replace("3.35", "3.36")
    assert changed != text
    with pytest.raises(ContractError, match="sha256 differs"):
        from_json(changed)


@pytest.mark.parametrize("text", ["", "{", "[]", "{}", "null", "3", '"text"'])
def test_what_is_no_contract_is_refused(text: str) -> None:
    with pytest.raises(ContractError, match="not readable JSON with a sha256"):
        from_json(text)


@pytest.mark.parametrize("schema", [0, 2, None, "1"])
def test_another_schema_is_refused(schema: object) -> None:
    with pytest.raises(ContractError, match=f"contract schema {schema} is not 1"):
        from_json(tampered(schema=schema))


def test_assemble_offsets_scales_and_joins_in_order() -> None:
    """(1 - 0.5) 2 = 1, (-2 + 1) 2 = -2, (3 - 1) 0.1 = 0.2; unused readings are ignored."""
    readings = {"speed": [3.0], "joint_pos": [1.0, -2.0], "unused": [9.0]}
    for xp in (np, jnp):
        np.testing.assert_allclose(assemble(xp, CONTRACT, readings), (1, -2, 0.2), rtol=1e-6)
    assert CONTRACT.size == 3


def test_assemble_takes_leading_axes() -> None:
    readings = {"speed": np.ones((4, 5, 1)), "joint_pos": np.zeros((4, 5, 2))}
    out = assemble(np, CONTRACT, readings)
    assert out.shape == (4, 5, 3) and out.dtype == np.float32
    np.testing.assert_allclose(out[2, 3], (-1, 2, 0))


def test_assemble_names_what_is_missing_or_has_another_size() -> None:
    with pytest.raises(
        ContractError, match=r"'speed' is missing; the readings hold \['joint_pos'\]"
    ):
        assemble(np, CONTRACT, {"joint_pos": np.zeros(2)})
    with pytest.raises(ContractError, match=r"'joint_pos' has shape \(3,\), expected \(..., 2\)"):
        assemble(np, CONTRACT, {"joint_pos": np.zeros(3), "speed": np.zeros(1)})
    with pytest.raises(ContractError, match=r"'speed' has shape \(\)"):
        assemble(np, CONTRACT, {"joint_pos": np.zeros(2), "speed": 1.0})


@pytest.mark.parametrize(
    ("mode", "expected"),
    [
        ("delta_position", (0.6, -1.8)),  # 0.4 + 0.2, -1.5 - 0.3
        ("position", (0.45, -0.8)),  # home 0.25 + 0.2, -0.5 - 0.3
        ("effort", (0.2, -0.3)),
    ],
)
def test_next_command_of_every_mode(mode: ActionMode, expected: tuple) -> None:
    spec = replace(ACTION, mode=mode)
    for xp in (np, jnp):
        command, output = (xp.asarray(v, "float32") for v in ((0.4, -1.5), (0.2, -0.3)))
        np.testing.assert_allclose(next_command(xp, spec, command, output), expected, rtol=1e-6)


@pytest.mark.parametrize("mode", ["delta_position", "position", "effort"])
def test_next_command_stays_inside_the_limits(mode: ActionMode) -> None:
    spec, zero = replace(ACTION, mode=mode), np.zeros((3, 2), np.float32)
    np.testing.assert_allclose(next_command(np, spec, zero, zero + 9), np.tile(ACTION.high, (3, 1)))
    np.testing.assert_allclose(next_command(np, spec, zero, zero - 9), np.tile(ACTION.low, (3, 1)))


@pytest.mark.parametrize("rate", [0.0, -25.0, math.nan, math.inf])
def test_a_rate_that_cannot_be_is_refused(rate: float) -> None:
    with pytest.raises(ContractError, match=f"control_hz {rate} must be a positive number"):
        replace(CONTRACT, control_hz=rate)


@pytest.mark.parametrize("name", ["scale", "home", "low", "high", "max_rate", "max_effort"])
def test_one_value_per_joint_and_no_nan(name: str) -> None:
    with pytest.raises(ContractError, match=f"action.{name} has 1 values for 2 joints"):
        replace(CONTRACT, action=replace(ACTION, **{name: (0.0,)}))
    with pytest.raises(ContractError, match=f"action.{name} holds NaN"):
        replace(CONTRACT, action=replace(ACTION, **{name: (0.0, math.nan)}))


def test_limits_the_wrong_way_round_name_the_joint() -> None:
    with pytest.raises(ContractError, match=r"joint 'lift': low 0.5 is above high 0.0"):
        replace(CONTRACT, action=replace(ACTION, low=(-1.0, 0.5), high=(1.0, 0.0)))


def test_offsets_that_do_not_fit_name_the_signal() -> None:
    with pytest.raises(ContractError, match="'joint_pos': 3 offsets for 2 values"):
        replace(CONTRACT, signals=(Signal("joint_pos", 2, "rad", offset=(0.0, 0.0, 0.0)),))


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"joints": ("lift", "lift")}, "action.joints has 'lift' twice; name each once"),
        ({"joints": ("lift", "")}, "action.joints: name '' at place 1 is no name"),
        ({"joints": "lift"}, r"action.joints 'lift' is one name and must be a tuple: \('lift',\)"),
        ({"low": -1.0}, "action.low -1.0 must be a tuple of numbers"),
        ({"scale": (0.1, None)}, r"action.scale \(0.1, None\) must be a tuple of numbers"),
        ({"mode": "torque"}, r"action.mode 'torque' must be one of \['delta_position', 'position'"),
        ({"scale": (0.1, 0.0)}, "scale 0.0 must be finite and not zero"),
        ({"scale": (0.1, math.inf)}, "scale inf must be finite"),
        ({"max_rate": (1.0, 0.0)}, "max_rate 0.0 must be above zero"),
        ({"max_effort": (1.0, -2.0)}, "max_effort -2.0 at least zero"),
        ({"home": (0.0, 9.0)}, "home 9.0 is not between low .* and high .*; move one of them"),
        ({"mode": "effort", "home": (0.0, 0.1)}, "home 0.1 does nothing in mode 'effort'; write 0"),
        ({"mode": "effort", "home": (0.0,) * 2, "kp": (0.0, 5.0)}, "kp 5.0 does nothing in mode"),
    ],
)
def test_an_action_that_cannot_be_is_named(change: dict[str, Any], words: str) -> None:
    plain = replace(ACTION, kp=(), kd=())
    with pytest.raises(ContractError, match=words):
        replace(CONTRACT, action=replace(plain, **change))


def test_an_action_without_joints_is_refused() -> None:
    with pytest.raises(ContractError, match=r"action.joints is empty; name the joints"):
        replace(CONTRACT, action=ActionSpec((), "effort", "N", *((),) * 6))


@pytest.mark.parametrize(
    ("signals", "words"),
    [
        ((Signal("a", 1, "1"), Signal("a", 2, "1")), "signals has 'a' twice"),
        ((Signal("", 1, "1"),), "signals: name '' at place 0 is no name"),
        ((Signal("a", -1, "1"),), "signal 'a': size -1 must be a whole number, at least 0"),
        ((Signal("a", 1.5, "1"),), "signal 'a': size 1.5 must be a whole number"),  # type: ignore
        ((Signal("a", 1, "1", offset=0.5),), "offset 0.5 must be a tuple"),  # type: ignore
        ((Signal("a", 1, "1", 0.0),), "signal 'a': scale 0.0 and offset .* must be finite"),
        ((Signal("a", 1, "1", offset=(math.nan,)),), r"offset \(nan,\) must be finite"),
        ((Signal("a", 1, "1", low=1.0, high=-1.0),), "signal 'a': low 1.0 is not below high -1.0"),
        ((Signal("command", 3, "rad"),), "signal 'command' has 3 values, and there are 2 joints"),
    ],
)
def test_signals_that_cannot_be_are_named(signals: tuple[Signal, ...], words: str) -> None:
    with pytest.raises(ContractError, match=words):
        replace(CONTRACT, signals=signals)
