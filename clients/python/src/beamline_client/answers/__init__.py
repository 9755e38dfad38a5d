"""What the service answers with, as frozen dataclasses with the names and units of its own documentation."""
