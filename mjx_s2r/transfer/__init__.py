"""The way back: robot logs become better parameters, and a number for the gap that is left."""
