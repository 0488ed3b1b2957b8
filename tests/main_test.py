"""The command line, as real processes."""

import json
import signal

import commands
import numpy as np
import pytest

SMALL = commands.SMALL


def test_a_run_prints_the_table_and_writes_its_files(command):
  workdir, out, err = command.finished
  assert "ndcg@100" in out and "pessimistic" in out
  about_data = err[: err.index("step 1/16")]
  steps = [line for line in err.splitlines() if line.startswith("step ")]
  assert about_data.startswith("Data: 64 training items, 40 validation queries")
  metadata = json.loads((workdir / "data.json").read_text())
  assert metadata["items"]["database"] == 200 and metadata["labels"] == 10
  assert "Warning" not in err and len(steps) == 7
  result = json.loads((workdir / "result.json").read_text())
  counts = result["counts"]
  assert (counts["queries"], counts["database"]) == (40, 200)
  assert 0 <= counts["queries_without_relevant"] <= 40
  for scores in result["metrics"].values():
    assert scores["pessimistic"] <= scores["expected"] <= scores["optimistic"]
  assert set(result["split_sha256"]) >= {"train", "query", "database"}
  assert result["images_per_sec"] > 0
  assert set(result["baselines"]) == {
    "LSH of pixels, 16 bits",
    "PCA of pixels, 16 bits",
    "ITQ of pixels, 16 bits",
  }
  assert "PCA of pixels, 16 bits    ndcg@100 0." in out
  lines = commands.read_log(workdir)
  losses = [x["step"] for x in lines if "train/loss" in x]
  assert losses == list(range(1, 17))
  assert sum("validation/ndcg@100" in x for x in lines) == 2
  logged = [x for x in lines if "train/loss" in x]
  assert all(x["learning_rate"] > 0 for x in logged)
  assert all(x["perf/images_per_sec"] > 0 for x in logged[1:])
  assert list((workdir / "profile").rglob("*.xplane.pb"))
  assert list(workdir.glob("events.out.tfevents*"))
  assert (workdir / "report.html").exists()
  with np.load(workdir / "codes.npz", allow_pickle=False) as saved:
    assert saved["query_codes"].shape == (40, 1)
    assert saved["database_labels"].shape == (200, 10)


def test_the_same_command_again_prints_without_training(command):
  workdir, out, _ = command.finished
  before = (workdir / "result.json").stat().st_mtime_ns
  again = command.run(*commands.WHOLE, f"--workdir={workdir}")
  assert again == (0, out, "")
  assert (workdir / "result.json").stat().st_mtime_ns == before


def test_selection_of_the_epoch(command, tmp_path):
  none = (
    *SMALL,
    "--config.data.num_validation=0",
    "--config.train.num_epochs=2",
  )
  folders = {select: tmp_path / select for select in ("last", "test_best")}
  refused, *done = command.run_forked(
    [
      [*none, f"--workdir={tmp_path}/refused"],
      *(
        [*none, f"--config.eval.select={select}", f"--workdir={folder}"]
        for select, folder in folders.items()
      ),
    ]
  )
  assert refused[0] == 2 and "config.eval.select='last'" in refused[2]
  assert [code for code, *_ in done] == [0, 0], done
  last, best = (
    json.loads((folder / "result.json").read_text())
    for folder in folders.values()
  )
  assert (last["selected_step"], last["validation"]) == (8, {})
  # As some released code does: selected on the test queries.
  assert (best["select"], best["selected_step"]) == ("test_best", 8)
  assert best["validation"] == {
    f"test/{name}": best["metrics"][name]["expected"]
    for name in ("ndcg@100", "map@all")
  }


@pytest.mark.parametrize(
  "moment",
  [
    commands.has_saved_and_logged,
    commands.is_saving,
    pytest.param(commands.is_evaluating, marks=pytest.mark.long),
  ],
  ids=["training", "saving", "evaluating"],
)
def test_a_killed_run_resumes_bit_identically(command, tmp_path, moment):
  code, _, err = command.run_and_signal(signal.SIGKILL, moment, tmp_path)
  assert code == -signal.SIGKILL, err
  assert not (tmp_path / "result.json").exists()
  code, _, err = command.run(*SMALL, f"--workdir={tmp_path}")
  assert code == 0, err
  assert "step 1/16" not in err, "it started from scratch"
  commands.assert_same_run(tmp_path, command.finished[0])


def test_without_tensorflow_it_trains_and_evaluates(command, tmp_path):
  (tmp_path / "tensorflow.py").write_text("raise ImportError('hidden')")
  code, out, err = command.run(
    *SMALL,
    "--config.tensorboard=True",
    f"--workdir={tmp_path / 'run'}",
    environment={"PYTHONPATH": str(tmp_path)},
  )
  assert code == 0, err
  assert "No TensorBoard files" in err
  table = out.partition("training ")[0]
  assert table and table == command.finished[1].partition("training ")[0]
  assert not list((tmp_path / "run").glob("events*"))


BAD_INPUT = [
  (["--config.bitz=3"], ["'bitz'. Did you mean 'bits'?"]),
  (["--config.bits=many"], ["bits", "many"]),
  (["--config.bits=257"], ["config.bits", "257", "1 to 256"]),
  (["--config=configs/digits.py:method=idnh"], ["'idnh'", "'idhn'?"]),
  (["--config=configs/digits.py:bits"], ["'bits' has no value", "bits=VALUE"]),
  (["--config=configs/nothing.py"], ["configs/nothing.py"]),
  (["--config.model.backbone=resnet5"], ["'resnet5'", "'resnet50'?"]),
  (["--config.data.name=digit"], ["'digit'", "'digits'?"]),
  (["--config.data.protocol=x"], ["config.data.protocol", "digits"]),
  ([*SMALL, "--config.train.batch_size=10000"], ["config.train.batch_size"]),
  (
    # XLA aborts on an unknown flag.
    [*SMALL, "--config.deterministic=True", "--config.train.batch_size=10000"],
    ["config.train.batch_size"],
  ),
  (
    ["--config.train.accumulate=3"],
    ["config.train.batch_size", "devices x config.train.accumulate"],
  ),
  (["--config.optimizer.learning_rate=nan"], ["learning_rate", "nan"]),
  (
    ["--config.eval.select_metric=ndgc@100"],
    ["'ndgc@100'", "config.eval.select_metric"],
  ),
  (["--config.eval.metrics=('map@0',)"], ["'map@0'", "config.eval.metrics"]),
  (["--config.profile=(5,3)"], ["config.profile", "(5, 3)", "first <= last"]),
  ([*SMALL, "--config.profile=(50,60)"], ["config.profile", "16 steps"]),
  (
    ["--config.model.sync_batch_norm=False", "--config.parallel=jit"],
    ["config.parallel", "'jit'", "config.model.sync_batch_norm"],
  ),
  (
    ["--config.model.pretrained=", "--config.data.std=(0.2, 0.0, 0.2)"],
    ["config.data.std", "above 0"],
  ),
  (
    [*SMALL, "--config.data.crop_size=12"],
    ["16 x 16", "got 12 x 12", "config.data.crop_size"],
  ),
  ([*SMALL, "--workdir=/proc/nothing/run"], ["--workdir=/proc/nothing/run"]),
  (["--distributed"], ["--coordinator"]),
  (["surplus"], ["surplus"]),
]


def test_bad_input_gives_one_line_and_no_files(command, tmp_path):
  finished, *_ = command.finished
  workdir = tmp_path / "run"
  cases = [
    ([f"--workdir={workdir}", *arguments], words)
    for arguments, words in BAD_INPUT
  ]
  cases += [
    ([*SMALL, f"--workdir={finished}", "--config.seed=7"], ["seed was 0"]),
    ([*SMALL, f"--workdir={finished / 'config.json'}"], ["not a folder"]),
  ]
  results = command.run_forked([arguments for arguments, _ in cases])
  for (code, out, err), (arguments, words) in zip(results, cases, strict=True):
    assert (code, out) == (2, ""), (arguments, err)
    *before, line = err.splitlines()  # The data are described once read.
    assert not before or before[0].startswith("Data: "), err
    assert line.startswith("dsh_jax: "), err
    assert all(word in line for word in words), err
    assert "Error" not in err and 'File "' not in err, err
  assert not workdir.exists()
  assert "is now 7" in results[-2][2]
