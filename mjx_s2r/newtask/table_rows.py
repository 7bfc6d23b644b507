"""The rows of a new task's table, bound to its robot's names, each with the source of its limits.

A row is what Python text will say of it; the text is tried on the model before it is left.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from mjx_s2r.newtask.robot_facts import RobotFacts

LOG = "log_uniform"
WIDTH = 100  # of a line

# Where limits come from; a task file has those that its rows name.
SOURCES = {
    "WEIGHED": "MuJoCo Playground's Go1: x0.9 to 1.1, widened for a file that nobody weighed",
    "CARRIED": "a guess: what it carries beside itself; weigh it",
    "SERVO": "gains, damping and friction of servos as in DeXtreme (Handa et al. 2022)",
    "GAINS": "walk-these-ways (Margolis and Agrawal 2022)",
    "SUPPLY": "supply voltage of the motors",
    "DESK": "a base off the level by 3 degrees",
    "SHOVE": "legged_gym (Rudin et al. 2022): speed changed at once; here by a push of 0.1 s",
    "FINGER": "a cable that pulls, a finger: a guess",
    "GROUND": "MuJoCo Playground's Go1",
    "BUS": "delays of MuJoCo Playground's push cube, noise of its Go1",
    "SLIDE": "half a percent of the least range of a slide, which shares the row with the hinges",
    "ZERO": "encoder zero against the link, reading and command together (Playground's qpos0)",
    "GEAR": "half of the play of a worn hobby servo, 1.5 degrees: a guess",
    "TOBIN": "Tobin et al. 2017: light from above, camera pushed about, 5 % focal length",
    "CONSUMER": "photometric spread of consumer cameras: a guess",
}


@dataclass(frozen=True)
class TableRow:
    """One row as Python text says it, or one for each of several components or joints.

    Attributes:
        maker: scale, add or set_to.
        name: name of the row; "{c}" or "{joint}" in it stands for each of ``each``.
        where: "group.array".
        elements: names of elements, or the name of a constant that holds them.
        limits: low and high.
        source: name of a constant in `SOURCES`.
        more: further arguments.
        each: the words for columns 0, 1, ... ("{c}"), or names of joints ("{joint}"); empty for
            one row.
    """

    maker: str
    name: str
    where: str
    elements: str | tuple[str, ...]
    limits: tuple[float, float]
    source: str
    more: Mapping[str, Any] = field(default_factory=dict)
    each: tuple[str, ...] = ()

    @property
    def over_joints(self) -> bool:
        """Whether there is a row for each joint."""
        return "{joint}" in self.name

    @property
    def count(self) -> int:
        """How many rows of the table it is."""
        return len(self.each) or 1

    @property
    def names(self) -> tuple[str, ...]:
        """The names of the rows."""
        return tuple(self.name.format(c=x, joint=x) for x in self.each) or (self.name,)

    def without(self, name: str) -> "list[TableRow]":
        """Returns single rows for all of these but the one called ``name``."""
        single = []
        for column, (own, word) in enumerate(zip(self.names, self.each, strict=False)):
            if self.over_joints:
                single.append(replace(self, name=own, elements=(word,), each=()))
            else:
                more = {"column": column, **self.more}
                single.append(replace(self, name=own, more=more, each=()))
        return [row for row in single if row.name != name]

    def code(self, indent: int = 8) -> str:
        """Returns the row as formatted Python, with a comma after it."""
        elements = self.elements if isinstance(self.elements, str) else names_code(self.elements)
        elements = "(joint,)" if self.over_joints else elements
        name = f"f{quoted(self.name)}" if self.each else quoted(self.name)
        parts = [name, quoted(self.where), elements]
        parts += [f"({self.limits[0]:g}, {self.limits[1]:g})"]
        parts += ["column=i"] if self.each and not self.over_joints else []
        parts += [
            f"{key}={quoted(value) if isinstance(value, str) else f'{value:g}'}"
            for key, value in self.more.items()
        ]
        parts.append(f"source={self.source}")
        if not self.each:
            return call_code(self.maker, parts, indent) + ","
        pad = " " * indent
        line = call_code(self.maker, parts, indent + 4)
        loop = f"for joint in {self.elements}" if self.over_joints else _columns(self.each)
        return f"{pad}*(\n{line}\n{pad}    {loop}\n{pad}),"


def table_rows(facts: RobotFacts, tip: str) -> list[TableRow]:
    """Returns the rows for a robot.

    Args:
        facts: the robot.
        tip: name of the body at the end of an arm; of a legged robot its trunk.
    """
    found = [*_links(facts, tip), *_joints(facts), *_signals(facts)]
    return found + (list(_looks(facts)) if facts.camera else [])


def constants_of(facts: RobotFacts, tip: str) -> dict[str, tuple[str, ...]]:
    """Returns the names that rows speak of, by the constant that holds them."""
    m, drives = facts.model, facts.drives
    names = {
        "JOINTS": drives.names,
        "HINGES": tuple(m.joint(int(j)).name for j in drives.joints),
        "MOTORS": tuple(m.actuator(int(a)).name for a in drives.actuators),
        "LINKS": tuple(m.body(b).name for b in facts.links),
        "TIP" if facts.kind == "arm" else "TRUNK": (tip,),
    }
    return names


def _links(facts: RobotFacts, tip: str) -> Iterator[TableRow]:
    """Yields rows of masses, of gravity and of what pushes."""
    arm, weight = facts.kind == "arm", 9.81 * facts.mass
    end = "TIP" if arm else "TRUNK"
    yield TableRow("scale", "link_mass", "model.body_mass", "LINKS", (0.8, 1.2), "WEIGHED")
    carried = (0.0, two_digits(0.05 * facts.mass)) if arm else (0.0, two_digits(0.15 * facts.mass))
    yield TableRow("add", "payload", "model.body_mass", end, carried, "CARRIED", {"unit": "kg"})
    reach = 0.02 if arm else 0.05
    metre = {"unit": "m"}
    yield TableRow(
        "add", "com_{c}", "model.body_ipos", end, (-reach, reach), "CARRIED", metre, tuple("xyz")
    )
    if arm:
        yield TableRow("scale", "gravity", "model.gravity", (), (0.97, 1.03), "DESK", {"column": 2})
        rad, axes = {"unit": "rad"}, tuple("xy")
        yield TableRow(
            "add", "tilt_{c}", "model.gravity_tilt", (), (-0.05, 0.05), "DESK", rad, axes
        )
        push = two_digits(0.1 * weight)
        yield TableRow("set_to", "push", "world.push", end, (0.0, push), "FINGER", {"unit": "N"})
    else:
        push = two_digits(5.0 * facts.mass)  # 0.5 m/s in 0.1 s
        yield TableRow("set_to", "push", "world.push", end, (0.0, push), "SHOVE", {"unit": "N"})
        yield TableRow(
            "scale",
            "floor_friction",
            "model.geom_friction",
            (facts.floor or "floor",),
            (0.67, 1.67),
            "GROUND",
            {"column": 0},
        )


def _joints(facts: RobotFacts) -> Iterator[TableRow]:
    """Yields rows of joints and servos; those that scale have something to scale."""
    m, drives = facts.model, facts.drives
    log = {"law": LOG}
    for name, array, limits in (
        ("damping", "dof_damping", (0.5, 1.8)),
        ("friction", "dof_frictionloss", (0.3, 3.0)),
        ("armature", "dof_armature", (0.7, 1.4)),
    ):
        has = np.ravel(getattr(m, array))[drives.dof] > 0
        if has.any():
            some = tuple(m.joint(int(j)).name for j in drives.joints[has])
            which = "HINGES" if has.all() else some
            yield TableRow("scale", name, f"model.{array}", which, limits, "SERVO", log)
    gains = (0.6, 1.5) if facts.kind == "arm" else (0.8, 1.3)
    source = "SERVO" if facts.kind == "arm" else "GAINS"
    if facts.servo:
        yield TableRow("scale", "kp", "model.actuator_kp", "MOTORS", gains, source, log)
        if m.actuator_biasprm[drives.actuators, 2].any():
            yield TableRow("scale", "kd", "model.actuator_kd", "MOTORS", (0.5, 1.5), source, log)
    yield TableRow("scale", "strength", "model.actuator_strength", "MOTORS", (0.8, 1.1), "SUPPLY")
    if facts.servo and drives.hinge.all():
        names = tuple(m.joint(int(j)).name for j in drives.joints)
        rad = {"unit": "rad"}
        yield TableRow(
            "add", "zero_{joint}", "model.qpos0", "HINGES", (-0.05, 0.05), "ZERO", rad, names
        )


def _signals(facts: RobotFacts) -> Iterator[TableRow]:
    """Yields rows of delays and noise."""
    arm = facts.kind == "arm"
    second, pos, vel = {"unit": "s"}, ("joint_pos",), ("joint_vel",)
    delay = (0.0, 0.06 if arm else 0.03)
    yield TableRow("set_to", "action_delay", "actuator.delay_s", (), delay, "BUS", second)
    if arm:
        yield TableRow("set_to", "action_hold", "actuator.hold", (), (0.0, 0.15), "BUS")
    if facts.servo and facts.drives.hinge.all():
        play = (0.0, 0.015)
        rad = {"unit": "rad"}
        yield TableRow("set_to", "backlash", "actuator.backlash", ("*",), play, "GEAR", rad)
    angle, speed = {"unit": "rad"}, {"unit": "rad/s"}
    noise, bias, rate, source = 0.01, 0.03, 0.2, "BUS"
    hinge, ends = facts.drives.hinge, facts.model.jnt_range[facts.drives.joints]
    if not hinge.all():
        # A row of noise is one for all joints: no more than the slide of least range can bear.
        angle, speed, source = {}, {}, "SLIDE"
        least = float(np.ptp(ends[~hinge], axis=1).min())
        if least > 0:
            limits = zip((noise, bias, rate), (0.005, 0.01, 0.05), strict=True)
            noise, bias, rate = (min(x, two_digits(share * least)) for x, share in limits)
    delay = (0.0, 0.04 if arm else 0.02)
    yield TableRow("set_to", "sensor_delay", "sensor.delay_s", (), delay, "BUS", second)
    yield TableRow("set_to", "angle_noise", "sensor.noise", pos, (0.0, noise), source, angle)
    yield TableRow("set_to", "angle_bias", "sensor.bias", pos, (0.0, bias), source, angle)
    yield TableRow("set_to", "speed_noise", "sensor.noise", vel, (0.0, rate), source, speed)
    if not arm:
        gyro = ("gyro",)
        yield TableRow(
            "set_to", "gyro_noise", "sensor.noise", gyro, (0.0, 0.12), "GROUND", {"unit": "rad/s"}
        )
        yield TableRow(
            "set_to", "gravity_noise", "sensor.noise", ("gravity",), (0.0, 0.03), "GROUND"
        )


def _looks(facts: RobotFacts) -> Iterator[TableRow]:
    """Yields rows of light, camera and photograph."""
    rgb = dict(zip("rgb", range(3), strict=True))
    for colour, column in rgb.items():
        nominal, limits = ((0.8, (0.55, 1.0)), (0.1, (0.0, 0.3)))[column > 0]
        if facts.kind == "arm":
            more: dict[str, Any] = {"nominal": nominal, "column": column}
            yield TableRow(
                "set_to", f"target_{colour}", "visual.geom_rgb", ("target",), limits, "TOBIN", more
            )
    lights = [facts.model.light(i) for i in range(facts.model.nlight)]
    if any(light.name for light in lights):
        strength = (0.4, 1.6)
        yield TableRow(
            "scale", "light_strength", "visual.light_strength", ("*",), strength, "TOBIN"
        )
        yield TableRow(
            "add", "light_{c}", "visual.light_dir", ("*",), (-0.5, 0.5), "TOBIN", {}, tuple("xy")
        )
    yield TableRow("scale", "ambient", "visual.ambient", (), (0.5, 1.8), "TOBIN")
    yield TableRow("scale", "headlight", "visual.headlight", (), (0.2, 1.8), "TOBIN")
    for array, reach, unit, words in (
        ("camera_pos", 0.02, "m", tuple("xyz")),
        ("camera_rot", 0.04, "rad", ("pitch", "yaw", "roll")),
    ):
        ends = (-reach, reach)
        yield TableRow(
            "add", "camera_{c}", f"visual.{array}", (), ends, "TOBIN", {"unit": unit}, words
        )
    fovy = {"unit": "deg"}
    yield TableRow("add", "camera_fovy", "visual.camera_fovy", (), (-2.5, 2.5), "TOBIN", fovy)
    for name, limits in (("brightness", (0.7, 1.3)), ("contrast", (0.8, 1.2))):
        yield TableRow("scale", name, f"visual.{name}", (), limits, "CONSUMER")
    yield TableRow("scale", "saturation", "visual.saturation", (), (0.7, 1.3), "CONSUMER")
    yield TableRow("set_to", "pixel_noise", "visual.noise_std", (), (0.0, 0.03), "CONSUMER")


def _columns(words: tuple[str, ...]) -> str:
    """Returns the loop over columns with a word each."""
    letters = all(len(word) == 1 for word in words)
    return f"for i, c in enumerate({quoted(''.join(words)) if letters else names_code(words)})"


def two_digits(value: float) -> float:
    """Returns a number to two digits."""
    return float(f"{value:.2g}")


def quoted(text: str) -> str:
    """Returns a text in double quotes, as the formatter writes it."""
    escaped = text.replace("\\", "\\\\").replace('"', '\\"')
    return f"'{text}'" if '"' in text and "'" not in text else f'"{escaped}"'


def names_code(names: tuple[str, ...], indent: int = 0, before: int = 0) -> str:
    """Returns a tuple of names as formatted Python.

    Args:
        names: the names.
        indent: of the line, for a tuple that breaks.
        before: characters in front of it on that line.
    """
    words = [quoted(name) for name in names]
    line = f"({words[0]},)" if len(words) == 1 else f"({', '.join(words)})"
    if before + len(line) <= WIDTH:
        return line
    pad = " " * (indent + 4)
    return "(\n" + "".join(f"{pad}{word},\n" for word in words) + " " * indent + ")"


def call_code(function: str, parts: list[str], indent: int) -> str:
    """Returns a call as formatted Python, broken where it and a comma are too long for a line."""
    pad, inner = " " * indent, " " * (indent + 4)
    line = f"{pad}{function}({', '.join(parts)})"
    if len(line) < WIDTH:
        return line
    together = f"{inner}{', '.join(parts)}"
    if len(together) <= WIDTH:
        return f"{pad}{function}(\n{together}\n{pad})"
    return f"{pad}{function}(\n" + "".join(f"{inner}{part},\n" for part in parts) + f"{pad})"
