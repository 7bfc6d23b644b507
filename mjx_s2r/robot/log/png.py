"""PNG files by the standard library: lossless pictures that every program opens.

One filter for all rows, "up" (each row minus the one above it), so that numpy undoes it at once.
Source of the layout: W3C, Portable Network Graphics (PNG) Specification, third edition, 2025.
"""

import struct
import zlib
from itertools import chain

import numpy as np

SIGNATURE = b"\x89PNG\r\n\x1a\n"
GRAY, RGB = 0, 2  # colour types
UP = 2  # filter type


def can_encode(image: np.ndarray) -> bool:
    """Returns whether `encode_png` takes an array: (H, W, 3) uint8, or (H, W) uint8 or uint16."""
    if not image.size:
        return False
    if image.ndim == 3:
        return image.shape[2] == 3 and image.dtype == np.uint8
    return image.ndim == 2 and image.dtype in (np.uint8, np.uint16)


def encode_png(image: np.ndarray, level: int = 1) -> list[bytes]:
    """Returns the PNG file of (H, W, 3) uint8, or (H, W) uint8 or uint16, in pieces.

    Args:
        image: the picture, row 0 at the top.
        level: effort of zlib, 1 fast to 9 small.

    Raises:
        ValueError: another shape or type.
    """
    if not can_encode(image):
        raise ValueError(
            f"a picture {image.dtype}{list(image.shape)} is no PNG; give (H, W, 3) uint8, or "
            "(H, W) uint8 or uint16"
        )
    rows = _rows(image)
    filtered = np.empty((len(rows), 1 + rows.shape[1]), np.uint8)
    filtered[:, 0] = UP
    filtered[0, 1:] = rows[0]
    np.subtract(rows[1:], rows[:-1], out=filtered[1:, 1:])
    kind = RGB if image.ndim == 3 else GRAY
    header = struct.pack(
        ">IIBBBBB", image.shape[1], image.shape[0], 8 * image.itemsize, kind, 0, 0, 0
    )
    body = zlib.compress(filtered.data, level)
    chunks = (_chunk(b"IHDR", header), _chunk(b"IDAT", body), _chunk(b"IEND", b""))
    return [SIGNATURE, *chain.from_iterable(chunks)]


def decode_png(data: bytes) -> np.ndarray:
    """Returns the picture of a file that `encode_png` wrote.

    Raises:
        ValueError: another file.
    """
    if not data.startswith(SIGNATURE):
        raise ValueError(f"no PNG: it starts with {data[:8]!r}")
    chunks = dict(_chunks(data))
    width, height, bits, kind = struct.unpack_from(">IIBB", chunks[b"IHDR"])
    filtered = np.frombuffer(zlib.decompress(chunks[b"IDAT"]), np.uint8).reshape(height, -1)
    if (filtered[:, 0] != UP).any():
        raise ValueError("a PNG of another program; open it with Pillow")
    rows = np.cumsum(filtered[:, 1:], axis=0, dtype=np.uint8)
    if bits == 16:
        return rows.view(">u2").astype(np.uint16)
    return rows.reshape(height, width, 3) if kind == RGB else rows


def _rows(image: np.ndarray) -> np.ndarray:
    """Returns the bytes (H, bytes of a row) as PNG orders them: the larger byte first."""
    whole = np.ascontiguousarray(image, ">u2" if image.dtype == np.uint16 else np.uint8)
    return whole.view(np.uint8).reshape(len(image), -1)


def _chunk(name: bytes, data: bytes) -> list[bytes]:
    """Returns one chunk: length, name, data, CRC-32."""
    checksum = zlib.crc32(data, zlib.crc32(name))
    return [struct.pack(">I", len(data)) + name, data, struct.pack(">I", checksum)]


def _chunks(data: bytes) -> list[tuple[bytes, bytes]]:
    """Returns the chunks (name, data) of a file."""
    found, at = [], len(SIGNATURE)
    while at < len(data):
        length = struct.unpack_from(">I", data, at)[0]
        found.append((data[at + 4 : at + 8], data[at + 8 : at + 8 + length]))
        at += length + 12
    return found
