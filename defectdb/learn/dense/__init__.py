"""Learn a model from structures with any number of defects and none smaller."""
