"""Reading compiled programs, and the command where there is no compiler.

program_v5e.hlo is what a TPU compiler made, for four chips, of one layer, a
loss over gathered values and a mean of gradients, without layouts.
"""

import dataclasses
import importlib.util
import pathlib
import subprocess
import sys

import jax
import pytest

from benchmarks.compile_ahead import (
  __main__,
  collectives,
  cost,
  hlo,
  overview,
  programs,
  report,
  targets,
)
from configs import digits, features, listfile
from dsh_jax import errors, parallel
from dsh_jax.runs import flop

TEXT = pathlib.Path(__file__).with_name("program_v5e.hlo").read_text()
ROOT = pathlib.Path(__file__).parents[2]

LOOP = """
%body (p: (s32[], f32[8])) -> (s32[], f32[8]) {
  %work = f32[8]{0} fusion(%x), calls=%f, metadata={op_name="jit(f)/loss/a"}, \
backend_config={"estimated_cycles":"10"}
}

%condition (p: (s32[], f32[8])) -> pred[] {
  %bound = s32[] BOUND
  ROOT %less = pred[] compare(%i, %bound), direction=LT
}

ENTRY %main (p: f32[8]) -> f32[8] {
  %before = f32[8]{0} copy(%p), backend_config={"estimated_cycles":"3"}
  ROOT %loop = (s32[], f32[8]) while(%t), condition=%condition, body=%body
}
"""


def test_cycles_by_layer_and_kind():
  program = hlo.Program(TEXT)
  found = {
    (cost.layer_of(program, i), cost.kind_of(program, i)): i.cycles
    for i, repeats in program.executed()
    if i.cycles and repeats == 1
  }
  assert set(found) == {
    ("backbone/conv1", "convolution"),
    ("loss", "elementwise"),
    ("backbone/conv1 backward", "convolution"),
    ("optimizer", "elementwise"),
  }
  assert all(cycles > 100 for cycles in found.values())


def test_collectives():
  found = collectives.read(hlo.Program(TEXT))
  assert found == {
    "all-gather": collectives.Collective(1, 4 * 512 * 128),
    "all-reduce": collectives.Collective(1, 4 * 256 * 128),
    "reduce-scatter": collectives.Collective(1, 4 * 128 * 128),
  }
  assert collectives.sent("all-reduce", 400, 4) == 600
  assert collectives.sent("all-gather", 400, 4) == 300
  assert collectives.sent("reduce-scatter", 100, 4) == 300


@pytest.mark.parametrize(
  "bound, rounds, num_open", [("constant(7)", 7, 0), ("parameter(1)", 1, 1)]
)
def test_a_loop_counts_by_its_length(bound, rounds, num_open):
  program = hlo.Program(LOOP.replace("BOUND", bound))
  cycles = sum(i.cycles * n for i, n in program.executed())
  assert cycles == 3 + 10 * rounds
  assert len(program.open_loops) == num_open


def test_targets():
  target = targets.parse("v5e:16x16")
  assert (target.num_chips, target.chip.platform) == (256, "tpu")
  for name in ("v5e", "v9:2x2", "v5e:2xx2", "h100:"):
    with pytest.raises(errors.UserError, match="CHIP:SHAPE"):
      targets.parse(name)


FOUND = cost.Cost(
  argument_bytes=2_000_000,
  temporary_bytes=0,
  peak_bytes=3_000_000,
  fits=True,
  flop=1.97e11,
  bytes_accessed=5e9,
  cycles=3_000_000,
  ms=2.0,
  mfu=0.5,
  collectives={"all-reduce": collectives.Collective(2, 800)},
  by_layer={"loss": 3_000_000},
  by_kind={"sort": 3_000_000},
  open_loops=0,
)
SETTINGS = {
  "method": "idhn",
  "backbone": "resnet50",
  "dtype": "bfloat16",
  "parallel": "jit",
  "batch": 1024,
}


def test_page():
  about = {"target": "v5e:2x4", "settings": {"bits": 64}, "versions": "jax 1"}
  page = report.page(about, {"train": FOUND})
  assert (
    "| train | 2.0 | 0.0 | 3.0 | yes | 197.0 | 5.00 | 3.00 | 2.000 | 50 % |"
    in page
  )
  assert "| train | all-reduce | 2 | 800 | 1,400 |" in page
  assert "| train | sort | 3.00 | 100.0 % |" in page


def test_overview(tmp_path):
  about = {"target": "v5e:2x4", "settings": SETTINGS, "versions": "jax 1"}
  plain = dataclasses.replace(FOUND, cycles=4_000_000)
  report.write(tmp_path, "step", about, {"train": FOUND, "reference": plain})
  about["settings"] = {"losses": "alone", "batch": 1024}
  loss = dataclasses.replace(FOUND, ms=0.1)
  report.write(tmp_path, "losses", about, {"idhn": loss})
  text = overview.write(tmp_path)
  assert "| 2.0 | 50 % | 0.750 | [page](step.md) |" in text
  assert "| v5e | 8 | 1,024 | idhn | 3.0 | 0.100 | 5.0 % |" in text


@pytest.mark.parametrize("kind", ["pmap", "jit"])
@pytest.mark.parametrize(
  "config, sent",
  [
    (digits.get_config("method=idhn"), "ui8"),
    (features.get_config("method=idhn"), "f32"),
    (listfile.get_config("method=idhn"), "f32"),  # Frozen.
  ],
  ids=["images", "features", "frozen"],
)
def test_programs_are_those_of_a_run(config, sent, kind):
  with config.unlocked():
    config.parallel = kind
  config.train.batch_size = 16
  made = programs.Programs(config, 5, jax.devices()[:2], num_features=48)
  for traced in (made.train_step(), made.encode_step(8)):
    assert "tensor<" in traced.lower().as_text()
    batch = traced.in_avals[0][1]
    assert batch.shape[-1] == (3 if sent == "ui8" else 48)
    assert str(batch.dtype) == ("uint8" if sent == "ui8" else "float32")
  seed, rate = jax.tree.leaves(made.train_step().in_avals[0][3])
  assert (str(seed.dtype), str(rate.dtype)) == ("int32", "float32")


def test_the_yardstick_has_the_options_of_our_step(monkeypatch):
  device = jax.devices()[0]
  monkeypatch.setitem(
    parallel._COMPILER_OPTIONS, device.device_kind, {"no_such_option": "1"}
  )
  config = digits.get_config("method=idhn")
  config.train.batch_size = 2
  made = programs.Programs(config, 5, [device])
  with pytest.raises(jax.errors.JaxRuntimeError, match="no_such_option"):
    made.reference_step().lower().compile()
  with pytest.raises(jax.errors.JaxRuntimeError, match="no_such_option"):
    made.loss("idhn", 8).lower().compile()


@pytest.mark.parametrize("start", [1, 100, 5000])
@pytest.mark.parametrize(
  "limit, multiple, most",
  [
    (0, 1, 0),
    (1, 1, 1),
    (2, 1, 2),
    (3, 1, 3),
    (5, 1, 4),
    (100, 1, 96),
    (1023, 1, 768),
    (1024, 1, 1024),
    (9, 10, 0),
    (100, 10, 80),
  ],
)
def test_largest(start, limit, multiple, most):
  asked = []

  def fits(size):
    asked.append(size)
    return size <= limit

  assert __main__.largest(fits, start, multiple) == most
  assert len(asked) == len(set(asked)) and all(n % multiple == 0 for n in asked)


def test_pages_of_other_settings_have_other_names():
  target = targets.parse("v5e:2x4")
  names = {
    __main__.default_name(target, SETTINGS | {key: "other"}) for key in SETTINGS
  }
  assert len(names) == len(SETTINGS)
  assert __main__.default_name(target, SETTINGS) == (
    "v5e_8_idhn_resnet50_bfloat16_jit_1024"
  )


def test_products_on_all_devices_count():
  mesh = jax.sharding.Mesh(jax.devices()[:2], ("batch",))
  spec = jax.sharding.PartitionSpec("batch")
  x = jax.ShapeDtypeStruct((4, 8), "float32")
  mapped = jax.shard_map(
    lambda x: x @ x.T, mesh=mesh, in_specs=spec, out_specs=spec
  )
  assert flop.of_products(mapped, x) == 2 * (2 * 2 * 8 * 2)


@pytest.mark.skipif(
  importlib.util.find_spec("libtpu") is not None, reason="It would compile."
)
def test_a_missing_compiler_is_one_line():
  done = subprocess.run(
    [
      sys.executable,
      "-m",
      "benchmarks.compile_ahead",
      "--target=v5e:2x4",
      "--config=configs/digits.py",
    ],
    cwd=ROOT,
    capture_output=True,
    text=True,
  )
  assert done.returncode == errors.UserError.exit_code
  assert done.stderr.count("\n") == 1
  assert "pip install -e '.[tpu]'" in done.stderr
