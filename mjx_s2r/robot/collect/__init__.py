"""Motions that a robot makes to be identified, and demonstrations; all through the guard."""
