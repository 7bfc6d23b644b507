"""A reality: what a robot stand-in is made of, as a file that a user can write (docs/reality.md).

Numbers by row of the task's table, flaws, physics, things in the scene and looks. Every number may
be fixed or drawn per robot:

    1.05                          fixed
    { uniform = [0.8, 1.2] }      anywhere between the two
    { normal = [1.0, 0.05] }      mean and standard deviation
    { lognormal = [1.0, 0.2] }    median, and standard deviation of the logarithm

Each number is drawn from the file's seed, the robot's number and its own place in the file, so one
more row leaves the others as they are. This file knows neither the task nor its model; see
`mjx_s2r.eval.reality_model`.
"""

import json
import math
import tomllib
import zlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, fields, is_dataclass, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np

from mjx_s2r.io.config import ConfigError, from_dict
from mjx_s2r.params import ParamError, ParamSpace, unknown
from mjx_s2r.robot.drivers.imperfections import PROBABILITIES, SIGNED, Imperfections

MOST_PX = 4096  # side of a speckled texture
WHOLE = ("encoder_counts", "camera_latency_frames")  # flaws that are counted


@dataclass(frozen=True)
class Spread:
    """A number that is drawn for each robot: exactly one of the three laws."""

    uniform: tuple[float, float] | None = None
    """Lowest and highest value."""
    normal: tuple[float, float] | None = None
    """Mean and standard deviation."""
    lognormal: tuple[float, float] | None = None
    """Median, and standard deviation of the logarithm."""

    def __post_init__(self) -> None:
        """Checks that there is one law, with numbers that it can have.

        Raises:
            ConfigError: none or several laws, ends turned round, a negative deviation.
        """
        given = [f.name for f in fields(self) if getattr(self, f.name) is not None]
        if len(given) != 1:
            raise ConfigError(
                f"a number to be drawn has {len(given)} laws {given}; give one of uniform, normal "
                "and lognormal"
            )
        first, second = getattr(self, given[0])
        if self.uniform is not None and first > second:
            raise ConfigError(f"uniform {[first, second]}: low is above high; swap them")
        if self.uniform is None and second < 0:
            raise ConfigError(f"{given[0]} {[first, second]}: a deviation must not be negative")
        if self.lognormal is not None and first <= 0:
            raise ConfigError(f"lognormal {[first, second]}: the median must be above zero")

    @property
    def known(self) -> tuple[float, ...]:
        """Values that are drawn for certain or nearly: both ends, or the middle."""
        return self.uniform or (self.normal or self.lognormal or (0.0,))[:1]

    def draw(self, rng: np.random.Generator) -> float:
        """Returns one value."""
        if self.uniform is not None:
            return float(rng.uniform(*self.uniform))
        if self.normal is not None:
            return float(rng.normal(*self.normal))
        assert self.lognormal is not None
        return float(self.lognormal[0] * math.exp(self.lognormal[1] * rng.standard_normal()))


Number = float | Spread
Vector = tuple[Number, Number, Number]
Turn = Number | tuple[Number, ...]
"""A small rotation: degrees about all three axes of its own each drawn alike, three numbers of
degrees (a rotation vector), or a quaternion w, x, y, z; in the element's own axes."""


@dataclass(frozen=True)
class StandInPhysics:
    """Options of C MuJoCo; what is absent stays as the model has it."""

    timestep: float | None = None
    """s; a whole number of steps must make a control step."""
    iterations: int | None = None
    """Iterations of the constraint solver, at most."""
    ls_iterations: int | None = None
    """Iterations of its line search, at most."""
    noslip_iterations: int | None = None
    """Iterations against slip."""
    impratio: float | None = None
    """Friction over normal impedance."""
    integrator: Literal["Euler", "RK4", "implicit", "implicitfast"] | None = None
    solver: Literal["PGS", "CG", "Newton"] | None = None
    cone: Literal["pyramidal", "elliptic"] | None = None

    def __post_init__(self) -> None:
        """Checks the numbers.

        Raises:
            ConfigError: a step that is no time, or a count below its least.
        """
        for name, least in (("iterations", 1), ("ls_iterations", 1), ("noslip_iterations", 0)):
            value = getattr(self, name)
            if value is not None and value < least:
                raise ConfigError(f"{name} = {value} must be at least {least}")
        for name in ("timestep", "impratio"):
            value = getattr(self, name)
            if value is not None and value <= 0:
                raise ConfigError(f"{name} = {value} must be above zero")


@dataclass(frozen=True)
class ExtraGeom:
    """A thing that stands in the world, or lies in it."""

    name: str
    size: tuple[Number, ...]
    """m, as MJCF has it for the type."""
    type: Literal["sphere", "capsule", "ellipsoid", "cylinder", "box", "plane"] = "box"
    pos: Vector = (0.0, 0.0, 0.0)
    """m, in the world."""
    rgb: Vector = (0.5, 0.5, 0.5)
    turn: Turn = 0.0
    touches: bool = False
    """Whether it collides."""
    mass: Number | None = None
    """kg; with a mass it is free to move, without one it is fixed."""


@dataclass(frozen=True)
class ExtraLight:
    """A light in the world."""

    name: str
    pos: Vector = (0.0, 0.0, 2.0)
    """m, in the world."""
    dir: Vector = (0.0, 0.0, -1.0)
    """The way the light travels."""
    diffuse: Number | Vector = 0.3
    """Brightness, of all channels or of each."""
    directional: bool = True
    shadows: bool = True


@dataclass(frozen=True)
class RealityScene:
    """What the stand-in's scene has that the task's model has not."""

    mjcf: str = ""
    """MJCF of things in the world (the text of a worldbody, or a whole <mujoco>), or the path of a
    file that holds it."""
    geoms: tuple[ExtraGeom, ...] = ()
    lights: tuple[ExtraLight, ...] = ()
    tilt: dict[str, Turn] = field(default_factory=dict)
    """Body -> how it is turned from where the model has it."""
    free: tuple[str, ...] = ()
    """Mocap bodies that become free bodies: they fall, and can be pushed."""
    mass: dict[str, Number] = field(default_factory=dict)
    """Geom -> kg."""
    collide: dict[str, tuple[int, int]] = field(default_factory=dict)
    """Geom -> its contype and conaffinity."""

    def __post_init__(self) -> None:
        """Checks that what is added has names of its own.

        Raises:
            ConfigError: no name, or one that is there twice.
        """
        for kind, items in (("geoms", self.geoms), ("lights", self.lights)):
            names: list[str] = [item.name for item in items]
            for name in names:
                if not name or names.count(name) > 1:
                    wrong = "there twice; rename one of the two" if name else "no name; give one"
                    raise ConfigError(f"{kind}: name {name!r} is {wrong}")


@dataclass(frozen=True)
class Speckle:
    """A texture of a ground colour with random marks on it."""

    rgb: Vector
    marks: Vector
    share: float = 0.05
    """Share of the pixels that are marks."""
    repeat: float = 3.0
    size_px: int = 256


@dataclass(frozen=True)
class ImageTexture:
    """A picture from a file on a geom."""

    file: str
    """PNG, beside the reality file."""
    repeat: float = 1.0


@dataclass(frozen=True)
class LightLook:
    """Another direction or colour of a light of the model."""

    dir: Vector | None = None
    diffuse: Number | Vector | None = None


@dataclass(frozen=True)
class CameraError:
    """How a camera is mounted otherwise than in the model."""

    pos: Vector = (0.0, 0.0, 0.0)
    """m, added in its parent's axes."""
    turn: Turn = 0.0
    fovy: Number = 0.0
    """deg, added."""


@dataclass(frozen=True)
class Headlight:
    """The light from everywhere, and that at the camera."""

    ambient: Number | Vector | None = None
    diffuse: Number | Vector | None = None


@dataclass(frozen=True)
class RealityLooks:
    """What looks otherwise than in the model, by name."""

    colours: dict[str, Vector] = field(default_factory=dict)
    """Geom -> red, green and blue in [0, 1]."""
    speckles: dict[str, Speckle] = field(default_factory=dict)
    """Geom -> a speckled surface."""
    textures: dict[str, ImageTexture] = field(default_factory=dict)
    """Geom -> a picture on it."""
    lights: dict[str, LightLook] = field(default_factory=dict)
    cameras: dict[str, CameraError] = field(default_factory=dict)
    headlight: Headlight = field(default_factory=Headlight)


@dataclass(frozen=True)
class Reality:
    """What the stand-ins of a task are made of; see docs/reality.md."""

    name: str = ""
    """What the robots are called in the report; by default the name of the file."""
    model: str = ""
    """MJCF of the stand-in, beside the reality file; empty for the task's own model."""
    count: int = 10
    """How many robots."""
    first: int = 0
    """Number of the first robot; other numbers are other robots."""
    seed: int = 0
    """Of all that is drawn."""
    rows: dict[str, Number] = field(default_factory=dict)
    """Row of the task's table -> its value; others are nominal."""
    effects: dict[str, Number | tuple[Number, ...]] = field(default_factory=dict)
    """Field of `Imperfections` -> its value; others are those of a perfect robot."""
    physics: StandInPhysics = field(default_factory=StandInPhysics)
    scene: RealityScene = field(default_factory=RealityScene)
    looks: RealityLooks = field(default_factory=RealityLooks)
    folder: Path = Path()
    """Where paths in it begin; set by `load_reality`."""

    def __post_init__(self) -> None:
        """Checks counts and the names of the effects.

        Raises:
            ConfigError: no robots, a negative seed, an unknown effect or a value that it cannot
                have.
        """
        for name, least in (("count", 1), ("first", 0), ("seed", 0)):
            if getattr(self, name) < least:
                raise ConfigError(f"{name} = {getattr(self, name)} must be at least {least}")
        for name, value in self.effects.items():
            _check_effect(name, value)


def load_reality(path: Path) -> Reality:
    """Reads a reality file, TOML or JSON by its ending.

    Raises:
        ConfigError: no such file, one that is empty or of another format, an unknown key, a value
            of another type or out of its range; the message names file and key.
    """
    body = _read_body(path)
    if not body:
        raise ConfigError(f"{path} is empty; write rows, effects, ... into it, see docs/reality.md")
    if "folder" in body:
        raise ConfigError(f"{path}: {unknown('key', 'folder', _KEYS)}")
    try:
        found = from_dict(Reality, body)
        _check_colours(found)
    except ConfigError as error:
        raise ConfigError(f"{path}: {error}") from error
    return replace(found, name=found.name or path.stem, folder=path.parent)


def _read_body(path: Path) -> dict[str, Any]:
    """Returns the content of a file as plain dicts, lists and scalars."""
    if not path.is_file():
        what = "is a folder" if path.is_dir() else "does not exist"
        raise ConfigError(f"reality file {path} {what}; name a TOML or JSON file")
    if path.suffix.lower() not in (".toml", ".json"):
        raise ConfigError(
            f"reality file {path} ends with {path.suffix!r}; write TOML (.toml) or JSON (.json)"
        )
    try:
        text = path.read_text(encoding="utf-8")
        if path.suffix.lower() == ".toml":
            return tomllib.loads(text)
        body = json.loads(text, object_pairs_hook=_once) if text.strip() else {}
    except OSError as error:
        raise ConfigError(f"reality file {path} cannot be read: {error.strerror}") from error
    except ValueError as error:
        raise ConfigError(
            f"reality file {path} is no {path.suffix[1:].upper()}: {error}; mend that first"
        ) from error
    if not isinstance(body, dict):
        raise ConfigError(f"reality file {path} holds no JSON object; begin it with {{")
    return body


def _check_colours(reality: Reality) -> None:
    """Raises ConfigError for a colour or brightness that cannot be; drawn ones are cut off."""
    looks, scene = reality.looks, reality.scene
    colours: dict[str, Any] = {f"looks.colours.{n}": x for n, x in looks.colours.items()}
    colours |= {f"looks.speckles.{n}": (*x.rgb, *x.marks) for n, x in looks.speckles.items()}
    colours |= {f"looks.speckles.{n}.share": (x.share,) for n, x in looks.speckles.items()}
    colours |= {f"scene.geoms {x.name}.rgb": x.rgb for x in scene.geoms}
    for where, values in colours.items():
        for value in values:
            if not isinstance(value, Spread) and not 0 <= value <= 1:
                raise ConfigError(f"{where}: {value} must be between 0 and 1")
    bright: dict[str, Any] = {f"looks.lights.{n}": x.diffuse for n, x in looks.lights.items()}
    bright |= {f"scene.lights {x.name}": x.diffuse for x in scene.lights}
    bright |= {"looks.headlight": looks.headlight.diffuse}
    for where, value in bright.items():
        for item in value if isinstance(value, tuple) else (value,):
            if isinstance(item, float | int) and item < 0:
                raise ConfigError(f"{where}: brightness {item} must be at least 0")
    sizes = [(f"looks.speckles.{n}", x.repeat, x.size_px) for n, x in looks.speckles.items()]
    sizes += [(f"looks.textures.{n}", x.repeat, 1) for n, x in looks.textures.items()]
    for where, repeat, pixels in sizes:
        if not repeat > 0 or not 1 <= pixels <= MOST_PX:
            raise ConfigError(
                f"{where}: repeat {repeat} must be above zero and size_px {pixels} between 1 and "
                f"{MOST_PX}"
            )


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """Returns a JSON object, each of whose keys must be there once."""
    names = [name for name, _ in pairs]
    for name in names:
        if names.count(name) > 1:
            raise ValueError(f"key {name!r} is there twice")
    return dict(pairs)


def draw_robot(reality: Reality, index: int) -> Reality:
    """Returns the reality of robot number ``index``: every number drawn, nothing checked."""

    def draw(where: str, spread: Spread) -> float:
        """Draws the number at a place in the file."""
        place = zlib.crc32(where.encode())
        return spread.draw(np.random.default_rng((reality.seed, index, place)))

    effects = {}
    for name, value in reality.effects.items():
        drawn = _settled(_each_channel(name, value), f".effects.{name}", draw)
        effects[name] = _kept(name, drawn)
    settled = _settled(replace(reality, effects=effects), "", draw)
    assert isinstance(settled, Reality)
    return settled


def _settled(value: Any, where: str, draw: Callable[[str, Spread], float]) -> Any:
    """Returns ``value`` with every `Spread` in it drawn."""
    if isinstance(value, Spread):
        return draw(where, value)
    if is_dataclass(value) and not isinstance(value, type):
        parts = {f.name: getattr(value, f.name) for f in fields(value)}
        if "turn" in parts:
            parts["turn"] = _each_axis(parts["turn"])
        if "tilt" in parts:
            parts["tilt"] = {name: _each_axis(turn) for name, turn in parts["tilt"].items()}
        return replace(value, **{n: _settled(x, f"{where}.{n}", draw) for n, x in parts.items()})
    if isinstance(value, Mapping):
        return {name: _settled(x, f"{where}.{name}", draw) for name, x in value.items()}
    if isinstance(value, tuple):
        return tuple(
            _settled(x, f"{where}.{getattr(x, 'name', i)}", draw) for i, x in enumerate(value)
        )
    return value


def _each_axis(turn: Any) -> Any:
    """Returns a `Turn` with a number of its own for every axis."""
    return turn if isinstance(turn, tuple) else (turn,) * 3


def _each_channel(name: str, value: Any) -> Any:
    """Returns an effect's value; one spread for a colour is one for each of its channels."""
    several = isinstance(getattr(Imperfections, name), tuple)
    return (value,) * 3 if several and not isinstance(value, tuple) else value


def _kept(name: str, value: Any) -> Any:
    """Returns the drawn value of an effect, within what it can be; counts are whole."""
    low = -math.inf if name in SIGNED else 0.0
    high = 1.0 if name in PROBABILITIES else math.inf
    if isinstance(value, tuple):
        return tuple(float(np.clip(x, low, high)) for x in value)
    return round(max(value, low)) if name in WHOLE else float(np.clip(value, low, high))


def _check_effect(name: str, value: Any) -> None:
    """Raises ConfigError for an effect that is not there, or a value that it cannot have."""
    known = [f.name for f in fields(Imperfections) if f.name != "seed"]
    if name not in known:
        raise ConfigError(str(unknown("effect", name, known)))
    several = isinstance(getattr(Imperfections, name), tuple)
    if isinstance(value, tuple) and not (several and len(value) == 3):
        size = "one number, or three" if several else "one number"
        raise ConfigError(f"effects.{name} has {len(value)} values; give {size}")
    for item in value if isinstance(value, tuple) else (value,):
        for number in item.known if isinstance(item, Spread) else (item,):
            whole = name in WHOLE and not isinstance(item, Spread)
            if whole and number != round(number):
                raise ConfigError(f"effects.{name} = {number} is a count; give a whole number")
            is_share = name in PROBABILITIES
            if (name not in SIGNED and number < 0) or (is_share and number > 1):
                ends = "between 0 and 1" if is_share else "at least 0"
                raise ConfigError(f"effects.{name} = {number} must be {ends}")


def check_rows(reality: Reality, space: ParamSpace) -> None:
    """Checks the rows of a reality against a task's table.

    Raises:
        ParamError: a row that the table does not have; the message lists near ones.
        ConfigError: a value, an end of a range or a middle outside the row's limits.
    """
    for name, value in reality.rows.items():
        if name not in space.names:
            error = unknown("parameter", name, space.names)
            raise ParamError(f"rows of reality {reality.name!r}: {error}")
        row = space.rows[space.index(name)]
        for number in value.known if isinstance(value, Spread) else (value,):
            if not row.limits[0] <= number <= row.limits[1]:
                raise ConfigError(
                    f"rows.{name} = {number} is outside the row's limits {row.limits} ({row.unit})"
                    "; write a value inside, or widen the limits in the task's table"
                )


def row_values(reality: Reality, space: ParamSpace) -> dict[str, float]:
    """Returns row -> value of a settled reality, cut off at the rows' limits."""
    out = {}
    for name, value in reality.rows.items():
        row = space.rows[space.index(name)]
        out[name] = float(np.clip(value, *row.limits))  # type: ignore[arg-type]
        if row.law == "categorical":
            out[name] = float(round(out[name]))
    return out


def imperfections_of(reality: Reality, index: int) -> Imperfections:
    """Returns the flaws of a settled reality's robot number ``index``."""
    effects: dict[str, Any] = dict(reality.effects)
    return Imperfections(seed=robot_seed(reality, index), **effects)


def robot_seed(reality: Reality, index: int) -> int:
    """Returns the seed of a reality's robot number ``index``, of its noise and its starts."""
    return 1000 * reality.seed + index


def effects_of(flaws: Imperfections) -> dict[str, Any]:
    """Returns the effects that make these flaws; the reverse of `imperfections_of`."""
    perfect = Imperfections()
    given = {f.name: getattr(flaws, f.name) for f in fields(flaws) if f.name != "seed"}
    return {name: value for name, value in given.items() if value != getattr(perfect, name)}


def described(reality: Reality, space: ParamSpace) -> Iterator[str]:
    """Yields, line by line, what is fixed and what is drawn."""
    rows, effects = reality.rows, reality.effects
    yield f"model: {reality.model or 'that of the task'}; {reality.count} robots"
    options = {f.name: getattr(reality.physics, f.name) for f in fields(reality.physics)}
    for name, value in options.items():
        if value is not None:
            yield f"physics.{name}: {value}"
    scene = reality.scene
    added = [x.name for x in scene.geoms] + [x.name for x in scene.lights]
    added += ["mjcf"] * bool(scene.mjcf)
    if added:
        yield f"scene: {', '.join(added)}"
    for label, given in (("rows", rows), ("effects", effects)):
        for name, value in given.items():
            unit = space.rows[space.index(name)].unit if label == "rows" else ""
            yield f"{label}.{name}: {_shown(value)}{f' {unit}' if unit not in ('', '1') else ''}"


def _shown(value: Any) -> str:
    """Returns a number, or how it is drawn."""
    if isinstance(value, Spread):
        law = next(f.name for f in fields(value) if getattr(value, f.name) is not None)
        return f"{law} {_shown(getattr(value, law))}"
    if isinstance(value, Sequence):
        return ", ".join(_shown(x) for x in value)
    return f"{value:.4g}"


_KEYS = [f.name for f in fields(Reality) if f.name != "folder"]
