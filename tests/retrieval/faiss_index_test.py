"""Tests of FAISS index files; they need FAISS, an extra."""

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
  assert [found.name for found in tmp_path.iterdir()] == ["codes.index"]


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
  with pytest.raises(errors.UserError, match="IndexBinaryHNSW"):
    faiss_index.read_index(path)


def test_missing_faiss_is_named(monkeypatch, tmp_path):
  monkeypatch.setitem(sys.modules, "faiss", None)
  with pytest.raises(errors.UserError, match=r"dsh_jax\[faiss\]"):
    faiss_index.read_index(tmp_path / "codes.index")
