"""Reads PyTorch's weight files (.pth) without PyTorch, and without running what they may hold.

A .pth file is a pickle of a dict whose tensors name storages, and these storages as raw bytes: in a zip archive since
PyTorch 1.6, one after the other in one file before. A pickle may call any function of Python; here it may build dicts
and tensors, and nothing else.
"""

import collections
import pickle
import zipfile

import numpy as np

from common.errors import UserError

DTYPES = {
    "DoubleStorage": "<f8",
    "FloatStorage": "<f4",
    "HalfStorage": "<f2",
    "LongStorage": "<i8",
    "IntStorage": "<i4",
    "ShortStorage": "<i2",
    "CharStorage": "<i1",
    "ByteStorage": "<u1",
    "BoolStorage": "?",
}
# What a file of before PyTorch 1.6 begins with, as a pickled number.
MAGIC = 0x1950A86A20F9469CFC6C


def read_pth(path):
    """Reads a file of weights: {name: array}, nested as in the file.

    Raises:
        UserError: The file is damaged, or holds something else than numbers, texts, dicts and dense tensors.
        OSError: The file cannot be opened.
    """
    with path.open("rb") as file:
        try:
            return dict(_read_zip(file) if zipfile.is_zipfile(file) else _read_flat(file, path.stat().st_size))
        except Exception as error:  # Whatever a damaged or foreign file makes zipfile, pickle or NumPy raise.
            cause = f"not a PyTorch file of weights that can be read ({error}); download it again"
            raise UserError(f"{path}: {cause}") from error


class _Unpickler(pickle.Unpickler):
    """Builds dicts and arrays. `storage` is a function from dtype, key and number of values to a flat array."""

    def __init__(self, file, storage):
        super().__init__(file)
        self._storage = storage

    def find_class(self, module, name):
        if module == "torch" and name in DTYPES:
            return np.dtype(DTYPES[name])
        if (module, name) == ("collections", "OrderedDict"):
            return collections.OrderedDict
        if (module, name) == ("torch._utils", "_rebuild_tensor_v2"):
            return _tensor
        raise ValueError(f"it asks for {module}.{name}")

    def persistent_load(self, identifier):
        _, dtype, key, _, count, *view = identifier
        if any(view):
            raise ValueError("it holds views of storages")
        return self._storage(dtype, key, count)


def _tensor(storage, offset, shape, strides, *_):
    """The view of a storage that a tensor is."""
    last = offset + sum((size - 1) * stride for size, stride in zip(shape, strides, strict=True))
    if min(offset, *shape, *strides, 0) < 0 or last >= storage.size:
        raise ValueError("a tensor reaches beyond its storage")
    return np.lib.stride_tricks.as_strided(storage[offset:], shape, [stride * storage.itemsize for stride in strides])


def _read_zip(file):
    with zipfile.ZipFile(file) as archive:
        name = next(name for name in archive.namelist() if name.endswith("data.pkl"))
        folder = name.removesuffix("data.pkl")

        def storage(dtype, key, count):
            return np.frombuffer(archive.read(f"{folder}data/{key}"), dtype, count)

        with archive.open(name) as data:
            return _Unpickler(data, storage).load()


def _read_flat(file, size):
    storages = {}

    def storage(dtype, key, count):
        if count * dtype.itemsize > size:
            raise ValueError("a tensor is larger than the file")
        return storages.setdefault(key, np.empty(count, dtype))

    file.seek(0)
    if _Unpickler(file, storage).load() != MAGIC:
        raise ValueError("it begins otherwise")
    for _ in ("version", "machine"):
        _Unpickler(file, storage).load()
    weights = _Unpickler(file, storage).load()
    for key in _Unpickler(file, storage).load():
        file.read(8)  # The number of values.
        storages[key][:] = np.frombuffer(file.read(storages[key].nbytes), storages[key].dtype)
    return weights
