"""The measured gap: a robot's flights beside simulation, and which rows of the table explain it."""
