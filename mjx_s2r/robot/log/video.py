"""Pictures as an mp4 file, by PyAV."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from mjx_s2r.robot.log.extras import need

CODECS = ("libx264", "libopenh264", "mpeg4")  # the first that the installed PyAV has


def write_video(
    path: Path, pictures: Iterator[np.ndarray], shape: tuple[int, int, int], fps: int, every: int
) -> tuple[dict[str, Any], np.ndarray]:
    """Writes an mp4; returns facts of it, as LeRobot names them, and some pictures (N, H, W, 3).

    Args:
        path: the file; its folder is made.
        pictures: (H, W, 3) uint8 each.
        shape: of each.
        fps: frames per second.
        every: one picture of so many is returned.
    """
    av = need("av", "a video")
    path.parent.mkdir(parents=True, exist_ok=True)
    codec = next(name for name in CODECS if name in av.codecs_available)
    even = not (shape[0] % 2 or shape[1] % 2)
    sampled = []
    with av.open(str(path), "w") as file:
        options = {"g": "2", "crf": "18", "bf": "0"} if codec == "libx264" else {"g": "2"}
        stream = file.add_stream(codec, rate=fps, options=options)
        stream.height, stream.width = shape[:2]
        stream.pix_fmt = "yuv420p" if even or codec != "libx264" else "yuv444p"
        for index, picture in enumerate(pictures):
            if index % every == 0:
                sampled.append(picture)
            frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(picture), format="rgb24")
            file.mux(stream.encode(frame))
        file.mux(stream.encode())
        info = {
            "video.height": shape[0],
            "video.width": shape[1],
            "video.codec": "mpeg4" if codec == "mpeg4" else "h264",
            "video.pix_fmt": stream.pix_fmt,
            "video.is_depth_map": False,
            "video.fps": fps,
            "video.channels": 3,
            "has_audio": False,
        }
    return info, np.array(sampled)
