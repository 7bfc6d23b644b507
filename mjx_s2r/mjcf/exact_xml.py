"""MJCF of a specification in full precision: MuJoCo's writer keeps six digits."""

import xml.etree.ElementTree as ElementTree
from collections.abc import Sequence

import mujoco
import numpy as np


def exact_xml(spec: mujoco.MjSpec, m: mujoco.MjModel) -> str:
    """Returns the MJCF of ``spec`` with poses, inertias and joints to the last digit.

    Args:
        spec: everything in it named.
        m: what it compiles to.
    """
    root = ElementTree.fromstring(spec.to_xml())
    world = root.find("worldbody")
    for element in [] if world is None else world.iter("body"):
        body = m.body(element.get("name", ""))
        _write(element, "pos", body.pos)
        _write(element, "quat", body.quat)
        inertial = element.find("inertial")
        if inertial is not None:
            for name, value in (
                ("pos", body.ipos),
                ("quat", body.iquat),
                ("mass", body.mass),
                ("diaginertia", body.inertia),
            ):
                inertial.set(name, _text(value))
        for child in element.findall("joint"):
            joint = m.joint(child.get("name", ""))
            for name, value in (("pos", joint.pos), ("axis", joint.axis), ("range", joint.range)):
                _write(child, name, value)
    ElementTree.indent(root)
    return ElementTree.tostring(root, encoding="unicode") + "\n"


def _write(element: ElementTree.Element, name: str, value: Sequence[float] | np.ndarray) -> None:
    """Writes an attribute to the last digit where the element has it."""
    if name in element.attrib:
        element.set(name, _text(value))


def _text(value: Sequence[float] | np.ndarray) -> str:
    return " ".join(repr(float(number)) for number in np.ravel(value))
