"""Policy contract: what a policy reads and writes, with names, order, units, rates and limits.

The contract is written once in the task, used by the simulator to assemble observations, travels
inside the ONNX file and is checked by the robot's controller against its driver. It knows no jax:
`assemble` runs on numpy and on jax.numpy.
"""

import hashlib
import json
import math
import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from numbers import Real
from types import ModuleType
from typing import Any, Literal, get_args

SCHEMA = 1
METADATA_KEY = "mjx_s2r"
# What inputs and outputs of a policy's graph are called; its pictures have their cameras' names
OBS, ACTION, MEMORY, MEMORY_OUT = "obs", "action", "memory", "memory_out"
ActionMode = Literal["delta_position", "position", "effort"]
CameraKind = Literal["rgb", "depth"]
FrameFit = Literal["crop", "squash"]
JointKind = Literal["hinge", "slide", "fixed"]
DEPTH_CODES = 65535  # the largest code of a depth: at `CameraSignal.far`, or no answer


class ContractError(ValueError):
    """A contract that is broken or does not fit; the message names the item and the remedy."""


@dataclass(frozen=True)
class Signal:
    """One named vector that the policy reads.

    Attributes:
        name: what it is: "joint_pos", "joint_vel", "command", ...
        size: number of components.
        unit: unit of the raw reading ("rad", "rad/s", "m", "1").
        scale: the policy sees (reading - offset) * scale.
        offset: subtracted first, one value per component or one for all.
        low: smallest reading that is believed, in ``unit``; below it the controller stops.
        high: largest reading that is believed.
        seen_low: (size,) smallest readings met in training, in ``unit``; () claims nothing. Filled
            in at export.
        seen_high: (size,) largest readings met in training.
    """

    name: str
    size: int
    unit: str
    scale: float = 1.0
    offset: tuple[float, ...] = (0.0,)
    low: float = -math.inf
    high: float = math.inf
    seen_low: tuple[float, ...] = ()
    seen_high: tuple[float, ...] = ()


@dataclass(frozen=True)
class Optics:
    """What lies between a scene and the picture that the policy reads.

    Attributes:
        fov_deg: vertical field of view of the picture, degrees; 0 claims nothing.
        fov_range: smallest and largest field of view trained on, degrees; () is ``fov_deg`` alone.
        fit: how the picture comes out of the sensor's frame of another shape: "crop" keeps the
            middle, "squash" keeps all of it.
        distortion: k1, k2, p1, p2, k3 of Brown's model, as OpenCV orders them; none is a pinhole.
        distortion_range: (2, 2) smallest and largest k1 and k2 trained on; () is none.
        order: order of the colours of a pixel, "RGB" or "BGR".
    """

    fov_deg: float = 0.0
    fit: FrameFit = "crop"
    distortion: tuple[float, ...] = ()
    order: Literal["RGB", "BGR"] = "RGB"
    fov_range: tuple[float, ...] = ()
    distortion_range: tuple[tuple[float, ...], ...] = ()

    def __post_init__(self) -> None:
        """Checks the numbers and the words.

        Raises:
            ContractError: an angle that no pinhole has, an unknown word, another number of terms.
        """
        for name in ("distortion", "fov_range"):
            object.__setattr__(self, name, _plain(getattr(self, name)))
        object.__setattr__(self, "distortion_range", tuple(map(_plain, self.distortion_range)))
        if not (_is_number(self.fov_deg) and 0 <= self.fov_deg < 180):
            raise ContractError(
                f"optics.fov_deg {self.fov_deg!r} must be in [0, 180) degrees; 0 claims nothing"
            )
        if self.fit not in get_args(FrameFit):
            raise ContractError(
                f"optics.fit {self.fit!r} must be one of {list(get_args(FrameFit))}"
            )
        if self.order not in ("RGB", "BGR"):
            raise ContractError(f"optics.order {self.order!r} must be 'RGB' or 'BGR'")
        _check_numbers("optics.distortion", self.distortion)
        if len(self.distortion) not in (0, 5) or not all(map(math.isfinite, self.distortion)):
            raise ContractError(
                f"optics.distortion {self.distortion} must be k1, k2, p1, p2, k3, or nothing"
            )
        for name, pairs in (
            ("fov_range", (self.fov_range,) if self.fov_range else ()),
            ("distortion_range", self.distortion_range),
        ):
            for pair in pairs:
                _check_numbers(f"optics.{name}", pair)
                if len(pair) != 2 or not pair[0] <= pair[1]:
                    raise ContractError(
                        f"optics.{name} {getattr(self, name)} must go from a smaller number to a "
                        "larger one"
                    )
        if len(self.distortion_range) not in (0, 2):
            raise ContractError(
                f"optics.distortion_range {self.distortion_range} must be those of k1 and k2, or "
                "nothing"
            )


@dataclass(frozen=True)
class CameraSignal:
    """One camera that the policy reads, row 0 at the top: uint8 RGB, or depth.

    A depth picture is float32 metres along the optical axis, 0 where there is no answer. What is
    nearer than ``near`` or farther than ``far`` has none. A robot may deliver such metres or uint16
    counts of ``unit_m`` (ROS: 32FC1 and 16UC1).

    Attributes:
        name: name of the camera.
        height: of the picture, px.
        width: of the picture, px.
        rate_hz: pictures per second, at most the control rate; between two, the last one holds.
        frames: F, how many pictures the policy sees at once, the newest and those before it.
        kind: "rgb" or "depth".
        near: nearest depth, m; of a depth camera alone.
        far: farthest depth, m; of a depth camera alone.
        unit_m: one count of a depth camera that delivers uint16, m.
        optics: lens, crop and colour order; filled in at export.
    """

    name: str
    height: int
    width: int
    rate_hz: float
    frames: int = 1
    kind: CameraKind = "rgb"
    near: float = 0.0
    far: float = 0.0
    unit_m: float = 0.001
    optics: Optics = field(default_factory=Optics)

    def __post_init__(self) -> None:
        """Checks sizes, kind and depths.

        Raises:
            ContractError: a picture without area, a rate or a number of frames below its least, an
                unknown kind, depths that are none.
        """
        if min(self.height, self.width, self.frames) < 1 or not self.rate_hz > 0:
            raise ContractError(
                f"camera {self.name!r}: {self.height}x{self.width} px, {self.rate_hz} Hz, "
                f"{self.frames} frames; all must be above zero"
            )
        if self.kind not in get_args(CameraKind):
            raise ContractError(
                f"camera {self.name!r}: kind {self.kind!r} must be one of "
                f"{list(get_args(CameraKind))}"
            )
        if self.kind == "rgb" and (self.near or self.far):
            raise ContractError(
                f"camera {self.name!r}: near {self.near} m and far {self.far} m are of a depth "
                "camera; drop them, or write kind='depth'"
            )
        if self.kind == "depth":
            if not 0 <= self.near < self.far < math.inf:
                raise ContractError(
                    f"camera {self.name!r}: depths from near {self.near} m to far {self.far} m; "
                    "write 0 <= near < far, in metres, as the camera's data sheet has them"
                )
            if not 0 < self.unit_m < math.inf:
                raise ContractError(
                    f"camera {self.name!r}: unit_m {self.unit_m} m must be above zero; it is one "
                    "count of the robot's uint16 picture, 0.001 for millimetres"
                )

    @property
    def channels(self) -> int:
        """Numbers per pixel of one picture."""
        return 1 if self.kind == "depth" else 3

    @property
    def dtype(self) -> str:
        """Type of the picture that the policy's file reads."""
        return "float32" if self.kind == "depth" else "uint8"

    @property
    def shape(self) -> tuple[int, int, int]:
        """(height, width, channels F) of what the policy reads, newest picture first."""
        return self.height, self.width, self.channels * self.frames


def camera_signal(text: str) -> CameraSignal:
    """Reads a camera from NAME:HEIGHTxWIDTH@RATE, then xFRAMES and :depthNEAR-FAR (m) if wanted.

    Raises:
        ContractError: another form.
    """
    number = r"[0-9]*\.?[0-9]+"
    found = re.fullmatch(
        rf"(.+?):(\d+)x(\d+)@([0-9.]+)(?:x(\d+))?(?::depth({number})-({number}))?", text
    )
    if found is None:
        raise ContractError(
            f"camera {text!r} must read NAME:HEIGHTxWIDTH@RATE, e.g. front:64x64@25, for several "
            "pictures at once front:64x64@12.5x3, and for depth from 0.1 to 2 m "
            "front:64x64@25:depth0.1-2"
        )
    name, height, width, rate, frames, near, far = found.groups()
    size = int(height), int(width), float(rate), int(frames or 1)
    if far is None:
        return CameraSignal(name, *size)
    return CameraSignal(name, *size, "depth", float(near), float(far))


def encode_depth(xp: ModuleType, camera: CameraSignal, metres: Any) -> Any:
    """Returns depths (...) as the policy's network keeps them: uint16 codes, near 0, far 65535.

    No answer (0, NaN, outside of near to far) has the code of the farthest depth.

    Args:
        xp: numpy or jax.numpy.
        camera: the depth camera.
        metres: (...) float32 [m] along the optical axis.
    """
    known = (metres > 0) & (metres >= camera.near) & (metres <= camera.far)
    share = (xp.where(known, metres, camera.far) - camera.near) * (1 / (camera.far - camera.near))
    return xp.round(share * DEPTH_CODES).astype("uint16")


@dataclass(frozen=True)
class ActionSpec:
    """The action of a policy, one value per joint.

    The graph ends in physical units: ``scale`` times the squashed output in [-1, 1].

    Attributes:
        joints: names, in order.
        mode: "delta_position" adds to the last command; "position" adds to ``home``;
            "effort" is a force or torque.
        unit: "rad", "m", "N m" or "N"; one per joint, comma-separated, where hinges meet slides;
            "1" for efforts that are shares of a motor's control.
        scale: value at full output, per joint; for "delta_position" per control step.
        home: command at the start of an episode, per joint (zeros for effort).
        low: lowest command, per joint.
        high: highest command, per joint.
        max_rate: fastest change of the command, ``unit``/s, per joint (inf for effort).
        max_effort: largest force or torque of the joint, N m or N, per joint; a share where the
            unit is "1"; inf claims nothing.
        kp: stiffness of the joint's position loop, N m/rad (0 for effort).
        kd: damping of the joint's position loop, N m s/rad.
    """

    joints: tuple[str, ...]
    mode: ActionMode
    unit: str
    scale: tuple[float, ...]
    home: tuple[float, ...]
    low: tuple[float, ...]
    high: tuple[float, ...]
    max_rate: tuple[float, ...]
    max_effort: tuple[float, ...]
    kp: tuple[float, ...] = ()
    kd: tuple[float, ...] = ()

    def __post_init__(self) -> None:
        """Takes numbers of numpy as plain ones, which JSON can hold."""
        for name in ("scale", "home", "low", "high", "max_rate", "max_effort", "kp", "kd"):
            object.__setattr__(self, name, _plain(getattr(self, name)))

    @property
    def units(self) -> tuple[str, ...]:
        """The unit of each joint's command."""
        return units_of_each(self.unit, len(self.joints))


def units_of_each(unit: str, size: int) -> tuple[str, ...]:
    """Returns the unit of each of ``size`` values: one for all, or one for each with commas."""
    words = tuple(word.strip() for word in unit.split(","))
    return words if len(words) == size else words[:1] * size


def _plain(values: Any) -> Any:
    """Returns an array or a sequence of numbers as a tuple of floats; all else as it is."""
    if hasattr(values, "tolist"):
        values = values.tolist()
    if not isinstance(values, list | tuple):
        return values
    items = (x.tolist() if hasattr(x, "tolist") else x for x in values)
    return tuple(float(x) if type(x) is int else x for x in items)


@dataclass(frozen=True)
class ChainLink:
    """One body of a robot's kinematic tree, at its parent's joints' zero.

    Attributes:
        name: of the body.
        parent: index of the parent's link in the chain; -1 is the robot's base.
        pos: (3,) origin in the parent's frame, m.
        quat: (4,) orientation in the parent's frame, (w, x, y, z).
        kind: "hinge", "slide" or "fixed".
        joint: name of the joint; "" where it is fixed.
        axis: (3,) of the joint, in the body's frame.
        anchor: (3,) point on the axis of a hinge, in the body's frame, m.
        zero: reading of the joint at which ``pos`` and ``quat`` hold, rad or m.
    """

    name: str
    parent: int
    pos: tuple[float, ...]
    quat: tuple[float, ...]
    kind: JointKind = "fixed"
    joint: str = ""
    axis: tuple[float, ...] = (0.0, 0.0, 1.0)
    anchor: tuple[float, ...] = (0.0, 0.0, 0.0)
    zero: float = 0.0


@dataclass(frozen=True)
class ChainPoint:
    """A ball on a robot that must stay in the workspace: ``pos`` (3,) m in the frame of a link."""

    name: str
    link: int
    pos: tuple[float, ...]
    radius: float = 0.0


@dataclass(frozen=True)
class Chain:
    """What the robot side knows of a robot's shape: enough to say where its points are.

    Attributes:
        joints: names of the joint readings that move it, in the order of ``"joint_pos"``.
        links: parents before children.
        points: what is watched, m in the base's frame.
    """

    joints: tuple[str, ...] = ()
    links: tuple[ChainLink, ...] = ()
    points: tuple[ChainPoint, ...] = ()

    def __post_init__(self) -> None:
        """Checks the tree.

        Raises:
            ContractError: a parent after its child, an unknown joint, a point on no link.
        """
        for index, link in enumerate(self.links):
            if not -1 <= link.parent < index:
                raise ContractError(
                    f"chain link {link.name!r} has parent {link.parent}; give an earlier one, or -1"
                )
            if link.kind not in get_args(JointKind):
                raise ContractError(
                    f"chain link {link.name!r}: kind {link.kind!r} must be one of "
                    f"{list(get_args(JointKind))}"
                )
            if link.kind != "fixed" and link.joint not in self.joints:
                raise ContractError(
                    f"chain link {link.name!r}: joint {link.joint!r} is not one of "
                    f"{list(self.joints)}"
                )
        for point in self.points:
            if not 0 <= point.link < len(self.links):
                raise ContractError(f"chain point {point.name!r} is on link {point.link}; no such")


@dataclass(frozen=True)
class TrainedRange:
    """The range of one parameter that the policy was trained on."""

    name: str
    unit: str
    nominal: float
    low: float
    high: float


@dataclass(frozen=True)
class PolicyContract:
    """Everything the two ends must agree on.

    Attributes:
        task: name of the task.
        control_hz: rate of the policy.
        signals: what is read, in the order of the observation vector.
        action: what is written.
        cameras: which cameras are read; empty for a policy on state.
        ranges: what it was trained on; filled in at export.
        engine: engine of the physics that it was trained in ("jax", "warp" or "c"), so that a
            stand-in of the same engine can say so; filled in at export.
        memory: length of the state that a recurrent policy hands from step to step, zeros at the
            start of an episode; 0 for one that remembers nothing.
        chain: the robot's kinematic tree, for the guard's workspace; filled in at export.
        schema: version of this format.
    """

    task: str
    control_hz: float
    signals: tuple[Signal, ...]
    action: ActionSpec
    cameras: tuple[CameraSignal, ...] = ()
    ranges: tuple[TrainedRange, ...] = ()
    engine: str = ""
    memory: int = 0
    chain: Chain = Chain()
    schema: int = SCHEMA

    def __post_init__(self) -> None:
        """Checks names, sizes, limits and rates.

        Raises:
            ContractError: an inconsistent item, named.
        """
        if not (_is_number(self.control_hz) and 0 < self.control_hz < math.inf):
            raise ContractError(f"control_hz {self.control_hz!r} must be a positive number")
        _check_names("action.joints", self.action.joints)
        _check_names("signals", [s.name for s in self.signals])
        _check_names("cameras", [c.name for c in self.cameras])
        _check_action(self.action)
        for s in self.signals:
            _check_signal(s, len(self.action.joints))
        for camera in self.cameras:
            if camera.name in (OBS, ACTION, MEMORY, MEMORY_OUT):
                raise ContractError(
                    f"camera {camera.name!r} has the name of another input or output of the "
                    "policy's file; call it otherwise"
                )
        if not isinstance(self.memory, int) or isinstance(self.memory, bool) or self.memory < 0:
            raise ContractError(f"memory {self.memory!r} must be a number of values, 0 for none")

    @property
    def size(self) -> int:
        """Length of the assembled observation vector."""
        return sum(s.size for s in self.signals)

    @property
    def sensed(self) -> Mapping[str, int]:
        """Sizes by name of the signals that sensors read: all but the last "command".

        That one is known exactly: whoever sends commands fills it in.
        """
        return {s.name: s.size for s in self.signals if s.name != "command"}


def _check_names(label: str, names: Any) -> None:
    """Raises ContractError for a name that is empty or there twice."""
    if isinstance(names, str):
        raise ContractError(f"{label} {names!r} is one name and must be a tuple: ({names!r},)")
    for index, name in enumerate(names):
        if not isinstance(name, str) or not name:
            raise ContractError(f"{label}: name {name!r} at place {index} is no name; give it one")
        if name in names[:index]:
            raise ContractError(f"{label} has {name!r} twice; name each once")


def _is_number(value: Any) -> bool:
    """Returns whether a value is a real number, and no flag."""
    return isinstance(value, Real) and not isinstance(value, bool)


def _check_numbers(label: str, values: Any) -> None:
    """Raises ContractError for what is not several real numbers."""
    is_several = hasattr(values, "__len__") and not isinstance(values, str | bytes | Mapping)
    if not is_several or not all(map(_is_number, values)):
        raise ContractError(f"{label} {values!r} must be a tuple of numbers, e.g. (1.0, 2.0)")


def _check_action(action: ActionSpec) -> None:
    """Raises ContractError for an action whose numbers do not fit each other."""
    joints, known = len(action.joints), get_args(ActionMode)
    if action.mode not in known:
        raise ContractError(f"action.mode {action.mode!r} must be one of {list(known)}")
    if not joints:
        raise ContractError("action.joints is empty; name the joints that the policy commands")
    for name in ("scale", "home", "low", "high", "max_rate", "max_effort", "kp", "kd"):
        _check_numbers(f"action.{name}", getattr(action, name))
    for name in ("scale", "home", "low", "high", "max_rate", "max_effort"):
        values = getattr(action, name)
        if len(values) != joints:
            raise ContractError(f"action.{name} has {len(values)} values for {joints} joints")
        if any(map(math.isnan, values)):
            raise ContractError(f"action.{name} holds NaN: {values}")
    for name in ("kp", "kd"):
        values = getattr(action, name)
        if len(values) not in (0, joints) or not all(map(math.isfinite, values)):
            raise ContractError(
                f"action.{name} {values} must be {joints} finite numbers, or absent"
            )
    for index, joint in enumerate(action.joints):
        where = f"action of joint {joint!r}"
        low, high, home = (getattr(action, name)[index] for name in ("low", "high", "home"))
        if low > high:
            raise ContractError(f"action limits of joint {joint!r}: low {low} is above high {high}")
        if not action.scale[index] or not math.isfinite(action.scale[index]):
            raise ContractError(
                f"{where}: scale {action.scale[index]} must be finite and not zero; it is the "
                "command at full output"
            )
        if action.max_rate[index] <= 0 or action.max_effort[index] < 0:
            raise ContractError(
                f"{where}: max_rate {action.max_rate[index]} must be above zero and max_effort "
                f"{action.max_effort[index]} at least zero; inf sets no limit"
            )
        if action.mode == "effort":
            for name in ("home", "kp", "kd"):
                if any(getattr(action, name)[index : index + 1]):
                    raise ContractError(
                        f"{where}: {name} {getattr(action, name)[index]} does nothing in mode "
                        "'effort'; write 0, or use a position mode"
                    )
        elif not math.isfinite(home) or not low <= home <= high:
            raise ContractError(
                f"{where}: home {home} is not between low {low} and high {high}; move one of them"
            )


def _check_signal(signal: Signal, joints: int) -> None:
    """Raises ContractError for a signal that no reading fits."""
    where = f"signal {signal.name!r}"
    size: Any = signal.size
    if not _is_number(size) or not float(size).is_integer() or size < 0:
        raise ContractError(f"{where}: size {size!r} must be a whole number, at least 0")
    _check_numbers(f"{where}: offset", signal.offset)
    _check_numbers(f"{where}: scale, low and high", (signal.scale, signal.low, signal.high))
    if len(signal.offset) not in (1, signal.size):
        raise ContractError(f"{where}: {len(signal.offset)} offsets for {signal.size} values")
    if not signal.scale or not all(map(math.isfinite, (signal.scale, *signal.offset))):
        raise ContractError(
            f"{where}: scale {signal.scale} and offset {signal.offset} must be finite, and a scale "
            "of zero shows the policy nothing"
        )
    if not signal.low <= signal.high:
        raise ContractError(
            f"{where}: low {signal.low} is not below high {signal.high}, so the robot would stop "
            "at every reading; swap them"
        )
    for name in ("seen_low", "seen_high"):
        _check_numbers(f"{where}: {name}", getattr(signal, name))
    seen = len(signal.seen_low), len(signal.seen_high)
    pairs = zip(signal.seen_low, signal.seen_high, strict=False)
    if seen not in ((0, 0), (size, size)) or not all(low <= high for low, high in pairs):
        raise ContractError(
            f"{where}: seen_low {signal.seen_low} and seen_high {signal.seen_high} must have "
            f"{size} values each, the smaller first, or none; export the policy again"
        )
    if signal.name == "command" and signal.size != joints:
        raise ContractError(
            f"{where} has {signal.size} values, and there are {joints} joints; the last command "
            "has one value per joint"
        )


def assemble(xp: ModuleType, contract: PolicyContract, readings: Mapping[str, Any]) -> Any:
    """Returns the observation vector (..., P): every signal offset, scaled and joined in order.

    Args:
        xp: numpy or jax.numpy.
        contract: which signals, in which order.
        readings: signal name -> raw reading (..., size) in the signal's unit.

    Raises:
        ContractError: a signal is missing or has another size.
    """
    parts = []
    for s in contract.signals:
        if s.name not in readings:
            raise ContractError(
                f"signal {s.name!r} is missing; the readings hold {sorted(readings)}"
            )
        reading = xp.asarray(readings[s.name], "float32")
        if reading.shape[-1:] != (s.size,):
            raise ContractError(
                f"signal {s.name!r} has shape {reading.shape}, expected (..., {s.size})"
            )
        parts.append((reading - xp.asarray(s.offset, "float32")) * s.scale)
    return xp.concatenate(parts, -1)


def next_command(xp: ModuleType, action: ActionSpec, command: Any, output: Any) -> Any:
    """Returns the command (..., J) that follows from the policy's physical ``output`` (..., J).

    The simulator and the robot's controller both call this, so the meaning of an action is one.
    """
    low, high = xp.asarray(action.low, "float32"), xp.asarray(action.high, "float32")
    base = {
        "delta_position": command,
        "position": xp.asarray(action.home, "float32"),
        "effort": xp.zeros_like(command),
    }[action.mode]
    return xp.clip(base + output, low, high)


def to_json(contract: PolicyContract) -> str:
    """Returns the contract as canonical JSON, every float in full precision, with its sha256."""
    body = asdict(contract)
    return json.dumps(body | {"sha256": _digest(body)}, sort_keys=True)


def from_json(text: str) -> PolicyContract:
    """Reads a contract and checks its schema and hash.

    Raises:
        ContractError: not JSON, another schema, or content that does not match its hash.
    """
    try:
        body = json.loads(text)
        digest = body.pop("sha256")
    except (ValueError, KeyError, AttributeError, TypeError) as error:
        raise ContractError(f"the contract is not readable JSON with a sha256: {error}") from error
    if body.get("schema") != SCHEMA:
        raise ContractError(
            f"contract schema {body.get('schema')} is not {SCHEMA}; export the policy again"
        )
    if _digest(body) != digest:
        raise ContractError(
            "the contract was changed after export (sha256 differs); export it again"
        )
    try:
        return _contract(body)
    except (KeyError, TypeError, AttributeError) as error:
        raise ContractError(
            f"the contract lacks something or holds it in another form ({error}); export the "
            "policy again"
        ) from error


def _contract(body: dict[str, Any]) -> PolicyContract:
    """Returns the contract from JSON; files of before engines, memories and chains have none."""
    return PolicyContract(
        task=body["task"],
        control_hz=body["control_hz"],
        signals=tuple(_read(Signal, s) for s in body["signals"]),
        action=_read(ActionSpec, body["action"]),
        cameras=tuple(_read_camera(c) for c in body["cameras"]),
        ranges=tuple(_read(TrainedRange, r) for r in body["ranges"]),
        engine=body.get("engine", ""),
        memory=body.get("memory", 0),
        chain=_read_chain(body.get("chain", {})),
        schema=body["schema"],
    )


def _read_camera(body: dict[str, Any]) -> CameraSignal:
    """Returns a camera from JSON; files of before optics have none."""
    return _read(CameraSignal, body | {"optics": _read(Optics, body.get("optics", {}))})


def _read_chain(body: dict[str, Any]) -> Chain:
    """Returns a kinematic tree from JSON; files of before have none."""
    return Chain(
        joints=tuple(body.get("joints", ())),
        links=tuple(_read(ChainLink, x) for x in body.get("links", ())),
        points=tuple(_read(ChainPoint, x) for x in body.get("points", ())),
    )


def _read(kind: Any, body: dict[str, Any]) -> Any:
    """Returns dataclass ``kind`` from JSON, lists as tuples."""
    known = {f.name for f in fields(kind)}
    return kind(**{k: _as_tuple(v) for k, v in body.items() if k in known})


def _as_tuple(value: Any) -> Any:
    """Returns lists, and lists in lists, as tuples."""
    return tuple(map(_as_tuple, value)) if isinstance(value, list) else value


def _digest(body: Mapping[str, Any]) -> str:
    """Returns the sha256 of the canonical JSON of ``body``."""
    return hashlib.sha256(json.dumps(body, sort_keys=True).encode()).hexdigest()
