"""Names for the elements of a specification that have none, always the same ones."""

import itertools
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import mujoco


def name_everything(spec: mujoco.MjSpec) -> list[tuple[str, str]]:
    """Gives a name to every element that has none; returns the kind and name of each.

    A mesh is called after its file, a body after the body above it, a joint after its body, a geom
    after its body and mesh, an actuator after what it drives, a sensor after what it measures. A
    name that is taken gets a number.
    """
    given: list[tuple[str, str]] = []
    for kind, elements, word in _kinds(spec):
        taken = {element.name for element in elements if element.name}
        for element in elements:
            if element.name:
                continue
            element.name = free(word(element), taken)
            taken.add(element.name)
            given.append((kind, element.name))
    return given


def free(name: str, taken: set[str]) -> str:
    """Returns ``name``, or with the first number behind it that is not taken."""
    numbered = itertools.chain([name], (f"{name}_{i}" for i in itertools.count(2)))
    return next(one for one in numbered if one not in taken)


def _kinds(spec: mujoco.MjSpec) -> Iterator[tuple[str, list[Any], Callable[[Any], str]]]:
    """Yields a kind of elements, all of them, and how one is called."""
    yield "mesh", list(spec.meshes), _file_name
    yield "texture", list(spec.textures), _file_name
    yield "hfield", list(spec.hfields), _file_name
    yield "material", list(spec.materials), lambda one: "material"
    bodies = [body for body in spec.bodies if body != spec.worldbody]
    yield "body", bodies, lambda one: f"{_parent(one)}_link".removeprefix("world_")
    yield "joint", list(spec.joints), _joint
    yield "geom", list(spec.geoms), _geom
    yield "site", list(spec.sites), lambda one: f"{_parent(one)}_site"
    yield "camera", list(spec.cameras), lambda one: f"{_parent(one)}_camera"
    yield "light", list(spec.lights), lambda one: f"{_parent(one)}_light"
    yield "tendon", list(spec.tendons), lambda one: "tendon"
    yield "equality", list(spec.equalities), lambda one: f"{one.name1}_equality"
    yield "actuator", list(spec.actuators), lambda one: one.target
    yield "sensor", list(spec.sensors), _sensor
    yield "key", list(spec.keys), lambda one: "home"


def _file_name(asset: Any) -> str:
    return Path(asset.file).stem if asset.file else "asset"


def _parent(element: Any) -> str:
    return str(element.parent.name or "body")


def _joint(joint: Any) -> str:
    free_joint = joint.type == mujoco.mjtJoint.mjJNT_FREE
    return f"{_parent(joint)}_{'free' if free_joint else 'joint'}"


def _geom(geom: Any) -> str:
    shape = geom.meshname or mujoco.mjtGeom(geom.type).name.removeprefix("mjGEOM_").lower()
    seen = "" if geom.contype or geom.conaffinity else "_visual"
    return f"{_parent(geom)}_{shape}{seen}"


def _sensor(sensor: Any) -> str:
    kind = mujoco.mjtSensor(sensor.type).name.removeprefix("mjSENS_").lower()
    return f"{sensor.objname}_{kind}" if sensor.objname else kind
