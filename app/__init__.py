"""A model server for beamlines."""

__version__ = "0.1.0"
