"""Images of a finished run are found from any folder."""

import os
import shutil

import fake_archives
import numpy as np
import pytest

from configs import listfile
from dsh_jax import errors
from dsh_jax.apps import index as index_lib
from dsh_jax.apps import pictures
from dsh_jax.config import factories, fields
from dsh_jax.runs import stored_images
from dsh_jax.runs import workdir as workdir_lib


def test_a_run_started_with_relative_paths_shows_its_pictures(
  tmp_path, monkeypatch
):
  fake_archives.csv(tmp_path / "pics")
  monkeypatch.chdir(tmp_path)
  config = listfile.get_config("method=idhn,backbone=tiny")
  config.update_from_flattened_dict(
    {
      "data.manual_dir": "pics",
      "data.csv": "pics/pictures.csv",
      "data.dir": "cache",
      "data.image_size": 16,
      "data.crop_size": 16,
    }
  )
  splits = factories.load_splits(config)
  result = {"folders": stored_images.folders(config, splits)}
  flat = fields.flatten(config)
  run = workdir_lib.Workdir(str(tmp_path / "run"))
  run.make_folder()
  run.write_json("config.json", flat)
  run.write_json("result.json", result)
  database = splits.database
  arrays = {
    "num_bits": np.asarray(16),
    "database_codes": np.zeros((len(database), 1), np.uint32),
    "database_ids": database.ids,
    "database_labels": database.labels,
    "class_names": np.array(splits.class_names),
  }
  run.write_arrays("codes.npz", arrays)
  os.mkdir("elsewhere")
  monkeypatch.chdir("elsewhere")
  index = index_lib.load(str(tmp_path / "run" / "codes.npz"))

  found = pictures.Pictures(index)
  assert found.are_files and found.problem() == ""
  assert found.get(0, 320)[1] == "image/png"

  (tmp_path / "pics").rename(tmp_path / "moved")
  found = pictures.Pictures(index)
  assert not found.are_files and found.problem() == ""
  rows = np.arange(5)
  np.testing.assert_array_equal(found._split.take(rows), database.take(rows))
  query = stored_images.open_split(
    flat, result, "query", splits.query.ids, splits.class_names
  )
  assert query.sha256() == splits.sha256["query"]

  shutil.rmtree(tmp_path / "cache")
  said = pictures.Pictures(index).problem()
  assert f"neither in {tmp_path / 'pics'} nor in the cache" in said
  assert said.endswith("by --images=FOLDER.") and "config." not in said
  with pytest.raises(errors.UserError, match="by --images=FOLDER"):
    pictures.Pictures(index).get(0, 320)
