"""The look of each world: colours, textures, lamps, backgrounds."""
