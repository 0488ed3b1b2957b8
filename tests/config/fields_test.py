"""Every config file and every method builds, is valid, and traces a step."""

import functools
import importlib
import pathlib

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from configs import default, digits, methods
from dsh_jax import data, errors, steps
from dsh_jax.config import factories, fields
from dsh_jax.data import augment

FILES = sorted(
  path.stem
  for path in (pathlib.Path(__file__).parents[2] / "configs").glob("*.py")
  if "def get_config(arg" in path.read_text()
)


def _get(file, arg=""):
  return importlib.import_module(f"configs.{file}").get_config(arg)


def _trace(config, num_classes=10):
  """Traces one train step on abstract arrays; returns its metrics."""
  fields.validate(config, num_devices=1)
  method = factories.create_method(config, num_classes)
  network = factories.create_network(config, method)
  tx = factories.create_optimizer(config, method, num_steps=100)
  augmentation = factories.create_augmentation(config)
  batch, size = config.train.batch_size, config.data.image_size
  if vectors := factories.takes_vectors(config):
    shape, augmentation = (32,), augment.Unchanged()
  else:
    shape = (augmentation.crop_size,) * 2 + (3,)
  step = steps.make_train_step(
    network,
    method,
    tx,
    augmentation,
    seed=config.seed,
    batch_size=batch,
    accumulate=config.train.accumulate,
  )
  state = jax.eval_shape(
    functools.partial(steps.create_state, network, method, tx, shape),
    jax.random.key(0),
  )
  images = jax.ShapeDtypeStruct((batch, size, size, 3), jnp.uint8)
  if vectors:
    images = jax.ShapeDtypeStruct((batch, *shape), jnp.float32)
  labels = jax.ShapeDtypeStruct((batch, num_classes), jnp.uint8)
  after, metrics = jax.eval_shape(step, state, images, labels)
  assert jax.tree.structure(after) == jax.tree.structure(state)
  for x, y in zip(jax.tree.leaves(after), jax.tree.leaves(state), strict=True):
    assert (x.shape, x.dtype) == (y.shape, y.dtype)
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
def test_every_protocol_of_a_file_can_be_given(file):
  name = _get(file).data.name
  for protocol in data.DATASETS[name].protocols:
    config = _get(file, f"protocol={protocol},method=dsrh,bits=12")
    assert config.data.protocol == protocol
    fields.validate(config, 8)


@pytest.mark.parametrize("drop_at", [(0.0,), (0.5, 1.0), ("half",)])
def test_drops_are_shares_of_the_training(drop_at):
  config = default.get_config()
  config.optimizer.drop_at = drop_at
  with pytest.raises(errors.UserError, match="config.optimizer.drop_at"):
    fields.validate(config, 1)


@pytest.mark.parametrize("num_steps", [100, 3000])
def test_the_method_knows_the_length_of_the_training(num_steps):
  config = digits.get_config("method=hashnet")
  method = factories.create_method(config, 10, num_steps)
  codes = method.activation(np.full((1, 1), 0.1, np.float32), num_steps)
  np.testing.assert_allclose(codes, np.tanh(0.1 * np.sqrt(51)), rtol=1e-5)


def test_every_field_survives_being_written_and_read():
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
    return  # ml_collections keeps the type; the command line says so.
  try:
    fields.validate(config, 1)
  except errors.UserError as error:
    assert f"config.{path.partition('.')[0]}" in str(error), error
