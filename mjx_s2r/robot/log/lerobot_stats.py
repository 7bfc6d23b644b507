"""The statistics that a LeRobot dataset keeps of each column and camera.

They follow `lerobot/datasets/compute_stats.py` of LeRobot 0.4.4.
"""

from collections.abc import Sequence

import numpy as np

QUANTILES = {"q01": 0.01, "q10": 0.1, "q50": 0.5, "q90": 0.9, "q99": 0.99}

Stats = dict[str, dict[str, np.ndarray]]  # column -> name of the statistic -> value


def column_statistics(values: np.ndarray) -> dict[str, np.ndarray]:
    """Returns LeRobot's statistics of a column (T, n), each (n,)."""
    known = values.astype(float)
    stats = {
        "min": known.min(0),
        "max": known.max(0),
        "mean": known.mean(0),
        "std": known.std(0),
        "count": np.array([len(known)]),
    }
    return stats | {name: np.quantile(known, share, axis=0) for name, share in QUANTILES.items()}


def image_statistics(pictures: np.ndarray) -> dict[str, np.ndarray]:
    """Returns the statistics of pictures (N, H, W, 3) by colour, (3, 1, 1), white is 1."""
    stats = column_statistics(pictures.reshape(-1, 3) / 255.0)
    shaped = {name: x.reshape(3, 1, 1) for name, x in stats.items() if name != "count"}
    return shaped | {"count": np.array([len(pictures)])}


def merged_statistics(all_stats: Sequence[Stats]) -> Stats:
    """Returns the statistics of all episodes, weighted by their lengths; quantiles, too."""
    merged = {}
    for key in all_stats[0]:
        each = [stats[key] for stats in all_stats if key in stats]
        counts = np.array([s["count"][0] for s in each], float)
        share = (counts / counts.sum()).reshape(-1, *(1,) * each[0]["mean"].ndim)
        rows = {name: np.stack([s[name] for s in each]) for name in each[0] if name != "count"}
        mean = (share * rows["mean"]).sum(0)
        variance = (share * (rows["std"] ** 2 + (rows["mean"] - mean) ** 2)).sum(0)
        merged[key] = {
            "min": rows["min"].min(0),
            "max": rows["max"].max(0),
            "mean": mean,
            "std": np.sqrt(variance),
            "count": np.array([int(counts.sum())]),
            **{name: (share * rows[name]).sum(0) for name in QUANTILES},
        }
    return merged
