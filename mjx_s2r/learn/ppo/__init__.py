"""Proximal policy optimization: settings, algorithm and losses."""
