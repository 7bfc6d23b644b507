"""Bridges to other libraries: their environments trained here, ours trained there."""
