"""Viewers: films, side-by-side panels and a live page in the browser."""
