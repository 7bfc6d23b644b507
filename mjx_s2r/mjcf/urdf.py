"""URDF files made readable for MuJoCo: their tree checked, their meshes found, nothing dropped.

MuJoCo reads URDF itself, with three habits that would hide what a user has: links on fixed joints
are fused, visual geometry is dropped, and meshes are called by the last part of their file, so
that visual/arm.stl and collision/arm.stl become one. Here links and visual geometry are kept, and
each file is a mesh of its own. `package://` is looked for in the folders above the file.
"""

import os
import re
import xml.etree.ElementTree as ElementTree
from collections import Counter
from collections.abc import Iterable, Iterator
from pathlib import Path

import mujoco

from mjx_s2r.sim.backends.physics_config import ModelError

_PACKAGE = re.compile(r"(?:package|model)://([^/]+)/(.*)|\$\(find ([^)]+)\)/(.*)")
_KEEP = {"strippath": "false", "discardvisual": "false", "fusestatic": "false"}
_LIMITED = ("revolute", "prismatic")


def read_urdf(
    path: Path, root: ElementTree.Element
) -> tuple[mujoco.MjSpec, list[str], dict[str, Path]]:
    """Returns a URDF as a specification that is not compiled.

    Args:
        path: the file, for its folders and for messages.
        root: its element <robot>; mesh files in it are replaced by short names.

    Returns:
        The specification, notes about what was resolved, and the file of each mesh by its name.

    Raises:
        ModelError: an unexpanded xacro file, links that are no tree, meshes that are not there.
        ValueError: what MuJoCo's own reader refuses.
    """
    _refuse_xacro(path, root)
    for problem in (*_tree_problems(root), *_limit_problems(root)):
        raise ModelError(f"{path.name}: {problem}")
    files, notes = _find_meshes(path, root)
    tokens = _replace_files(root, files)
    _add_compiler(root)
    spec = mujoco.MjSpec.from_string(ElementTree.tostring(root, encoding="unicode"))
    spec.modelfiledir = str(path.parent)
    named = _name_meshes(spec, tokens)
    _hide_collisions(spec)
    return spec, notes, named


def missing_files(path: Path, words: Iterable[str], searched: Iterable[Path]) -> str:
    """Returns the message for files that a model names and that are nowhere."""
    names = list(dict.fromkeys(words))
    places = list(dict.fromkeys(os.path.normpath(place) for place in searched))
    common = os.path.commonpath(names) if len(names) > 1 and all(map(os.path.isabs, names)) else ""
    names = [os.path.relpath(name, common) if common else name for name in names]
    many = f"{len(names)} files are" if len(names) > 1 else "a file is"
    return (
        f"{path.name}: {many} missing: {', '.join(names)}; searched in {', '.join(places)}; put "
        "them there, or mend the paths in the model"
    )


def _refuse_xacro(path: Path, root: ElementTree.Element) -> None:
    """Raises ModelError for a file that is yet to be expanded."""
    words = (w for element in root.iter() for w in element.attrib.values())
    macro = any("xacro" in str(element.tag) for element in root.iter())
    if macro or any("${" in word or "$(arg" in word for word in words):
        stem = path.name.removesuffix(".xacro").removesuffix(".urdf")
        raise ModelError(
            f"{path.name} is a xacro file, a URDF before its macros are expanded; run: xacro "
            f"{path.name} > {stem}_expanded.urdf (xacro comes with ROS)"
        )


def _tree_problems(root: ElementTree.Element) -> Iterator[str]:
    """Yields why links and joints are not one tree."""
    links = [element.get("name", "") for element in root.findall("link")]
    joints = root.findall("joint")
    if not links:
        yield "a URDF without a link; name the file that holds the robot itself"
    for kind, names in (("link", links), ("joint", [j.get("name", "") for j in joints])):
        for name, count in Counter(names).items():
            if count > 1:
                yield f"{kind} {name!r} is there {count} times; give each a name of its own"
    parent: dict[str, str] = {}
    for joint in joints:
        name, ends = joint.get("name", ""), []
        for role in ("parent", "child"):
            element = joint.find(role)
            link = "" if element is None else element.get("link", "")
            if link not in links:
                yield (
                    f"joint {name!r} has the {role} {link!r}, which is not a link; the links are "
                    f"{', '.join(links[:8])}{' ...' if len(links) > 8 else ''}"
                )
            ends.append(link)
        if ends[1] in parent:
            yield (
                f"link {ends[1]!r} hangs on two joints, from {parent[ends[1]]!r} and {ends[0]!r}; "
                "a URDF is a tree: take one joint out, and close the loop in MJCF by "
                "<equality><connect/></equality>"
            )
        parent[ends[1]] = ends[0]
    roots = [link for link in links if link not in parent]
    if len(roots) > 1:
        yield (
            f"{len(roots)} roots, {', '.join(map(repr, roots[:6]))}: a URDF is one tree; join "
            f"{roots[1]!r} to {roots[0]!r} by a joint (type fixed), or take it out"
        )
    for link in links:
        seen = [link]
        while seen[-1] in parent:
            seen.append(parent[seen[-1]])
            if seen[-1] == link:
                yield (
                    f"the joints make a loop, {' -> '.join(reversed(seen))}; a URDF is a tree: "
                    "take one joint out"
                )
                return
            if len(seen) > len(links):
                break


def _limit_problems(root: ElementTree.Element) -> Iterator[str]:
    """Yields joints whose limits leave no room, which MuJoCo would take for no limits at all."""
    for joint in root.findall("joint"):
        limit = joint.find("limit")
        if joint.get("type") in _LIMITED and limit is not None:
            try:
                low, high = float(limit.get("lower", 0)), float(limit.get("upper", 0))
            except ValueError:
                yield (
                    f"joint {joint.get('name')!r} has limits {limit.get('lower')!r} to "
                    f"{limit.get('upper')!r}, which are no numbers; write them in rad or m"
                )
                continue
            if low > high:
                yield (
                    f"joint {joint.get('name')!r} has the lower limit {low:g} above the upper "
                    f"{high:g}; exchange them"
                )


def _find_meshes(path: Path, root: ElementTree.Element) -> tuple[dict[str, Path], list[str]]:
    """Returns the file of every mesh by the words that name it, and notes.

    Raises:
        ModelError: lists all that are nowhere.
    """
    files: dict[str, Path] = {}
    notes, missing, searched = [], [], []
    for word in dict.fromkeys(e.get("filename", "") for e in root.iter("mesh")):
        if not word.strip():
            raise ModelError(f"{path.name}: a <mesh> has no filename; write one, or take it out")
        places = list(_places(word, path.parent))
        found = next((place for place in places if place.is_file()), None)
        if found is None:
            missing.append(word)
            searched += [place.parent for place in places]
            continue
        files[word] = found
        if "://" in word or "$(find" in word or found != places[0]:
            notes.append(f"{word} is {os.path.relpath(found, path.parent)}")
    if missing:
        raise ModelError(missing_files(path, missing, searched))
    return files, notes


def _places(word: str, folder: Path) -> Iterator[Path]:
    """Yields where the file that ``word`` names may lie, likeliest first.

    Args:
        word: a path, `package://PACKAGE/path`, `model://`, `file://` or `$(find PACKAGE)/path`.
        folder: of the URDF.
    """
    word = word.replace("\\", "/")
    above = [folder, *folder.parents][:8]
    parts = _PACKAGE.fullmatch(word)
    if parts is None:
        plain = Path(word.removeprefix("file://"))
        yield folder / plain  # an absolute path stays itself
    else:
        package, plain = parts[1] or parts[3], Path(parts[2] or parts[4])
        listed = os.environ.get("ROS_PACKAGE_PATH", "").split(os.pathsep)
        for base in (*above, *(Path(entry) for entry in listed if entry)):
            if base.name == package:
                yield base / plain
            yield base / package / plain
    if not plain.is_absolute():
        yield from (base / plain for base in above)
    yield from (base / "meshes" / plain.name for base in above[:3])


def _replace_files(
    root: ElementTree.Element, files: dict[str, Path]
) -> dict[str, tuple[str, Path]]:
    """Writes a name of its own for each mesh, by file and scale, where the file was named.

    Returns:
        The name as MuJoCo reads it -> the name that the mesh is to have, and its file.
    """
    stems = Counter(file.stem for file in set(files.values()))
    tokens: dict[tuple[Path, tuple[str, ...]], str] = {}
    out: dict[str, tuple[str, Path]] = {}
    for element in root.iter("mesh"):
        file = files[element.get("filename", "")]
        scale = tuple(element.get("scale", "1 1 1").split())
        if (file, scale) not in tokens:
            name = file.stem if stems[file.stem] == 1 else f"{file.parent.name}_{file.stem}"
            taken = {known for known, _ in out.values()}
            while name in taken:
                name += "_"
            tokens[file, scale] = f"mesh{len(tokens)}"
            out[tokens[file, scale]] = name, file
        element.set("filename", f"{tokens[file, scale]}{file.suffix}")
    return out


def _add_compiler(root: ElementTree.Element) -> None:
    """Writes MuJoCo's own section, which says what the compiler keeps; the user's words stand."""
    section = root.find("mujoco")
    if section is None:
        section = ElementTree.SubElement(root, "mujoco")
    compiler = section.find("compiler")
    if compiler is None:
        compiler = ElementTree.SubElement(section, "compiler")
    for name, value in _KEEP.items():
        compiler.set(name, compiler.get(name, value) if name != "strippath" else value)
    compiler.attrib.pop("meshdir", None)  # the paths are absolute by now


def _hide_collisions(spec: mujoco.MjSpec) -> None:
    """Puts what collides in group 3, out of pictures, where a link has looks of its own."""
    for body in spec.bodies:
        if any(geom.contype == geom.conaffinity == 0 for geom in body.geoms):
            for geom in body.geoms:
                geom.group = geom.group if geom.contype == geom.conaffinity == 0 else 3


def _name_meshes(spec: mujoco.MjSpec, tokens: dict[str, tuple[str, Path]]) -> dict[str, Path]:
    """Gives the meshes their files and names; returns the file of each by its name."""
    names = {}
    for mesh in spec.meshes:
        name, file = tokens[Path(mesh.file).stem]
        names[mesh.name] = name
        mesh.name, mesh.file = name, str(file.resolve())
    for geom in spec.geoms:
        geom.meshname = names.get(geom.meshname, geom.meshname)
    return {name: file for name, file in tokens.values()}
