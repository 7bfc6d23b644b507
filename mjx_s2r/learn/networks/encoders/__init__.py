"""Pretrained image backbones: their layers, their weights from a local file, and how they see."""
