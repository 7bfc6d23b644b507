"""A task of one's own from a model: what is read off it, the rows, and the files written."""
