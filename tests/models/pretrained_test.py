"""Reading weights files, and the errors for wrong ones."""

import json
import pathlib
import pickle
import struct
import subprocess
import sys
import types
import zipfile

import jax
import ml_dtypes
import numpy as np
import pytest
import random_weights
from commands import SMALL

from dsh_jax import errors, files, models
from dsh_jax.apps import weights as weights_app
from dsh_jax.models import naming, pretrained, weight_files
from dsh_jax.runs import trained

FOLDER = pathlib.Path(__file__).parents[1]


def _write_safetensors(path, tensors):
  """Write float32 and bfloat16 arrays in the safetensors format."""
  header, data = {"__metadata__": {"format": "pt"}}, b""
  for name, array in tensors.items():
    first, data = len(data), data + array.tobytes()
    header[name] = {
      "dtype": "F32" if array.dtype == np.float32 else "BF16",
      "shape": list(array.shape),
      "data_offsets": [first, len(data)],
    }
  text = json.dumps(header).encode()
  path.write_bytes(struct.pack("<Q", len(text)) + text + data)


@pytest.fixture(scope="module")
def shapes():
  with np.load(FOLDER / "torch_outputs.npz") as arrays:
    return json.loads(str(arrays["resnet18/shapes"]))


@pytest.fixture(scope="module")
def weights(shapes):
  return random_weights.draw_weights(shapes)


@pytest.fixture(scope="module")
def variables():
  network = models.create_network("resnet18", num_outputs=4)
  image = jax.ShapeDtypeStruct((1, 64, 64, 3), np.float32)
  tree = jax.eval_shape(network.init, jax.random.key(0), image)
  return jax.tree.map(lambda x: np.zeros(x.shape, x.dtype), tree)


def test_reads_the_zip_format_of_torch():
  tensors = weight_files.read(str(FOLDER / "tensors.pth"))
  base = np.arange(12, dtype=np.float32).reshape(3, 4)
  expected = {
    "state_dict.a.weight": base,
    "state_dict.a.transposed": base.T,
    "state_dict.a.row": base[1],
    "state_dict.b.half": np.array([0.5, -2], np.float16),
    "state_dict.b.bfloat16": np.array([0.5, -2], ml_dtypes.bfloat16),
    "state_dict.b.count": np.array(7),
    "state_dict.b.parameter": np.ones(2, np.float32),
  }
  assert sorted(tensors) == sorted(expected)
  for key, array in expected.items():
    assert tensors[key].dtype == array.dtype
    np.testing.assert_array_equal(tensors[key], array)


def test_safetensors_and_npz_give_equal_variables(tmp_path, weights, variables):
  prefixed = {f"module.{name}": array for name, array in weights.items()}
  np.savez(tmp_path / "a.npz", **prefixed)
  floats = {n: x for n, x in weights.items() if x.dtype == np.float32}
  _write_safetensors(tmp_path / "a.safetensors", floats)
  first, second = (
    pretrained.load(str(tmp_path / name), "resnet18", variables)
    for name in ("a.npz", "a.safetensors")
  )
  jax.tree.map(np.testing.assert_array_equal, first, second)
  kernel = first["params"]["backbone"]["layer2_0"]["downsample_conv"]["kernel"]
  np.testing.assert_array_equal(
    kernel, weights["layer2.0.downsample.0.weight"].transpose(2, 3, 1, 0)
  )
  assert first["params"]["head"] is variables["params"]["head"]


def test_bfloat16_safetensors(tmp_path):
  array = np.array([[1.5, -3]], ml_dtypes.bfloat16)
  _write_safetensors(tmp_path / "a.safetensors", {"x": array})
  actual = weight_files.read(str(tmp_path / "a.safetensors"))["x"]
  np.testing.assert_array_equal(actual, array)


def test_code_in_a_pickle_is_not_run(tmp_path):
  trap = tmp_path / "ran"

  class Trap:
    def __reduce__(self):
      return pathlib.Path.touch, (trap,)

  with zipfile.ZipFile(tmp_path / "a.pth", "w") as archive:
    archive.writestr(
      "archive/data.pkl", pickle.dumps({"x": Trap()}, protocol=2)
    )
  with pytest.raises(errors.UserError, match="would run"):
    weight_files.read(str(tmp_path / "a.pth"))
  assert not trap.exists()


def test_reads_the_format_before_torch_1_6():
  old, new = (
    weight_files.read(str(FOLDER / name))
    for name in ("tensors_legacy.pth", "tensors.pth")
  )
  assert list(old) == list(new)
  for name, tensor in new.items():
    assert old[name].dtype == tensor.dtype
    np.testing.assert_array_equal(old[name], tensor)


def test_a_damaged_legacy_file_is_refused(tmp_path):
  content = (FOLDER / "tensors_legacy.pth").read_bytes()
  for number, damaged in enumerate(
    (content[:-3], content[:40], pickle.dumps(0x1950A86A20F9469CFC6C, 2))
  ):
    path = tmp_path / f"{number}.pth"
    path.write_bytes(damaged)
    with pytest.raises(errors.UserError, match="Cannot read the weights file"):
      weight_files.read(str(path))


def test_pickled_numpy_arrays_are_refused(tmp_path):
  np.savez(tmp_path / "a.npz", x=np.array([{}], object))
  with pytest.raises(errors.UserError, match="Cannot read the weights file"):
    weight_files.read(str(tmp_path / "a.npz"))


@pytest.mark.parametrize(
  "name", ["a.safetensors", "a.npz", "a.pth", "cut.pth", "cut.safetensors"]
)
def test_damaged_files_are_refused(tmp_path, name):
  content = b"not weights at all"
  if name == "cut.pth":
    content = (FOLDER / "tensors.pth").read_bytes()[:-20]
  if name == "cut.safetensors":
    array = np.ones((4, 4), np.float32)
    _write_safetensors(tmp_path / name, {"x": array})
    content = (tmp_path / name).read_bytes()[:-1]
  (tmp_path / name).write_bytes(content)
  with pytest.raises(errors.UserError, match="Cannot read") as caught:
    weight_files.read(str(tmp_path / name))
  assert name in str(caught.value) and "\n" not in str(caught.value)


@pytest.mark.parametrize("number", [2**28, 2**32 - 1])
def test_a_large_memo_index_is_refused(tmp_path, number):
  put = struct.pack("<BI", pickle.LONG_BINPUT[0], number)
  with zipfile.ZipFile(tmp_path / "a.pth", "w") as archive:
    archive.writestr("archive/data.pkl", pickle.PROTO + b"\x02}" + put + b".")
  with pytest.raises(errors.UserError, match="numbered"):
    weight_files.read(str(tmp_path / "a.pth"))


def _nested(depth):
  """Return a pickled dictionary with 2^depth paths to one value."""
  value = {}
  for _ in range(depth):
    value = {"a": value, "b": value}
  return pickle.dumps(value, 2)


@pytest.mark.parametrize(
  "members, words",
  [
    ([("data/0", bytes(1000))], "compressed"),
    ([("data/0", bytes(1_000_001))], "would expand to"),
    ([("data.pkl", _nested(24))], "too many dictionaries"),
  ],
  ids=["compressed", "bomb", "nested"],
)
def test_a_file_that_expands_is_refused(tmp_path, monkeypatch, members, words):
  monkeypatch.setattr(files, "_EXPANDED_BYTES", 1_000_000)
  path = tmp_path / "a.pth"
  kind = zipfile.ZIP_STORED if words.startswith("too") else zipfile.ZIP_DEFLATED
  with zipfile.ZipFile(path, "w", kind, compresslevel=1) as archive:
    for name, content in members:
      archive.writestr(f"archive/{name}", content)
  with pytest.raises(errors.UserError, match=words) as caught:
    weight_files.read(str(path))
  assert "\n" not in str(caught.value)


def test_missing_files_and_unknown_endings(tmp_path):
  with pytest.raises(errors.UserError, match="No weights file"):
    pretrained.find(str(tmp_path / "none.pth"))
  (tmp_path / "a.h5").write_bytes(b"")
  with pytest.raises(errors.UserError, match="ending"):
    weight_files.read(str(tmp_path / "a.h5"))


def test_another_network_is_refused(tmp_path, weights, variables):
  path = tmp_path / "a.npz"
  deeper = {**weights, "layer1.2.conv1.weight": np.zeros((64, 64, 3, 3))}
  lacking = {n: x for n, x in weights.items() if n != "bn1.bias"}
  wider = {**weights, "conv1.weight": np.zeros((128, 3, 7, 7), np.float32)}
  for tensors, message in (
    (deeper, r"1 left over \(layer1.2.conv1.weight"),
    (lacking, r"1 missing \(bn1.bias"),
    (wider, r"1 of another shape \(conv1.weight \(7, 7, 3, 128\)"),
  ):
    np.savez(path, **tensors)
    with pytest.raises(errors.UserError, match=message):
      pretrained.load(str(path), "resnet18", variables)


def test_preprocessing(tmp_path, weights):
  path = tmp_path / "model.npz"
  path.write_bytes(b"")
  assert pretrained.preprocessing(str(path), "resnet18") == pretrained.IMAGENET
  assert (
    pretrained.preprocessing(str(path), "alexnet_caffe") == pretrained.CAFFE
  )
  config = tmp_path / "config.json"
  values = {"mean": [0.5, 0.5, 0.5], "std": [0.25, 0.5, 1]}
  config.write_text(json.dumps({"pretrained_cfg": values}))
  actual = pretrained.preprocessing(str(path), "resnet18")
  assert actual == pretrained.Preprocessing((0.5,) * 3, (0.25, 0.5, 1.0))
  config.write_text('{"mean": 3, "std": 1}')
  with pytest.raises(errors.UserError, match="config.json"):
    pretrained.preprocessing(str(path), "resnet18")


def test_hub_ids(tmp_path, monkeypatch):
  monkeypatch.setitem(sys.modules, "huggingface_hub", None)
  with pytest.raises(errors.UserError, match="pip install"):
    pretrained.find("timm/resnet18.a1_in1k")

  def download(repository, name):
    if name == "config.json":
      return str(tmp_path / name)
    if repository == "timm/resnet18.a1_in1k":
      return str(tmp_path / name)
    raise OSError("no network")

  hub = types.SimpleNamespace(hf_hub_download=download)
  monkeypatch.setitem(sys.modules, "huggingface_hub", hub)
  assert pretrained.find("timm/resnet18.a1_in1k") == str(
    tmp_path / "model.safetensors"
  )
  url = "huggingface.co/timm/other/resolve/main/model.safetensors"
  with pytest.raises(errors.UserError, match=url):
    pretrained.find("timm/other")
  with pytest.raises(errors.UserError, match="neither a file"):
    pretrained.find("not/a/repository")


def test_weights_command(tmp_path, weights):
  path = tmp_path / "a.npz"
  lacking = {n: x for n, x in weights.items() if n != "bn1.bias"}
  np.savez(path, **lacking, extra=np.zeros(3))
  command = [sys.executable, "-m", "dsh_jax", "weights"]
  done = subprocess.run(
    [*command, f"--file={path}"], capture_output=True, text=True, check=False
  )
  assert done.returncode == 1, done.stderr
  assert "backbone    resnet18\n" in done.stdout
  assert "missing     1\n            bn1.bias\n" in done.stdout
  assert "left over   1\n            extra\n" in done.stdout
  assert "fc.weight" in done.stdout and "It does not fit." in done.stdout


def test_weights_command_in_process(tmp_path, weights, capsys):
  np.savez(tmp_path / "a.npz", **weights)
  arguments = [f"--file={tmp_path}/a.npz", "--backbone=resnet18"]
  assert weights_app.main(arguments) == 0
  assert capsys.readouterr().out.endswith("It fits.\n")
  with pytest.raises(errors.UserError, match="b.npz.* Change --file"):
    weights_app.main([f"--file={tmp_path}/b.npz"])


def test_torchvision_names_of_a_bottleneck():
  path = ("batch_stats", "layer3_5", "bn3", "var")
  assert naming.torch_name("resnet50", path) == "layer3.5.bn3.running_var"


@pytest.mark.long
def test_a_run_starts_from_the_weights_of_a_file(command, tmp_path, weights):
  path, workdir = tmp_path / "resnet18.npz", tmp_path / "run"
  np.savez(path, **weights)
  code, _, err = command.run(
    *SMALL,
    "--config.model.backbone=resnet18",
    f"--config.model.pretrained={path}",
    "--config.data.num_train=16",
    "--config.train.num_epochs=1",
    "--config.eval.select=last",
    "--config.optimizer.name=sgd",
    "--config.optimizer.learning_rate=1e-12",
    f"--workdir={workdir}",
  )
  assert code == 0, err
  run = trained.TrainedRun(str(workdir))
  assert run.augmentation.mean == pretrained.IMAGENET.mean
  params, batch_stats = run.weights
  np.testing.assert_allclose(
    params["backbone"]["conv1"]["kernel"],
    weights["conv1.weight"].transpose(2, 3, 1, 0),
    atol=1e-9,
  )
  # One update of the running statistics of the file.
  mean = (
    batch_stats["backbone"]["bn1"]["mean"] - 0.9 * weights["bn1.running_mean"]
  )
  assert 0 < abs(mean).max() < 0.5
