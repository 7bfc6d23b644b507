"""Distillation of a camera student from a privileged teacher: settings, learner and losses."""
