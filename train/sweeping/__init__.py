"""Sweeps: a grid of trainings on one machine or on SLURM."""
