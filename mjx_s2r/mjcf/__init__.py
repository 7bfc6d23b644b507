"""Models of other makers: reading them, looking at them, making them ready for training."""
