"""Tests of benchmarks.tables.study, from results on disk."""

import json

import numpy as np
import pytest
from scipy import stats

from benchmarks.tables import study
from configs.studies import idhn
from dsh_jax.retrieval import significance


@pytest.fixture(scope="module")
def studied():
  return study.make_study(idhn.get_config())


def _finish(studied, workdir, score_of):
  for cell in studied.table.wanted:
    if (score := score_of(cell)) is not None:
      folder = workdir / cell.folder
      folder.mkdir(parents=True)
      content = {"validation": {"validation/ndcg@100": score}}
      (folder / "result.json").write_text(json.dumps(content))


def test_every_setting_has_every_seed(studied):
  runs = studied.table.wanted
  assert len(set(cell.folder for cell in runs)) == len(runs)
  # Two methods, five values of sweeps, and a plane of four by three.
  assert len(runs) == 5 * (2 + 5 + 12)
  assert {cell.seed for cell in runs} == {0, 1, 2, 3, 4}
  # Those that share what is compiled come together.
  assert [cell.seed for cell in runs[:5]] == [0, 1, 2, 3, 4]
  assert len({(cell.method, cell.variant) for cell in runs[:5]}) == 1


def test_means_and_marks(studied, tmp_path):
  rng = np.random.default_rng(0)
  noise = dict(zip(studied.table.wanted, rng.normal(0, 0.01, 95), strict=True))
  batch = next(iter(studied.sweeps["train.batch_size"].values()))

  def score_of(cell):
    if cell.method == "dhn":
      return 0.3 + noise[cell]
    if cell.variant == batch.variant:
      return 0.6 + noise[cell]
    return 0.6 + noise[cell] if not cell.variant else None

  _finish(studied, tmp_path, score_of)
  text = study.write(studied, tmp_path).read_text()
  assert "15 of 95 runs are done" in text
  scores = study.read_scores(studied, tmp_path)
  preset, other = studied.plain["idhn"], studied.plain["dhn"]
  mean, half = significance.t_interval(scores[other])
  assert f"| dhn    | {mean:.3f} ± {half:.3f} *" in text
  mean, half = significance.t_interval(scores[preset])
  assert f"| idhn   | {mean:.3f} ± {half:.3f} " in text
  assert "not done" in text
  # Welch's test, corrected for the two comparisons that can be made.
  found = study._p_values(studied, scores)
  wanted = stats.ttest_ind(scores[other], scores[preset], equal_var=False)
  assert found[other] == pytest.approx(2 * wanted.pvalue)
  assert found[batch] > 0.05
  assert (tmp_path / "study.png").read_bytes().startswith(b"\x89PNG")
