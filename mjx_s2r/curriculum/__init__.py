"""Which part of the parameter table is drawn: each module is init, sample, update."""
