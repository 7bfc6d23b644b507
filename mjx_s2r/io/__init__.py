"""Run folders: settings, metrics, checkpoints and trackers of one training."""
