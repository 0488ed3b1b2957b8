"""FAISS index files; needs the extra `faiss`."""

import sys
import warnings

import numpy as np
import pytest
import retrieval_problems as problems

from dsh_jax import errors
from dsh_jax.retrieval import faiss_index, neighbors


@pytest.fixture
def faiss():
  with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # SWIG's own types.
    return pytest.importorskip("faiss")


@pytest.mark.parametrize("num_bits", [5, 32, 48, 100])
def test_codes_survive_the_file(faiss, tmp_path, num_bits):
  packed, _, _ = problems.random_items(0, 40, num_bits, 1)
  path = tmp_path / "codes.index"
  faiss_index.write_index(path, packed, num_bits)
  read, bits = faiss_index.read_index(path, num_bits)
  assert bits == num_bits
  np.testing.assert_array_equal(read, packed)
  assert faiss_index.read_index(path)[1] == 8 * -(-num_bits // 8)
  assert [file.name for file in tmp_path.iterdir()] == ["codes.index"]


def test_faiss_finds_the_same_distances(faiss, tmp_path):
  packed, _, _ = problems.random_items(0, 200, 48, 1)
  faiss_index.write_index(tmp_path / "codes.index", packed, 48)
  index = faiss.read_index_binary(str(tmp_path / "codes.index"))
  queries = packed[:3].view(np.uint8)[:, :6]
  theirs, _ = index.search(np.ascontiguousarray(queries), 50)
  ours, _ = neighbors.top_k(packed[:3], packed, 50)
  np.testing.assert_array_equal(ours, theirs)


def test_bad_files_are_refused(faiss, tmp_path):
  packed, _, _ = problems.random_items(0, 200, 48, 1)
  path = tmp_path / "codes.index"
  with pytest.raises(errors.UserError, match="Cannot read"):
    faiss_index.read_index(path)
  with pytest.raises(errors.UserError, match="Cannot write"):
    faiss_index.write_index(tmp_path / "none" / "codes.index", packed, 48)
  faiss_index.write_index(path, packed, 48)
  with pytest.raises(errors.UserError, match="48 bits an item, not 64"):
    faiss_index.read_index(path, 64)
  with pytest.raises(errors.UserError, match="beyond num_bits 41"):
    faiss_index.read_index(path, 41)
  faiss.write_index_binary(faiss.IndexBinaryHNSW(48, 4), str(path))
  with pytest.raises(errors.UserError, match="kind 'IBHf'"):
    faiss_index.read_index(path)


def test_missing_faiss_is_named(monkeypatch, tmp_path):
  monkeypatch.setitem(sys.modules, "faiss", None)
  with pytest.raises(errors.UserError, match=r"dsh_jax\[faiss\]"):
    faiss_index.write_index(
      tmp_path / "codes.index", np.zeros((1, 1), np.uint32), 8
    )


def test_damaged_files_are_refused_or_read_as_they_are(faiss, tmp_path):
  packed, _, _ = problems.random_items(0, 20, 48, 1)
  path = tmp_path / "codes.index"
  faiss_index.write_index(path, packed, 48)
  content = path.read_bytes()
  for place in range(33):
    for bit in (0, 7):
      changed = bytearray(content)
      changed[place] ^= 1 << bit
      path.write_bytes(changed)
      try:
        read, _ = faiss_index.read_index(path)
      except errors.UserError as error:
        assert "\n" not in str(error)
      else:  # is_trained and metric_type are unused.
        assert 20 <= place < 25
        np.testing.assert_array_equal(read, packed)
  path.write_bytes(content[:-1])
  with pytest.raises(errors.UserError, match="119 bytes for 20 codes"):
    faiss_index.read_index(path)
