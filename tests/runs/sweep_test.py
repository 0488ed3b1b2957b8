"""Many heads at once give what single runs give; one of them is chosen."""

import json

import numpy as np
import pytest

from benchmarks.tables import cells, rates, runner, schedule, sweeps
from configs import features as config_file
from configs.tables import features as table_file
from dsh_jax import errors, train
from dsh_jax.config import factories
from dsh_jax.retrieval import codes, real_valued, strict
from dsh_jax.runs import summary, sweep, trained

N, F = 240, 12
# Twelve bits have no Hadamard codebook: that of csq depends on the seed.
BITS = 12
SMALL = {"train.batch_size": 32, "train.num_epochs": 3}


@pytest.fixture(scope="module")
def vectors(tmp_path_factory):
  rng = np.random.default_rng(0)
  labels = (rng.random((N, 4)) < 0.3).astype(np.uint8)
  labels[~labels.any(axis=1), 0] = 1
  x = labels @ rng.standard_normal((4, F)) + rng.standard_normal((N, F)) / 2
  path = tmp_path_factory.mktemp("sweep") / "x.npz"
  np.savez(path, features=(5 + x).astype(np.float32), labels=labels)
  return path


def _config(vectors, method, **more):
  config = config_file.get_config(f"method={method},bits={BITS}")
  config.update_from_flattened_dict(SMALL | more)
  config.data.features = str(vectors)
  return config


@pytest.mark.parametrize("method", ["dpsh", "csq"])
def test_every_seed_is_as_in_a_run_of_its_own(vectors, tmp_path, method):
  config = _config(vectors, method, **{"eval.select": "last", "seed": 1})
  splits = factories.load_splits(config)
  found = sweep.train(config, splits, [0, 1])(splits.database)
  train.train_and_evaluate(config, str(tmp_path / "run"))
  with np.load(tmp_path / "run" / "codes.npz") as saved:
    wanted = codes.unpack(saved["database_codes"], BITS)
  equal = [(codes.unpack(one, BITS) == wanted).mean() for one in found]
  assert equal[1] > 0.995 > equal[0]


def test_auto_keeps_the_best_on_validation_queries(vectors, tmp_path, capsys):
  config = _config(vectors, "auto", **{"choice.methods": ("dsh", "dpsh")})
  result = train.train_and_evaluate(config, str(tmp_path / "run"))
  printed = capsys.readouterr().err
  assert printed.index("Data: ") < printed.index("Trying 2 methods")
  ranking = result["choice"]
  seconds = result["seconds"]["choice"]
  assert seconds >= max(row["secs"] for row in ranking)
  table = summary.table(result)
  assert f"choice of the method {seconds:.1f} s, training" in table
  assert "items/s" in table and "images/s" not in table
  assert {row["method"] for row in ranking} == {"dsh", "dpsh"}
  assert ranking[0]["score"] >= ranking[1]["score"]
  assert result["method"] == ranking[0]["method"]
  assert trained.load_run(str(tmp_path / "run")).method.name == result["method"]
  again = train.train_and_evaluate(config, str(tmp_path / "run"))
  assert again == json.loads(json.dumps(result))


def test_auto_refuses_what_it_cannot_choose(vectors, tmp_path):
  for message, more in (
    ("config.choice.methods", {"choice.methods": ("dsrh_release",)}),
    ("config.data.num_validation", {"data.num_validation": 0}),
  ):
    config = _config(vectors, "auto", **{"eval.select": "last"}, **more)
    with pytest.raises(errors.UserError, match=message):
      train.train_and_evaluate(config, str(tmp_path / "run"))


@pytest.mark.filterwarnings("ignore:the load_module")
def test_a_table_is_made_in_one_process(vectors, tmp_path):
  config = table_file.get_config()
  config.cells = (dict(methods=("dpsh", "csq"), bits=(BITS,), seeds=(0, 1)),)
  overrides = [f"{name}={value}" for name, value in SMALL.items()]
  overrides.append(f"data.features={vectors}")
  table = cells.make_table(config, overrides)
  queue = schedule.Queue(table, tmp_path)
  states = []
  for _ in range(2):  # The second finds all done.
    sweeps.run(
      table, table.wanted, lambda job, state, secs: states.append(state),
      queue.make_job,
    )  # fmt: skip
  assert states == [runner.DONE] * 8
  assert len(list(tmp_path.glob("cells/*/*/codes.npz"))) == 4
  changed = cells.make_table(config, [*overrides, "eval.select=validation"])
  with pytest.raises(errors.UserError, match="eval.select=last"):
    sweeps.run(
      changed, changed.wanted, lambda *_: None,
      schedule.Queue(changed, tmp_path / "b").make_job,
    )  # fmt: skip


@pytest.mark.filterwarnings("ignore:the load_module")
def test_a_table_in_one_process_chooses_rates(vectors, tmp_path):
  config = table_file.get_config()
  config.cells = (dict(methods=("dpsh",), bits=(BITS,), seeds=(0, 1)),)
  config.grid.update(dict(seed=9, bits=BITS, learning_rates=(1e-6, 1e-2)))
  config.grid.further_rates = (1e9,)
  overrides = [f"{name}={value}" for name, value in SMALL.items()]
  overrides.append(f"data.features={vectors}")
  table = cells.make_table(config, overrides)
  queue = schedule.Queue(table, tmp_path)
  titles = []
  sweeps.run(
    table, queue.items(0, 1)[1:],
    lambda job, state, secs: titles.append((job.title, state)),
    queue.make_job,
  )  # fmt: skip
  chosen = rates.choose(table, tmp_path, "dpsh")
  assert set(chosen.scores) == {1e-6, 1e-2}
  assert chosen.states[1e9] == runner.FAILED  # It is not finite.
  assert chosen.is_final and chosen.rate == 1e-2
  assert chosen.scores[1e-2] > 0.05 + chosen.scores[1e-6]
  assert [title for title, state in titles if state == runner.DONE][-2:] == [
    f"dpsh {BITS} bits seed {seed} rate 0.01" for seed in (0, 1)
  ]
  last = tmp_path / f"cells/dpsh/{BITS}bits_seed1/config.json"
  assert json.loads(last.read_text())["optimizer.learning_rate"] == 1e-2


def test_strict_scores_equal_those_with_ties_where_there_are_none():
  rng = np.random.default_rng(0)
  query, database = rng.standard_normal((9, F)), rng.standard_normal((150, F))
  labels = [(rng.random((n, 4)) < 0.3).astype(np.uint8) for n in (9, 150)]
  found = strict.evaluate_cosine(query, database, *labels)
  wanted = real_valued.evaluate_cosine(
    query, database, *labels, names=strict.METRICS
  )["metrics"]
  for name, value in found.items():
    assert value == pytest.approx(wanted[name]["expected"], abs=1e-6)
