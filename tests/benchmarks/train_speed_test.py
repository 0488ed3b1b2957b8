"""The speed table of training and the list of collectives, at tiny sizes."""

import functools

import jax
import jax.numpy as jnp
import pytest

from benchmarks.compile_ahead import collectives as hlo_collectives
from benchmarks.speed import (
  collectives,
  matrix_product,
  train_cell,
  train_speed,
  train_table,
)
from dsh_jax.runs import flop


@pytest.mark.long
def test_measures_and_renders():
  row = train_speed.measure(
    train_cell.TimedStep("tiny", image_size=16, batch_size=16, num_bits=8),
    inputs=["device", "host", "real"],
    num_steps=2,
    num_turns=1,
  )
  assert all(step["count"] == 2 for step in row["steps"].values())
  assert all(seconds > 0 for seconds in row["part_secs"].values())
  assert row["compile_secs"] > 0 and row["argument_bytes"] > 0
  row["steps"]["torch"] = {
    name: 2 * value for name, value in row["steps"]["device"].items()
  }
  row["torch"] = {"torch": "2", "threads": 1}
  text = train_table.render([row])
  assert "ratio 2.00" in train_table.line(row)
  assert text.count("tiny 16, B=16, float32, pmap x 8, idhn") == 3
  for block in text.split("\n\n"):
    if block.startswith("|"):
      assert len({line.count("|") for line in block.splitlines()}) == 1


def test_counts_operations():
  def function(x, kernel, y):
    def body(carry, _):
      return carry @ y, None

    product, _ = jax.lax.scan(body, x[0, 0], length=5)
    images = jax.lax.conv(x, kernel, (1, 1), "SAME")
    return product, images

  x, kernel, y = jnp.ones((2, 4, 6, 6)), jnp.ones((8, 4, 3, 3)), jnp.eye(6)
  assert flop.of_products(function, x, kernel, y) == (
    5 * 2 * 6**3 + 2 * (4 * 3 * 3) * (2 * 8 * 6 * 6)
  )
  # A convolution with a stride and its transpose have the same products.
  strided = functools.partial(
    jax.lax.conv, rhs=kernel, window_strides=(2, 2), padding="SAME"
  )
  forward = flop.of_products(strided, x)
  assert forward == 2 * (4 * 3 * 3) * (2 * 8 * 3 * 3)
  transposed = jax.linear_transpose(strided, x)
  assert flop.of_products(transposed, jnp.ones((2, 8, 3, 3))) == forward
  assert matrix_product.measure("float32", size=8, repeats=1) > 0


def test_reads_collectives():
  program = """
  %a = (f32[64]{0}, bf16[2,3]{1,0}) all-reduce(f32[64]{0} %x, bf16[2,3] %y)
  %b = f32[16,12]{1,0} all-gather(f32[2,12]{1,0} %z), dimensions={0}
  %c = f32[] all-reduce(f32[] %w), to_apply=%add
  %d = f32[8]{0} add(f32[8]{0} %p, f32[8]{0} %q)
  """
  assert collectives.read(program) == {
    "all-reduce": (2, 64 * 4 + 6 * 2 + 4),
    "all-gather": (1, 16 * 12 * 4),
  }
  assert hlo_collectives.sent("all-reduce", 80, 4) == 120
  assert hlo_collectives.sent("all-gather", 80, 4) == 60
  assert hlo_collectives.sent("reduce-scatter", 80, 4) == 240
