"""Measured patterns: reading files, and the search for lines in them."""
