"""What a file is, told from its first bytes: for the reason why it is no model, or no mesh."""

from collections.abc import Iterable
from pathlib import Path

POINTER = "a Git LFS pointer, not the file itself; run `git lfs pull` where it was cloned"
_STARTS: tuple[tuple[bytes, str], ...] = (
    (b"version https://git-lfs", POINTER),
    (b"PK\x03\x04", "a zip archive; unpack it first"),
    (b"\x1f\x8b", "a gzip archive; unpack it first"),
    (b"7z\xbc\xaf", "a 7z archive; unpack it first"),
    (b"\x89PNG", "a PNG picture"),
    (b"\xff\xd8\xff", "a JPEG picture"),
    (b"%PDF", "a PDF document"),
    (b"glTF", "a glTF mesh"),
    (b"ply", "a PLY mesh"),
    (b"PXR-USDC", "a USD scene; export it as URDF or MJCF"),
    (b"#usda", "a USD scene; export it as URDF or MJCF"),
    (b"ISO-10303-21", "a STEP drawing; export the robot as URDF or MJCF"),
    (b"Kaydara FBX", "an FBX scene; export the robot as URDF or MJCF"),
    (b"solid ", "an STL mesh in ASCII"),
)
_HTML = (b"<!doctype html", b"<html", b"<head", b"<body>")


def what_it_is(path: Path) -> str | None:
    """Returns in words what a file is that holds no XML; None where it may be a model.

    Args:
        path: a file that exists.
    """
    with path.open("rb") as file:
        head = file.read(4096)
    if not head.strip():
        return "empty"
    for start, words in _STARTS:
        if head.startswith(start):
            return words
    text = head.removeprefix(b"\xef\xbb\xbf").lstrip()
    if text[:20].lower().startswith(_HTML):
        return (
            "a web page in HTML; download the file itself, on GitHub by its button 'Download raw "
            "file'"
        )
    if _is_binary_stl(path, head):
        return "an STL mesh"
    if b"\0" in head and not head.startswith((b"\xff\xfe", b"\xfe\xff")):  # UTF-16 has zeros
        return "a binary file"
    if not text.startswith(b"<") and not head.startswith((b"\xff\xfe", b"\xfe\xff")):
        return "text without XML"
    return None


def _is_binary_stl(path: Path, head: bytes) -> bool:
    """Returns whether the size of a file is the one that an STL's header announces."""
    faces = int.from_bytes(head[80:84], "little")
    return len(head) >= 84 and path.stat().st_size == 84 + 50 * faces


MESH_SUFFIXES = (".stl", ".obj", ".msh")
_PICTURES = (".png", ".ktx")
_OTHER_ASSETS = (*_PICTURES, ".skn", ".bin", ".hf")
CONVERT = (
    'MuJoCo reads meshes as binary .stl, .obj and .msh; convert them with: python -c "import '
    "trimesh; trimesh.load('a.dae', force='mesh').export('a.stl')\""
)
_CLONED = "files that a download or a clone left incomplete must be fetched again"


def why_no_asset(path: Path) -> str | None:
    """Returns in words why MuJoCo cannot read a mesh, texture or height field; None for nothing."""
    found = what_it_is(path) or ""
    if found in ("empty", POINTER) or found.startswith("a web page"):
        return found
    suffix = path.suffix.lower()
    if suffix not in (*MESH_SUFFIXES, *_OTHER_ASSETS):
        return f"of a kind ({suffix or 'no suffix'}) that MuJoCo does not read"
    if suffix == ".stl" and found != "an STL mesh":
        return found if found.startswith("an STL") else "no binary STL, or one cut short"
    return None


def remedy(reasons: Iterable[str]) -> str:
    """Returns the end of the message for assets that are wrong for ``reasons``."""
    reasons = list(reasons)
    if any("does not read" in why or "ASCII" in why for why in reasons):
        return f"; {CONVERT}"
    return "" if all(why == POINTER for why in reasons) else f"; {_CLONED}"
