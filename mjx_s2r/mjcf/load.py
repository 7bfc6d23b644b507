"""Reading a robot's file, MJCF or URDF, and saying in one sentence why it cannot be read."""

import os
import re
import warnings
import xml.etree.ElementTree as ElementTree
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import mujoco

from mjx_s2r.mjcf import sniff
from mjx_s2r.mjcf.plausible import refuse_implausible
from mjx_s2r.mjcf.urdf import missing_files, read_urdf
from mjx_s2r.sim.backends.physics_config import ModelError

_OTHERS = {
    "sdf": "a Gazebo SDF file; export it as URDF or MJCF",
    "COLLADA": "a COLLADA mesh, not a robot",
    "svg": "an SVG picture",
    "mujocoinclude": "a part that another MJCF includes; name the file that includes it",
    "html": "a web page in HTML; download the file itself",
    "package": "a ROS package.xml; name the .urdf or .xml of the robot",
    "launch": "a ROS launch file; name the .urdf or .xml of the robot",
}


@dataclass(frozen=True, eq=False)
class LoadedModel:
    """A robot as MuJoCo reads it.

    Attributes:
        path: the file.
        kind: its language.
        spec: the specification, compiled; changes to it do not reach ``model``.
        model: what it compiles to.
        notes: sentences about what had to be resolved, such as where a package was found.
        meshes: the file of each mesh by its name, of a URDF; MJCF names its own.
    """

    path: Path
    kind: Literal["mjcf", "urdf"]
    spec: mujoco.MjSpec
    model: mujoco.MjModel
    notes: tuple[str, ...] = ()
    meshes: tuple[tuple[str, Path], ...] = ()


def load(path: Path) -> LoadedModel:
    """Returns the robot of an MJCF or a URDF file.

    Visual geometry and links on fixed joints of a URDF are kept, whatever MuJoCo's defaults; a
    root that is not called "world" stands fixed in the world, as MuJoCo has it.

    Raises:
        ModelError: no file, no model, files that it names and that are not there or no meshes,
            masses, inertias or sizes that no robot has, or what MuJoCo's compiler refuses; one
            sentence with the element and the remedy.
    """
    path = Path(os.path.abspath(path))  # links stay what they are called
    root = _parse(path)
    notes: list[str] = []
    meshes: dict[str, Path] = {}
    try:
        with warnings.catch_warnings(record=True) as warned:
            warnings.simplefilter("always")
            if root.tag == "robot":
                spec, notes, meshes = read_urdf(path, root)
            else:
                spec = mujoco.MjSpec.from_file(str(path))
            model = spec.compile()
    except ModelError:
        raise
    except (ValueError, RuntimeError) as error:  # what the reader and the compiler raise
        raise ModelError(_reason(path, root, meshes, str(error))) from error
    notes += [f"MuJoCo warns: {' '.join(str(w.message).split())}" for w in warned]
    refuse_implausible(path.name, model)
    kind: Literal["mjcf", "urdf"] = "urdf" if root.tag == "robot" else "mjcf"
    return LoadedModel(path, kind, spec, model, tuple(notes), tuple(meshes.items()))


def _parse(path: Path) -> ElementTree.Element:
    """Returns the root of a model's XML, and checks the files that it includes.

    Raises:
        ModelError: says what the file is instead.
    """
    if path.is_dir():
        inside = sorted(p.name for p in path.iterdir() if p.suffix in (".xml", ".urdf", ".mjcf"))
        found = f"in it are {', '.join(inside[:8])}" if inside else "no model lies in it"
        raise ModelError(f"{path} is a folder, and {found}; name the .xml or .urdf of the robot")
    if not path.exists():
        raise ModelError(f"there is no file {path}{_like(path)}; name the .xml or .urdf of a robot")
    if not path.is_file():
        raise ModelError(f"{path} is no plain file; name the .xml or .urdf of a robot")
    root = _xml(path)
    if root.tag not in ("mujoco", "robot"):
        what = _OTHERS.get(_local(root.tag), f"XML of <{_local(root.tag)}>")
        raise ModelError(f"{path} is {what}; a model is MJCF (<mujoco>) or URDF (<robot>)")
    if root.tag == "mujoco":
        if path.suffix.lower() != ".xml":
            raise ModelError(
                f"{path} is MJCF, and MuJoCo reads it by the suffix .xml alone; rename it to "
                f"{path.stem}.xml"
            )
        _check_includes(path, root)
    return root


def _like(path: Path) -> str:
    """Returns words about the models that lie where a missing file was looked for."""
    if not path.parent.is_dir():
        return f" (nor a folder {path.parent})"
    inside = sorted(p.name for p in path.parent.iterdir() if p.suffix in (".xml", ".urdf"))
    return f"; {path.parent} has {', '.join(inside[:8])}" if inside else ""


def _local(tag: str) -> str:
    """Returns the name of an XML element without its namespace."""
    return tag.rpartition("}")[2]


def _xml(path: Path) -> ElementTree.Element:
    """Returns the root element of a file.

    Raises:
        ModelError: the file cannot be read, or is no XML.
    """
    try:
        found = sniff.what_it_is(path)
    except OSError as error:
        raise ModelError(f"{path} cannot be read ({error.strerror}); check who owns it") from error
    if path.suffix.lower() == ".mjb":
        found = "a compiled model (MJB), from which the elements cannot be read back"
    if found:
        raise ModelError(f"{path} is no model: it is {found}; a model is an .xml or .urdf file")
    text = path.read_bytes()
    try:
        return ElementTree.fromstring(text)
    except (ElementTree.ParseError, UnicodeError, ValueError) as error:
        try:  # MuJoCo's parser is less strict about what stands in comments
            return ElementTree.fromstring(re.sub(rb"<!--.*?-->", b"", text, flags=re.DOTALL))
        except (ElementTree.ParseError, UnicodeError, ValueError):
            raise ModelError(f"{path} is no whole XML: {error}; mend it there") from error


def _check_includes(path: Path, root: ElementTree.Element) -> None:
    """Checks the files that an MJCF includes, and those that they include.

    Raises:
        ModelError: lists all that are not there, or says what one is instead of XML.
    """
    missing, seen, wanted = [], {path.resolve()}, [root]
    while wanted:
        for element in wanted.pop().iter("include"):
            file = path.parent / element.get("file", "")
            if not file.is_file():
                missing.append(element.get("file", ""))
            elif file.resolve() not in seen:
                seen.add(file.resolve())
                wanted.append(_included(path, file))
    if missing:
        raise ModelError(f"<include>: {missing_files(path, missing, [path.parent])}")


def _included(path: Path, file: Path) -> ElementTree.Element:
    """Returns the root element of a file that the model at ``path`` includes.

    Raises:
        ModelError: it is no XML; names both files.
    """
    try:
        return _xml(file)
    except ModelError as error:
        raise ModelError(f"{path.name} includes a file that cannot be read: {error}") from error


def _reason(path: Path, root: ElementTree.Element, meshes: dict[str, Path], error: str) -> str:
    """Returns the sentence for a model that MuJoCo refused with ``error``."""
    wrong, missing, searched = [], [], []
    for word, places in (*_assets(path, root), *((str(f), [f]) for f in meshes.values())):
        file = next((place for place in places if place.is_file()), None)
        if file is None:
            missing.append(word)
            searched += [place.parent for place in places]
        elif why := sniff.why_no_asset(file):
            wrong.append((word, why))
    if missing:
        return missing_files(path, missing, searched)
    if wrong:
        return _unreadable(path, wrong)
    return f"{path.name}: {in_one_sentence(error)}{_mass_of(root, error)}"


def _mass_of(root: ElementTree.Element, error: str) -> str:
    """Returns the mass that a link or body has in the file, where the compiler refuses it."""
    name = re.search(r"Element name '([^']+)'", error)
    if "mass and inertia" not in error or name is None:
        return ""
    for element in (*root.iter("body"), *root.iter("link")):
        if element.get("name") == name[1]:
            given = element.find("inertial")
            if given is None:
                return " (it has no <inertial>, and no geom gives it a mass)"
            parts = [*given.attrib.items()]
            parts += [item for part in given for item in part.attrib.items()]
            said = ", ".join(f"{name} {value}" for name, value in parts if name not in _PLACES)
            return f" (its <inertial> says {said})"
    return ""


def _unreadable(path: Path, wrong: list[tuple[str, str]]) -> str:
    """Returns the message for files of a model that are there and cannot be read."""
    reasons: dict[str, list[str]] = {}
    for word, why in wrong:
        reasons.setdefault(why, []).append(word)
    said = "; ".join(
        f"{', '.join(dict.fromkeys(words))} {'is' if len(words) == 1 else 'are each'} {why}"
        for why, words in reasons.items()
    )
    return f"{path.name}: {said}{sniff.remedy(reasons)}"


def _assets(path: Path, root: ElementTree.Element) -> Iterator[tuple[str, list[Path]]]:
    """Yields the words that name asset files in an MJCF, with where MuJoCo looks for them."""
    if root.tag != "mujoco":
        return
    try:
        spec = mujoco.MjSpec.from_file(str(path))
    except (ValueError, RuntimeError):  # the reader's own error says it
        return
    for kind in ("meshes", "hfields", "textures", "skins"):
        for asset in getattr(spec, kind):
            folder = _folder(spec, asset, kind)
            for word in _words(asset):
                name = Path(word).name if spec.strippath else word
                if Path(name).is_relative_to(path.parent):  # what an included file names
                    name = str(Path(name).relative_to(path.parent))
                    yield name, [path.parent / folder / name, path.parent / name]
                else:
                    yield name, [path.parent / folder / name]


def _folder(spec: mujoco.MjSpec, asset: Any, kind: str) -> str:
    """Returns the folder in which the compiler looks for an asset's file."""
    compiler = getattr(asset, "compiler", None) or spec.compiler
    return str((compiler.texturedir if kind == "textures" else compiler.meshdir) or "")


def _words(asset: Any) -> list[str]:
    """Returns the files that an asset names."""
    return [word for word in (asset.file, *getattr(asset, "cubefiles", ())) if word]


_PLACES = ("pos", "quat", "xyz", "rpy")
# The compiler's sentences, and what to do about each.
_REMEDIES = (
    ("mass and inertia of moving bodies", "give it <inertial> with a positive mass and inertia"),
    ("A + B >= C", "correct its inertia: no principal moment exceeds the sum of the other two"),
    ("positive eigenvalues", "correct its inertia: the matrix must be positive definite"),
    ("are negative", "write a positive mass or density"),
    ("no decoder found", sniff.CONVERT),
    ("number of faces", "decimate the mesh to 200,000 faces at most"),
    ("geometry specification", "a URDF has box, cylinder, sphere, capsule and mesh"),
    ("should be smaller", "exchange the two limits"),
    ("not found", "correct the name, or define that element"),
    ("repeated", "give each element a name of its own"),
    ("Schema violation", "check the spelling in MuJoCo's XML reference"),
    ("axis too small", "write an axis of length one"),
)


def in_one_sentence(error: str) -> str:
    """Returns what MuJoCo's reader or compiler says in one line, with element and remedy."""
    lines = [line.strip() for line in error.splitlines() if line.strip()]
    lines = [x for x in lines if not x.startswith("The static bodies of the spec")]
    said = " (".join(lines) + ")" * (len(lines) - 1)
    said = re.sub(r"^(XML Error|Error|ValueError): (Error: )?", "", said)
    remedy = next((text for key, text in _REMEDIES if key in error), "mend that in the file")
    return f"MuJoCo refuses it: {said}; {remedy}"
