"""Distillation of a camera student from a privileged teacher: settings, algorithm and losses."""
