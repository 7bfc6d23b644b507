"""Checks of telemetry: what is wrong with a log, found before any long work."""
