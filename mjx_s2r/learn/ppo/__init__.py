"""Proximal policy optimization: settings, learner and losses."""
