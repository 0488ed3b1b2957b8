"""Every config file and every method builds, is valid, and traces a step."""

import importlib
import pathlib

import jax
import numpy as np
import pytest
import traced
from hypothesis import given, settings
from hypothesis import strategies as st

from configs import default, digits, methods
from dsh_jax import data, errors
from dsh_jax.config import factories, fields

FILES = sorted(
  path.stem
  for path in (pathlib.Path(__file__).parents[2] / "configs").glob("*.py")
  if "def get_config(arg" in path.read_text()
)


def _get(file, arg=""):
  return importlib.import_module(f"configs.{file}").get_config(arg)


def _trace(config):
  """Trace one train step on abstract arrays."""
  fields.validate(config, num_devices=1)
  step, _, state, images, labels = traced.make_steps(config)
  after, metrics = jax.eval_shape(step, state, images, labels)

  def types(tree):
    return jax.tree.map(lambda x: (x.shape, x.dtype), tree)

  assert types(after) == types(state)
  assert {"loss", "gradient_norm"} <= set(metrics)
  assert all(x.shape == () for x in metrics.values())


@pytest.mark.parametrize("file", FILES)
def test_every_file_builds_and_traces_a_step(file):
  _trace(_get(file))


@pytest.mark.parametrize("method", sorted(methods.METHODS))
def test_every_method_builds_and_traces_a_step(method):
  config = digits.get_config(f"method={method},bits=16")
  assert (config.method, config.bits) == (method, 16)
  config.train.batch_size = 16
  _trace(config)


@pytest.mark.parametrize("file", FILES)
def test_every_protocol_of_a_file_is_valid(file):
  name = _get(file).data.name
  for protocol in data.DATASETS[name].protocols:
    config = _get(file, f"protocol={protocol},method=dsrh,bits=12")
    assert config.data.protocol == protocol
    fields.validate(config, 8)


@pytest.mark.parametrize("drop_at", [(0.0,), (0.5, 1.0), ("half",)])
def test_drop_at_is_between_0_and_1(drop_at):
  config = default.get_config()
  config.optimizer.drop_at = drop_at
  with pytest.raises(errors.UserError, match="config.optimizer.drop_at"):
    fields.validate(config, 1)


@pytest.mark.parametrize("num_steps", [100, 3000])
def test_hashnet_gets_the_number_of_steps(num_steps):
  config = digits.get_config("method=hashnet")
  method = factories.create_method(config, 10, num_steps)
  codes = method.activation(np.full((1, 1), 0.1, np.float32), num_steps)
  np.testing.assert_allclose(codes, np.tanh(0.1 * np.sqrt(51)), rtol=1e-5)


def test_unflatten_inverts_flatten():
  config = digits.get_config("method=hyp2")
  flat = fields.flatten(config)
  again = fields.unflatten(flat)
  assert fields.flatten(again) == flat
  assert again.data.mean == config.data.mean


@settings(max_examples=300, deadline=None)
@given(
  st.one_of(
    st.text(max_size=40),
    st.lists(
      st.sampled_from(
        ["method", "bits", "seed", "idhn", "=", ",", "32", "-1", "1e3", " "]
      ),
      max_size=12,
    ).map("".join),
  )
)
def test_any_config_string_builds_or_is_refused_in_one_line(arg):
  try:
    config = digits.get_config(arg)
    fields.validate(config, 1)
  except errors.UserError as error:
    assert len(str(error)) > 20
  else:
    assert config.method in methods.METHODS
    assert 1 <= config.bits <= 256


@settings(max_examples=300, deadline=None)
@given(
  st.sampled_from(sorted(fields.flatten(default.get_config()))),
  st.one_of(
    st.integers(-(2**70), 2**70),
    st.floats(),
    st.booleans(),
    st.text(max_size=10),
  ),
)
def test_any_value_of_any_field_is_valid_or_refused(path, value):
  config = default.get_config()
  section, _, name = path.rpartition(".")
  owner = fields.get(config, section) if section else config
  try:
    owner[name] = value
  except (TypeError, ValueError):
    return  # ml_collections checks the type.
  try:
    fields.validate(config, 1)
  except errors.UserError as error:
    assert f"config.{path.partition('.')[0]}" in str(error), error


def test_a_backbone_without_weights_learns_faster_on_own_pictures():
  rates = [
    _get("listfile", f"backbone={name}").optimizer.learning_rate
    for name in ("tiny", "resnet50", "efficientnet_lite0")
  ]
  assert rates == [1e-2, 1e-3, 1e-3]
