"""Look into a `.keras` file without Keras: what it is made of, before anything of it is built."""

from __future__ import annotations

import io
import json
import zipfile
from collections.abc import Iterator
from typing import Any, Final

from app.errors import ModelRefused
from app.zip_bounds import METHODS

MAX_CONFIG_BYTES: Final = 16 * 2**20
MAX_UNPACKED_BYTES: Final = 2 * 2**30
MEMBERS: Final = frozenset({"config.json", "metadata.json", "model.weights.h5"})
FORBIDDEN_CLASSES: Final = frozenset(
    {"Lambda", "TFSMLayer", "TorchModuleWrapper", "JaxLayer", "FlaxLayer", "function", "__lambda__", "__typespec__"}
)
"""Objects that carry code of their own, or files from elsewhere."""


def check_keras_archive(content: bytes) -> None:
    """Check that a `.keras` file is an archive of built-in Keras objects only.

    Raises:
        ModelRefused: it is no such archive, too large when unpacked, or holds a Lambda layer or another object with
            code of its own; the message names it.
    """
    for name in _objects_with_code(_config(content)):
        raise ModelRefused(
            f"The network holds the object {name[:100]!r}, which brings code of its own. "
            "Build it of Keras' built-in layers and save it again."
        )


def _config(content: bytes) -> dict[str, Any]:
    try:
        with zipfile.ZipFile(io.BytesIO(content)) as archive:
            infos = archive.infolist()
            names = [info.filename for info in infos]
            if set(names) != MEMBERS or len(names) != len(MEMBERS):
                raise ModelRefused(f"A .keras archive holds {sorted(MEMBERS)} and nothing else; this one differs.")
            if any(info.compress_type not in METHODS for info in infos):
                raise ModelRefused("The .keras archive is compressed by other means than Deflate.")
            if sum(info.file_size for info in infos) > MAX_UNPACKED_BYTES:
                raise ModelRefused(f"The .keras archive unpacks to more than {MAX_UNPACKED_BYTES} bytes.")
            with archive.open("config.json") as file:
                text = file.read(MAX_CONFIG_BYTES + 1)
    except (zipfile.BadZipFile, NotImplementedError, RuntimeError, EOFError, OSError) as error:
        raise ModelRefused("The .keras file is not a sound archive.") from error
    if len(text) > MAX_CONFIG_BYTES:
        raise ModelRefused(f"The network's configuration is larger than {MAX_CONFIG_BYTES} bytes.")
    return _parsed(text)


def _parsed(text: bytes) -> dict[str, Any]:
    try:
        config = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise ModelRefused("The network's configuration is not sound JSON.") from error
    if not isinstance(config, dict):
        raise ModelRefused("The network's configuration is not a JSON object.")
    # Losses and metrics are for training; networks are loaded without them, so a custom loss does no harm.
    return {key: value for key, value in config.items() if key != "compile_config"}


def _objects_with_code(config: Any) -> Iterator[str]:
    waiting = [config]
    while waiting:
        item = waiting.pop()
        if isinstance(item, dict):
            if "class_name" in item and not _is_built_in(item):
                yield str(item["class_name"])
            waiting.extend(item.values())
        elif isinstance(item, list):
            waiting.extend(item)


def _is_built_in(item: dict[str, Any]) -> bool:
    name, module, registered = item["class_name"], item.get("module"), item.get("registered_name")
    if not isinstance(name, str) or name in FORBIDDEN_CLASSES:
        return False
    if module is None:
        return name.startswith("__") and registered is None
    return isinstance(module, str) and module.split(".")[0] == "keras" and registered in (None, name)
