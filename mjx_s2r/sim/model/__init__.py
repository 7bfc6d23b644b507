"""The model group of the parameter table: rows to MuJoCo model fields, checked before training."""
