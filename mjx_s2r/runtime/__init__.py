"""Devices, processes, signals and compilation: what a training runs on."""
