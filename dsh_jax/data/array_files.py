"""Read named arrays of .npy, .npz, .safetensors and Parquet files.

Parquet files, compressed .npz files and bfloat16 are read into memory, all
others are memory-mapped.
"""

import itertools
import json
import mmap
import pathlib
import struct
import zipfile
from collections.abc import Callable

import numpy as np

from dsh_jax import errors, files

_SAFETENSORS_TYPES = {
  "F64": "<f8", "F32": "<f4", "F16": "<f2", "I64": "<i8", "I32": "<i4",
  "I16": "<i2", "I8": "i1", "U8": "u1", "BOOL": "?", "BF16": "<u2",
}  # fmt: skip
_LOCAL_HEADER = struct.Struct("<26xHH")  # Of zip: lengths of name and extra.


def read(path: str, field: str) -> dict[str, np.ndarray]:
  """Return name -> array of a file; `field` gave its path, for errors.

  The array of a .npy is called "". bfloat16 becomes float32. A Parquet column
  of lists of numbers becomes a matrix; lists of words are joined by ";". Lists
  of integers in the column "labels" that are not 0 and 1, or differ in length,
  become an array of objects, one integer array per row.

  Raises:
    UserError: The file cannot be read, its suffix is unknown, or it holds
      Python objects.
  """
  file = pathlib.Path(path).expanduser()
  if file.suffix.lower() not in READERS:
    raise errors.unknown("suffix of the file", file.name, READERS, field)
  try:
    if not file.is_dir():  # A Parquet data set may be a folder.
      files.open_regular(file).close()  # A pipe would block the readers.
    return READERS[file.suffix.lower()](file)
  except errors.UserError as error:
    raise errors.UserError(f"{path}: {error} Change {field}.") from error
  except FileNotFoundError:
    raise errors.UserError(
      f"There is no file {path}. Change {field}."
    ) from None
  # NumPy, zipfile, json and pyarrow raise many types on damaged files.
  except Exception as error:
    raise errors.UserError(
      f"Cannot read {path}: {errors.describe(error)}. Write it again, or"
      f" change {field}."
    ) from error


def _read_npy(file):
  return {"": np.load(file, mmap_mode="r", allow_pickle=False)}


def _read_npz(file):
  # NumPy leaves a damaged file open.
  with open(file, "rb") as raw, np.load(raw, allow_pickle=False) as arrays:
    files.check_archive(arrays.zip)
    return {
      name: _map_member(file, f"{name}.npy", arrays) for name in arrays.files
    }


def _map_member(file, member, arrays):
  """Map a matrix of an .npz; read any other or compressed array."""
  entry = arrays.zip.NameToInfo.get(member)
  if entry is None or entry.compress_type != zipfile.ZIP_STORED:
    return arrays[member.removesuffix(".npy")]
  with open(file, "rb") as raw:
    raw.seek(entry.header_offset)
    raw.seek(sum(_LOCAL_HEADER.unpack(raw.read(_LOCAL_HEADER.size))), 1)
    shape, fortran, dtype = files.read_header(raw)
    if fortran or len(shape) != 2 or dtype.hasobject:
      return arrays[member.removesuffix(".npy")]
    return np.memmap(raw, dtype, "r", raw.tell(), shape)


def _read_safetensors(file):
  with open(file, "rb") as raw:
    (length,) = struct.unpack("<Q", raw.read(8))
    size = file.stat().st_size
    if length > size - 8:
      raise ValueError("its header is not that of a safetensors file")
    header = json.loads(raw.read(length))
    data = mmap.mmap(raw.fileno(), 0, access=mmap.ACCESS_READ)
  arrays = {}
  for name, entry in header.items():
    if name == "__metadata__":
      continue
    if entry["dtype"] not in _SAFETENSORS_TYPES:
      raise errors.UserError(
        f"{name!r} is of type {entry['dtype']}; allowed:"
        f" {', '.join(_SAFETENSORS_TYPES)}."
      )
    dtype, shape = np.dtype(_SAFETENSORS_TYPES[entry["dtype"]]), entry["shape"]
    first, last = entry["data_offsets"]
    count = int(np.prod(shape, dtype=np.int64))
    if not 0 <= first <= last <= size - 8 - length or (
      last - first != count * dtype.itemsize
    ):
      raise ValueError(f"the bytes of {name!r} are incomplete")
    array = np.frombuffer(data, dtype, count, 8 + length + first)
    if entry["dtype"] == "BF16":  # The upper half of a float32.
      array = (array.astype(np.uint32) << 16).view(np.float32)
    arrays[name] = array.reshape(shape)
  return arrays


def _read_parquet(file):
  try:
    from pyarrow import parquet  # Seconds to import.
  except ImportError:
    raise errors.UserError(
      "Parquet files need pyarrow: pip install pyarrow."
    ) from None
  table = parquet.read_table(file)
  return {
    name: _column(name, table.column(name).combine_chunks())
    for name in table.column_names
  }


def _column(name, column):
  from pyarrow import compute, types

  if column.null_count:
    raise errors.UserError(
      f"The column {name!r} has {column.null_count} empty cells."
    )
  lists = (types.is_list, types.is_large_list, types.is_fixed_size_list)
  if not any(is_list(column.type) for is_list in lists):
    return _plain(column)
  values = column.flatten()
  if values.null_count:
    raise errors.UserError(
      f"The lists of the column {name!r} have {values.null_count} empty values."
    )
  words = (types.is_string, types.is_large_string)
  if any(is_words(column.type.value_type) for is_words in words):
    return _join(name, column.to_pylist())
  lengths = compute.list_value_length(column).to_numpy(zero_copy_only=False)
  widths = np.unique(lengths)
  if name == "labels" and types.is_integer(column.type.value_type):
    numbers = _plain(values)
    if len(widths) > 1 or numbers.max(initial=0) > 1:
      rows = np.empty(len(column), object)
      for row, part in enumerate(np.split(numbers, np.cumsum(lengths)[:-1])):
        rows[row] = part
      return rows
  if len(widths) > 1:
    raise errors.UserError(
      f"The rows of the column {name!r} have {widths.min()} to"
      f" {widths.max()} values; all must have the same number."
    )
  return _plain(values).reshape(len(column), -1)


def _join(name, rows):
  for word in itertools.chain.from_iterable(rows):
    if ";" in word:
      raise errors.UserError(
        f"A list of the column {name!r} has {word!r}; names must be without"
        " ';'."
      )
  return np.array([";".join(row) for row in rows], str)


def _plain(column):
  array = column.to_numpy(zero_copy_only=False)
  return array.astype(str) if array.dtype == object else array


READERS: dict[str, Callable[[pathlib.Path], dict[str, np.ndarray]]] = {
  ".npy": _read_npy,
  ".npz": _read_npz,
  ".safetensors": _read_safetensors,
  ".parquet": _read_parquet,
}
