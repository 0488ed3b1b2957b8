"""Read weights files (.safetensors, .npz, .pth) without running their code.

A .pth file is a pickle, which can call any Python function. Only the names that
tensors need are allowed. PyTorch is not needed.
"""

import collections
import functools
import io
import json
import math
import os
import pathlib
import pickle
import pickletools
import struct
import zipfile
from typing import Any, BinaryIO

import ml_dtypes
import numpy as np

from dsh_jax import errors, files

# Names in .safetensors and .pth files.
_TYPES = (
  ("F64", "DoubleStorage", np.float64),
  ("F32", "FloatStorage", np.float32),
  ("F16", "HalfStorage", np.float16),
  ("BF16", "BFloat16Storage", ml_dtypes.bfloat16),
  ("I64", "LongStorage", np.int64),
  ("I32", "IntStorage", np.int32),
  ("I16", "ShortStorage", np.int16),
  ("I8", "CharStorage", np.int8),
  ("U8", "ByteStorage", np.uint8),
  ("BOOL", "BoolStorage", np.bool_),
)
_SAFETENSORS_TYPES = {name: dtype for name, _, dtype in _TYPES}
_TORCH_TYPES = {name: dtype for _, name, dtype in _TYPES}
# First object of a .pth file before PyTorch 1.6.
_LEGACY_MAGIC = 0x1950A86A20F9469CFC6C
_MAX_ENTRIES, _MAX_DEPTH = 1_000_000, 16


def read(path: str) -> dict[str, np.ndarray]:
  """Read the tensors of a .safetensors, .npz, .pth, .pt or .bin file.

  Returns:
    Name -> array, of the dtype in the file. Nested dictionaries are flattened:
    {"state_dict": {"fc.weight": ...}} gives "state_dict.fc.weight".

  Raises:
    UserError: The file is missing, damaged or of another kind.
  """
  ending = os.path.splitext(path)[1].lower()
  if ending not in ENDINGS:
    raise errors.unknown(
      "ending of a weights file",
      os.path.basename(path),
      ENDINGS,
      "config.model.pretrained",
    )
  try:
    with files.open_regular(pathlib.Path(path)) as file:
      return _READERS[ending](file)
  except errors.UserError:
    raise
  except FileNotFoundError as error:
    raise errors.UserError(
      f"No weights file {path!r}. Change config.model.pretrained."
    ) from error
  except Exception as error:  # A damaged file can raise any error.
    reason = str(error).splitlines()[0] if str(error) else repr(error)
    raise errors.UserError(
      f"Cannot read the weights file {path!r}: {reason}. Download it again"
      " or change config.model.pretrained."
    ) from error


def _read_safetensors(file: BinaryIO) -> dict[str, np.ndarray]:
  (length,) = struct.unpack("<Q", file.read(8))
  if length > 100_000_000:
    raise ValueError("it has no header of a safetensors file")
  header = json.loads(file.read(length))
  data = file.read()
  tensors = {}
  for name, entry in header.items():
    if name == "__metadata__":
      continue
    first, last = entry["data_offsets"]
    dtype = np.dtype(_SAFETENSORS_TYPES[entry["dtype"]])
    shape = tuple(entry["shape"])
    if not (
      0 <= first <= last <= len(data)
      and last - first == math.prod(shape) * dtype.itemsize
    ):
      raise ValueError(f"some bytes of {name!r} are missing")
    tensors[name] = np.frombuffer(data[first:last], dtype).reshape(shape)
  return tensors


def _read_npz(file: BinaryIO) -> dict[str, np.ndarray]:
  arrays = files.read_arrays(pathlib.Path(file.name))
  if not isinstance(arrays, dict):
    raise ValueError("it holds one array without a name")
  return arrays


def _read_torch(file: BinaryIO) -> dict[str, np.ndarray]:
  if not zipfile.is_zipfile(file):
    file.seek(0)
    return _flatten(_read_torch_legacy(file))
  archive = zipfile.ZipFile(file)
  files.check_archive(archive)
  for member in archive.infolist():
    if member.compress_type != zipfile.ZIP_STORED:
      raise ValueError("it is compressed, as PyTorch writes none")
  (index,) = (name for name in archive.namelist() if name.endswith("/data.pkl"))
  folder = index.removesuffix("data.pkl")
  order = folder + "byteorder"
  if order in archive.namelist() and archive.read(order) != b"little":
    raise ValueError("it was written on a big-endian machine")

  @functools.cache
  def read_storage(dtype, key):
    return np.frombuffer(archive.read(f"{folder}data/{key}"), dtype)

  def load_storage(storage):
    _, dtype, key, *_ = storage
    return read_storage(dtype, key)

  content = _unpickle(io.BytesIO(archive.read(index)), load_storage)
  return _flatten(content)


def _read_torch_legacy(file: BinaryIO) -> Any:
  storages = {}
  num_bytes = os.fstat(file.fileno()).st_size

  def load_storage(storage):
    _, dtype, key, _, size, *_ = storage
    if size > num_bytes:
      raise ValueError(f"some values of storage {key} are missing")
    return storages.setdefault(key, np.zeros(size, dtype))

  def load():
    return _unpickle(file, load_storage)

  if load() != _LEGACY_MAGIC:
    raise ValueError("it is not a file of PyTorch")
  load()  # Protocol version.
  load()  # Sizes of types.
  content = load()
  # Fill the arrays, of which the tensors are views.
  for key in load():
    (size,) = struct.unpack("<q", file.read(8))
    storage = storages[key]
    if size != storage.size:
      raise ValueError(f"storage {key} has {size} values")
    storage[:] = np.frombuffer(file.read(storage.nbytes), storage.dtype)
  return content


def _unpickle(file: BinaryIO, load_storage) -> Any:
  """Read one pickle, with a memo that is not larger than the pickle.

  Otherwise a few bytes with memo index 4 billion would use up all memory.
  """
  start, stored = file.tell(), ("PUT", "BINPUT", "LONG_BINPUT")
  for count, (operation, argument, _) in enumerate(pickletools.genops(file)):
    if operation.name in stored and argument > count:
      raise ValueError(f"its objects are not numbered in order: {argument}")
  file.seek(start)
  return _Unpickler(file, load_storage).load()


class _Unpickler(pickle.Unpickler):
  """An unpickler that allows only the names that tensors need."""

  def __init__(self, file, load_storage):
    super().__init__(file, encoding="utf-8")
    self._load_storage = load_storage

  def find_class(self, module: str, name: str) -> Any:
    if module == "torch" and name in _TORCH_TYPES:
      return _TORCH_TYPES[name]
    known = {
      ("collections", "OrderedDict"): collections.OrderedDict,
      ("torch._utils", "_rebuild_tensor_v2"): _rebuild_tensor,
      ("torch._utils", "_rebuild_parameter"): _rebuild_parameter,
      ("torch", "Size"): tuple,
    }
    if (module, name) not in known:
      raise pickle.UnpicklingError(
        f"it would run {module}.{name}, which tensors do not need"
      )
    return known[module, name]

  def persistent_load(self, storage: tuple) -> np.ndarray:
    return self._load_storage(storage)


def _rebuild_tensor(storage, offset, shape, strides, *unused):
  """Return a pickled tensor as a view of its storage."""
  span = sum((n - 1) * step for n, step in zip(shape, strides, strict=True))
  empty = 0 in shape
  if math.prod(shape) > storage.size:
    raise ValueError("a tensor is larger than its storage")
  if min(offset, *strides, 0) < 0 or (
    not empty and offset + span >= storage.size
  ):
    raise ValueError("a tensor reaches beyond its storage")
  return np.lib.stride_tricks.as_strided(
    storage[offset:],
    shape,
    [step * storage.itemsize for step in strides],
  )


def _rebuild_parameter(tensor, *unused):
  return tensor


def _flatten(content: Any) -> dict[str, np.ndarray]:
  """Return dotted name -> array; drop other values."""
  tensors, count = {}, 0

  def visit(value, names):
    nonlocal count
    count += 1
    # Dictionaries that share members can have exponentially many paths.
    if count > _MAX_ENTRIES or len(names) > _MAX_DEPTH:
      raise ValueError("it has too many dictionaries in dictionaries")
    if isinstance(value, np.ndarray):
      tensors[".".join(map(str, names))] = value
    elif isinstance(value, dict):
      for name, inner in value.items():
        visit(inner, (*names, name))

  visit(content, ())
  return tensors


_READERS = {
  ".safetensors": _read_safetensors,
  ".npz": _read_npz,
  ".pth": _read_torch,
  ".pt": _read_torch,
  ".bin": _read_torch,
}
ENDINGS = tuple(_READERS)
