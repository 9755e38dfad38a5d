"""Other indexing programs on the same cases."""
