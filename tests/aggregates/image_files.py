"""The same images written in every format that is read."""

from __future__ import annotations

import io
from typing import Any

import h5py
import numpy as np
import tifffile
from PIL import Image

CXI = "/entry_1/data_1/data"


def npy(images: np.ndarray) -> bytes:
    content = io.BytesIO()
    np.save(content, images)
    return content.getvalue()


def npz(compressed: bool = False, **arrays: np.ndarray) -> bytes:
    content = io.BytesIO()
    (np.savez_compressed if compressed else np.savez)(content, **arrays)  # type: ignore[arg-type]
    return content.getvalue()


def tiff(
    images: np.ndarray, *, photometric: str = "minisblack", byteorder: Any = "<", compression: str | None = None
) -> bytes:
    """One page an image."""
    content = io.BytesIO()
    with tifffile.TiffWriter(content, byteorder=byteorder) as writer:
        for image in images[None] if images.ndim == 2 else images:
            writer.write(image, photometric=photometric, compression=compression, metadata=None)
    return content.getvalue()


def png(image: np.ndarray) -> bytes:
    content = io.BytesIO()
    Image.fromarray(image).save(content, "PNG")
    return content.getvalue()


def hdf5_of(datasets: dict[str, np.ndarray], **options: Any) -> bytes:
    content = io.BytesIO()
    with h5py.File(content, "w") as file:
        for path, values in datasets.items():
            file.create_dataset(path, data=values, **options)
    return content.getvalue()


def cxi(images: np.ndarray, **options: Any) -> bytes:
    return hdf5_of({CXI: images}, **options)
