"""Attacks on one service; a package, so that it ends with their tests."""
