"""Texture and background pools: procedural pictures and image files, made once before a run.

A name is a builtin picture, which is drawn here, or a path of an image file, or of a folder, which
stands for all of its images in the order of their names. Builtin pictures follow from the seed: a
name that comes twice gives two different draws, where it is drawn at random.

A texture multiplies the colour of a surface, so the builtin ones are bright (mean 0.7 to 1), and
they continue at their edges. An image keeps its own brightness and may show a seam.

Value noise, marble and wood: Ebert et al., "Texturing and Modeling: A Procedural Approach".
"""

import difflib
import zlib
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import numpy as np
from PIL import Image, ImageOps

SUFFIXES = (".png", ".jpg", ".jpeg")
SMALLEST = 8  # px: below, the builtin patterns are narrower than a texel
DARK = 0.5  # a builtin texture's dark parts; its bright ones are 1

Colour = np.ndarray | tuple[float, float, float]
Draw = Callable[[int, int, np.random.Generator], np.ndarray]  # height, width -> (H, W, 3) in [0, 1]


class TextureError(ValueError):
    """A picture that cannot be made or loaded."""


def textures(names: Sequence[str | Path], size: int, *, seed: int = 0) -> np.ndarray:
    """Returns (K, size, size, 3) uint8 textures; images are cut to their central square.

    Args:
        names: of `TEXTURES`, or paths of image files or folders of images.
        size: [px] a power of two, so that `texture.pack_pool` can halve it down to one texel.
        seed: makes the builtin ones.

    Raises:
        TextureError: a bad size, an unknown name, or an image that is missing or unreadable.
    """
    if size < SMALLEST or size & (size - 1):
        raise TextureError(f"textures of size {size}: give a power of two from {SMALLEST} on")
    return _pool(names, TEXTURES, size, size, seed)


def photographs(
    names: Sequence[str | Path], height: int, width: int, *, seed: int = 0
) -> np.ndarray:
    """Returns (M, height, width, 3) uint8 backgrounds.

    Images are cut to the aspect of the picture around their centre, and resized with antialiasing.

    Args:
        names: of `BACKGROUNDS`, or paths of image files or folders of images.
        height: [px] of the camera's picture.
        width: [px] of the camera's picture.
        seed: makes the builtin ones.

    Raises:
        TextureError: a bad size, an unknown name, or an image that is missing or unreadable.
    """
    if min(height, width) < 1:
        raise TextureError(f"backgrounds of {height} by {width}: give 1 px or more")
    return _pool(names, BACKGROUNDS, height, width, seed)


def _pool(
    names: Sequence[str | Path], builtin: Mapping[str, Draw], height: int, width: int, seed: int
) -> np.ndarray:
    """Returns (K, height, width, 3) uint8: every name's picture, or a folder's pictures."""
    if isinstance(names, str | Path):
        raise TextureError(f"names {names!r} are one name; give a sequence of names, ({names!r},)")
    if not names:
        raise TextureError(f"no names; give a path of an image or any of: {', '.join(builtin)}")
    # All paths are looked at before the first picture is made.
    plan = [[str(n)] if str(n) in builtin else _images(str(n), builtin) for n in names]
    pictures, drawn = [], list[str]()
    for entry in (entry for group in plan for entry in group):
        if isinstance(entry, str):
            # The random stream hangs on the name, so that another name in the list moves nothing.
            stream = (seed, zlib.crc32(entry.encode()), drawn.count(entry))
            planes = builtin[entry](height, width, np.random.default_rng(stream))
            pictures.append((np.clip(planes, 0, 1) * 255 + 0.5).astype(np.uint8))
            drawn.append(entry)
        else:
            pictures.append(_load(entry, height, width))
    return np.stack(pictures)


def _images(name: str, builtin: Mapping[str, Draw]) -> list[str] | list[Path]:
    """Returns the image file of a name, or those of its folder.

    Raises:
        TextureError: no such file or folder, no images in it, or not an image by its suffix.
    """
    path = Path(name)
    if path.is_dir():
        found = sorted(p for p in path.iterdir() if p.suffix.lower() in SUFFIXES)
        if not found:
            raise TextureError(f"folder {name!r} holds no {', '.join(SUFFIXES)} images; add some")
        return found
    if not path.is_file():
        near = difflib.get_close_matches(name, builtin, 1)
        hint = f"did you mean {near[0]!r}?" if near else f"builtin: {', '.join(builtin)}"
        raise TextureError(f"{name!r} is no file, no folder and no builtin picture; {hint}")
    return [path]


def _load(path: Path, height: int, width: int) -> np.ndarray:
    """Returns an image file as (height, width, 3) uint8, upright, cut and resized.

    Raises:
        TextureError: not readable as an image, or of more than 8 bits.
    """
    try:
        with Image.open(path) as image:
            if image.mode.startswith(("I", "F")):
                raise TextureError(f"image {str(path)!r} has more than 8 bits; save it with 8 bits")
            upright = ImageOps.exif_transpose(image).convert("RGB")
    except (OSError, SyntaxError) as error:  # Pillow raises both on a damaged file
        raise TextureError(
            f"cannot read {str(path)!r} as an image: {error}; save it anew"
        ) from error
    return np.asarray(ImageOps.fit(upright, (width, height), Image.Resampling.LANCZOS))


def _unit(height: int, width: int) -> tuple[np.ndarray, np.ndarray]:
    """Returns the pixel centres' x (1, W) and y (H, 1), each from 0 to 1."""
    return (np.arange(width)[None] + 0.5) / width, (np.arange(height)[:, None] + 0.5) / height


def _mix(share: np.ndarray, low: Colour, high: Colour) -> np.ndarray:
    """Returns (H, W, 3) between two colours, ``high`` where ``share`` (H, W) is 1."""
    return np.asarray(low) + share[..., None] * (np.asarray(high) - np.asarray(low))


def _colour(rng: np.random.Generator) -> np.ndarray:
    """Returns a random colour (3,), pulled towards its grey by a random share, as most are."""
    rgb = rng.random(3)
    return rgb + rng.random() * (rgb.mean() - rgb)


def _grey(share: np.ndarray) -> np.ndarray:
    """Returns (H, W, 3) grey, from `DARK` to 1 as ``share`` (H, W) goes from 0 to 1."""
    return _mix(share, (DARK,) * 3, (1.0,) * 3)


def _fractal(
    height: int, width: int, rng: np.random.Generator, cells: tuple[int, int], octaves: int = 5
) -> np.ndarray:
    """Returns tileable fractal value noise (H, W) from 0 to 1.

    Each octave is a random lattice that wraps around, twice as fine as the one before it and half
    as strong, interpolated by 3 t^2 - 2 t^3. ``cells`` are the first lattice's rows and columns.
    """
    total = np.zeros((height, width))
    for octave in range(octaves):
        counts = [n * 2**octave for n in cells]
        lattice = rng.random(counts)
        for axis, (count, size) in enumerate(zip(counts, (height, width), strict=True)):
            place = (np.arange(size) + 0.5) * count / size
            first = np.floor(place).astype(int)
            t = np.expand_dims((place - first) ** 2 * (3 - 2 * (place - first)), 1 - axis)
            low, high = (np.take(lattice, (first + i) % count, axis=axis) for i in (0, 1))
            lattice = low + t * (high - low)
        total += lattice * 0.5**octave
    return (total - total.min()) / np.ptp(total)


def _checker(height: int, width: int, rng: np.random.Generator) -> np.ndarray:
    """Four by four squares."""
    x, y = _unit(height, width)
    return _grey((np.floor(4 * x) + np.floor(4 * y)) % 2)


def _stripes(height: int, width: int, rng: np.random.Generator) -> np.ndarray:
    """Four dark stripes across."""
    x, y = _unit(height, width)
    return _grey(np.floor(8 * y + 0 * x) % 2)


def _wave(height: int, width: int, rng: np.random.Generator) -> np.ndarray:
    """A gradient that comes back: dark at the top and bottom, bright in the middle."""
    x, y = _unit(height, width)
    return _grey(0.5 - 0.5 * np.cos(2 * np.pi * y + 0 * x))


def _noise(height: int, width: int, rng: np.random.Generator) -> np.ndarray:
    """Fractal value noise."""
    return _grey(_fractal(height, width, rng, (4, 4)))


def _speckle(height: int, width: int, rng: np.random.Generator) -> np.ndarray:
    """Bright, with 150 dots of all colours."""
    x, y = _unit(height, width)
    out = np.full((height, width, 3), 0.95)
    for _ in range(150):
        left, top, radius = *rng.random(2), rng.uniform(0.008, 0.025)
        across, down = (np.abs((a - b + 0.5) % 1 - 0.5) for a, b in ((x, left), (y, top)))
        out[np.hypot(across, down) < radius] = rng.uniform(0.2, 0.9, 3)
    return out


def _wood(height: int, width: int, rng: np.random.Generator) -> np.ndarray:
    """Planks' grain along x: year rings bent by slow noise, and fine fibres."""
    _, y = _unit(height, width)
    rings = 5 * y + 1.5 * _fractal(height, width, rng, (2, 1), 3)
    fibres = _fractal(height, width, rng, (32, 2), 3)
    share = 0.6 * (rings % 1) ** 2 + 0.4 * fibres
    return _mix(share, (1.0, 0.9, 0.76), (0.68, 0.48, 0.32))


def _marble(height: int, width: int, rng: np.random.Generator) -> np.ndarray:
    """Grey veins along a diagonal, bent by turbulence."""
    x, y = _unit(height, width)
    bend = _fractal(height, width, rng, (3, 3))
    veins = np.abs(np.sin(np.pi * (x + y + 3 * bend))) ** 0.4
    return _mix(veins, (0.45, 0.47, 0.5), (1.0, 0.99, 0.97))


def _sky(height: int, width: int, rng: np.random.Generator) -> np.ndarray:
    """From one random colour at the top to another at the bottom."""
    x, y = _unit(height, width)
    return _mix(y + 0 * x, _colour(rng), _colour(rng))


def _clouds(height: int, width: int, rng: np.random.Generator) -> np.ndarray:
    """Fractal noise between two random colours."""
    return _mix(_fractal(height, width, rng, (3, 3)), _colour(rng), _colour(rng))


def _clutter(height: int, width: int, rng: np.random.Generator) -> np.ndarray:
    """A gradient with 30 boxes and soft blobs over it, of random places, sizes and colours."""
    x, y = _unit(height, width)
    x = x * width / height
    out = _sky(height, width, rng)
    for _ in range(30):
        middle = rng.random(2) * (width / height, 1.0)
        half, turn = rng.uniform(0.04, 0.25, 2), rng.uniform(0, np.pi)
        along = (x - middle[0]) * np.cos(turn) + (y - middle[1]) * np.sin(turn)
        across = (y - middle[1]) * np.cos(turn) - (x - middle[0]) * np.sin(turn)
        if rng.random() < 0.6:  # a box; its edge is one pixel wide
            inside = np.minimum(half[0] - np.abs(along), half[1] - np.abs(across)) * height
            share = np.clip(inside + 0.5, 0, 1)
        else:
            share = np.exp(-2 * ((along / half[0]) ** 2 + (across / half[1]) ** 2))
        shade = _colour(rng) * (1 - 0.3 * (along / half[0])[..., None])  # lit from one side
        out = out + share[..., None] * (np.clip(shade, 0, 1) - out)
    return out


TEXTURES: Mapping[str, Draw] = {
    "checker": _checker,
    "stripes": _stripes,
    "gradient": _wave,
    "noise": _noise,
    "speckle": _speckle,
    "wood": _wood,
    "marble": _marble,
}
BACKGROUNDS: Mapping[str, Draw] = {"gradient": _sky, "clouds": _clouds, "clutter": _clutter}
