"""A plugin that needs a library nobody has."""
