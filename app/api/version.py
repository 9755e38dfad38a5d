"""The version of the HTTP interface."""

from typing import Final

API_VERSION: Final = "1.0"
"""`info.version` of the OpenAPI document. Raised with every change of what may be sent or will come: the second number
where clients of before go on working, the first where they do not. `make openapi` refuses to write the document of a
changed interface under an old version, and a test compares; texts and examples are free."""
