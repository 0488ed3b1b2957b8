"""Backbones, convolution, pooling, head: shapes, types, gradients, errors."""

import dataclasses
import functools

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from dsh_jax import errors, models
from dsh_jax.models import alexnet, convolution, pooling, resnet


def _shapes(backbone, side=67, **options):
  network = models.create_network(backbone, num_outputs=5, **options)
  image = jax.ShapeDtypeStruct((2, side, side, 3), jnp.float32)
  return network, image, jax.eval_shape(network.init, jax.random.key(0), image)


# Numbers of parameters without the classifier, of torchvision's networks.
@pytest.mark.parametrize(
  "backbone,features,num_parameters",
  [
    ("resnet18", 512, 11_176_512),
    ("resnet34", 512, 21_284_672),
    ("resnet50", 2048, 23_508_032),
    ("resnet101", 2048, 42_500_160),
    ("alexnet", 4096, 57_003_840),
    ("alexnet_caffe", 4096, 56_868_224),
    ("alexnet_dsrh", 4096, 57_003_840),
    ("caffenet", 4096, 56_868_224),
    ("efficientnet_lite0", 1280, 3_371_008),
    ("tiny", None, None),
  ],
)
def test_sizes_and_types(backbone, features, num_parameters):
  network, image, variables = _shapes(backbone, dtype=jnp.bfloat16)
  leaves = jax.tree.leaves(variables)
  assert {x.dtype for x in leaves} == {jnp.dtype("float32")}
  size = sum(x.size for x in jax.tree.leaves(variables["params"]["backbone"]))
  assert num_parameters in (None, size)
  actual = jax.eval_shape(
    lambda *a: network.apply(*a, method="features"), variables, image
  )
  assert actual.dtype == jnp.float32
  assert actual.shape[1] == (features or actual.shape[1])
  logits = jax.eval_shape(network.apply, variables, image)
  assert (logits.shape, logits.dtype) == ((2, 5), jnp.float32)


def test_every_backbone_has_a_size_test():
  (mark,) = test_sizes_and_types.pytestmark
  assert {row[0] for row in mark.args[1]} == set(models.BACKBONES)


@pytest.mark.parametrize(
  "backbone,feature_layers,widths",
  [
    ("resnet50", ("stage3", "stage4"), (1024, 2048)),
    ("alexnet", ("fc6", "fc7"), (4096, 4096)),
  ],
)
def test_each_feature_layer_has_a_dense_layer(backbone, feature_layers, widths):
  _, _, variables = _shapes(backbone, feature_layers=feature_layers)
  head = variables["params"]["head"]
  assert {layer: head[layer]["kernel"].shape for layer in head} == {
    layer: (width, 5)
    for layer, width in zip(feature_layers, widths, strict=True)
  }
  assert [layer for layer in head if "bias" in head[layer]] == [
    feature_layers[-1]
  ]


def test_head_options():
  _, _, variables = _shapes(
    "alexnet", head={"use_bias": False, "batch_norm": True}
  )
  assert sorted(variables["params"]["head"]) == ["bn", "dense"]
  assert "bias" not in variables["params"]["head"]["dense"]
  assert variables["batch_stats"]["head"]["bn"]["mean"].shape == (5,)


@pytest.mark.parametrize(
  "options,message",
  [
    ({"backbone": "resnet81"}, "resnet18.*config.model.backbone"),
    ({"feature_layers": ("stage9",)}, "stage.*config.model.feature_layers"),
    ({"head": {"bias": True}}, "use_bias"),
    ({"num_outputs": 0}, "at least 1.*config.bits"),
  ],
)
def test_unknown_options_are_refused(options, message):
  with pytest.raises(errors.UserError, match=message):
    models.create_network(**options)


@pytest.mark.parametrize(
  "backbone,side",
  [("alexnet", 63), ("alexnet_caffe", 67), ("alexnet_dsrh", 64)],
)
def test_alexnet_refuses_small_images(backbone, side):
  _shapes(backbone, side=side)
  with pytest.raises(errors.UserError, match=f"{side} x {side}.*image_size"):
    _shapes(backbone, side=side - 1)


def test_rematerialised_gradient_is_the_same():
  images = jax.random.normal(jax.random.key(1), (2, 16, 16, 3))
  gradients = []
  for remat in (False, True):
    network = resnet.ResNet(stage_sizes=(1, 1), width=4, remat=remat)
    variables = jax.jit(network.init, static_argnums=2)(
      jax.random.key(0), images, False
    )

    def loss(params, network=network, variables=variables):
      feature_layers, _ = network.apply(
        {**variables, "params": params}, images, True, mutable=["batch_stats"]
      )
      return jnp.sum(jnp.square(feature_layers["stage2"]))

    gradients.append(jax.jit(jax.grad(loss))(variables["params"]))
  for a, b in zip(*map(jax.tree.leaves, gradients), strict=True):
    np.testing.assert_allclose(a, b, rtol=1e-3, atol=1e-4)


def test_dropout_only_in_training():
  network, _, shapes = _shapes("alexnet_caffe", feature_layers=("fc6", "fc7"))
  variables = jax.tree.map(lambda x: np.full(x.shape, 0.01, x.dtype), shapes)
  images = np.ones((1, 67, 67, 3), np.float32)

  @functools.partial(jax.jit, static_argnames="train")
  def features(variables, key, train):
    return network.apply(
      variables, images, train, rngs={"dropout": key}, method="features"
    )

  keys = jax.random.split(jax.random.key(0))
  first, second = (features(variables, key, train=True) for key in keys)
  inference = features(variables, keys[0], train=False)
  # Dropout applies to fc7 only.
  np.testing.assert_allclose(first[:, :4096], inference[:, :4096], rtol=1e-5)
  assert np.any(first[:, 4096:] != second[:, 4096:])


@pytest.mark.parametrize(
  "window,stride,padding", [(3, 2, 1), (3, 2, 0), (2, 2, 0)]
)
def test_max_pool_and_its_gradient(window, stride, padding):
  x = jax.random.normal(jax.random.key(0), (2, 9, 8, 3))

  def reference(x):
    edge = (padding, padding)
    return jax.lax.reduce_window(
      x,
      -jnp.inf,
      jax.lax.max,
      (1, window, window, 1),
      (1, stride, stride, 1),
      ((0, 0), edge, edge, (0, 0)),
    )

  actual, pull = jax.vjp(
    lambda x: pooling.max_pool(x, window, stride, padding), x
  )
  expected, pull_reference = jax.vjp(reference, x)
  np.testing.assert_array_equal(actual, expected)
  cotangent = jax.random.normal(jax.random.key(1), actual.shape)
  np.testing.assert_allclose(
    pull(cotangent)[0], pull_reference(cotangent)[0], rtol=1e-6
  )


def test_max_pool_gives_the_gradient_to_the_first_maximum():
  x = jnp.zeros((1, 9, 8, 2))
  _, pull = jax.vjp(lambda x: pooling.max_pool(x, 3, 2, 1), x)
  gradient = pull(jnp.ones((1, 5, 4, 2)))[0]
  expected = np.zeros((9, 8))
  # Padding is -infinity, so the first maximum of an edge window is inside.
  expected[np.ix_([0, 1, 3, 5, 7], [0, 1, 3, 5])] = 1
  np.testing.assert_array_equal(gradient[0, ..., 0], expected)


@pytest.mark.parametrize("window,stride,padding", [(3, 2, 1), (3, 2, 0)])
def test_max_pool_keeps_the_gradient_when_xla_recomputes_its_input(
  window, stride, padding
):
  # XLA fuses the normalisation into both passes and rounds it differently.
  rng = np.random.default_rng(0)
  images, kernel, next_kernel = (
    jnp.asarray(rng.normal(size=shape), jnp.float32)
    for shape in ((2, 24, 24, 3), (3, 3, 3, 8), (3, 3, 8, 8))
  )

  def layer(x, kernel):
    x = jax.lax.conv_general_dilated(
      x, kernel, (1, 1), "SAME", dimension_numbers=("NHWC", "HWIO", "NHWC")
    )
    mean = x.mean((0, 1, 2), keepdims=True)
    variance = (x**2).mean((0, 1, 2), keepdims=True) - mean**2
    return nn.relu((x - mean) * jax.lax.rsqrt(variance) * 1.01 + 0.013)

  def slope(pool):
    def objective(kernel):
      x = pool(layer(images, kernel), window, stride, padding)
      return (layer(x, next_kernel) ** 3).mean()

    return jax.jit(jax.grad(objective))(kernel)

  def reference(x, window, stride, padding):
    edge = (padding, padding)
    return nn.max_pool(x, (window,) * 2, (stride,) * 2, (edge, edge))

  np.testing.assert_allclose(
    slope(pooling.max_pool), slope(reference), rtol=1e-4, atol=1e-6
  )


@pytest.mark.parametrize("height,width", [(6, 6), (5, 13), (3, 12), (1, 7)])
def test_adaptive_average_pool(height, width):
  x = np.random.default_rng(0).normal(size=(2, height, width, 3))
  expected = np.empty((2, 6, 6, 3))
  for i in range(6):
    for j in range(6):
      rows = slice(i * height // 6, -(-(i + 1) * height // 6))
      columns = slice(j * width // 6, -(-(j + 1) * width // 6))
      expected[:, i, j] = x[:, rows, columns].mean((1, 2))
  actual = pooling.adaptive_average_pool(jnp.asarray(x, jnp.float32), 6)
  np.testing.assert_allclose(actual, expected, rtol=1e-5, atol=1e-6)


def test_response_normalisation():
  x = np.random.default_rng(0).normal(size=(1, 2, 2, 7)) * 100
  expected = np.empty_like(x)
  for c in range(7):
    near = x[..., max(c - 2, 0) : c + 3]
    expected[..., c] = x[..., c] / (1 + 1e-4 / 5 * (near**2).sum(-1)) ** 0.75
  actual = alexnet.normalize_responses(jnp.asarray(x, jnp.float32))
  np.testing.assert_allclose(actual, expected, rtol=1e-5)


# Image side, sides after the first two stages, layers after their convolutions
# and normalize_bias, as in the authors' code.
_AFTER = {
  "alexnet_caffe": (227, (27, 13), "relu normalize pool", 1),
  "caffenet": (227, (27, 13), "relu pool normalize", 1),
  "alexnet_dsrh": (224, (27, 13), "relu normalize pool", 2),
}


@pytest.mark.parametrize("backbone", _AFTER)
def test_order_of_normalisation_and_pooling(backbone):
  image_side, sides, order, bias = _AFTER[backbone]
  stages = models.create_network(backbone).backbone.stages
  rng = np.random.default_rng(0)
  side = image_side
  for number, stage in enumerate(stages[:2]):
    module = alexnet.ConvolutionStage(stage)
    shape = jax.ShapeDtypeStruct((1, side, side, 3 if number == 0 else 64), "f")
    side = jax.eval_shape(
      lambda x, module=module: module.init_with_output(jax.random.key(0), x)[0],
      shape,
    ).shape[1]
    assert side == sides[number]

    # An identity convolution.
    x = 1000 * rng.normal(size=(1, 9, 9, stage.channels)).astype(np.float32)
    alone = dataclasses.replace(stage, kernel=1, stride=1, padding=(0, 0),
                                groups=1)  # fmt: skip
    identity = {
      "kernel": np.eye(stage.channels, dtype=np.float32)[None, None],
      "bias": np.zeros(stage.channels, np.float32),
    }
    actual = alexnet.ConvolutionStage(alone).apply(
      {"params": {"conv": identity}}, x
    )
    steps = order.split()
    if backbone == "alexnet_dsrh" and number == 0:
      steps = ["normalize", "pool", "relu"]
    expected = x.astype(np.float64)
    for step in steps:
      expected = _LAYERS[step](expected, bias)
    np.testing.assert_allclose(actual, expected, rtol=1e-4, atol=1e-3)


def _normalized(x, bias):
  padded = np.pad(x**2, ((0, 0),) * 3 + ((2, 2),))
  total = sum(padded[..., i : i + x.shape[-1]] for i in range(5))
  return x / (bias + 2e-5 * total) ** 0.75


def _pooled(x, bias):
  windows = np.lib.stride_tricks.sliding_window_view(x, (3, 3), (1, 2))
  return windows[:, ::2, ::2].max(axis=(-1, -2))


_LAYERS = {
  "relu": lambda x, bias: np.maximum(x, 0),
  "normalize": _normalized,
  "pool": _pooled,
}


@pytest.mark.parametrize(
  ("batch", "size", "side", "stride", "padding"),
  [
    (1, (9, 7), 1, 1, "SAME"),
    (5, (9, 7), 3, 2, ((1, 1), (1, 1))),
    (35, (9, 7), 3, 1, "VALID"),
    (3, (2, 2), 3, 1, ((1, 1), (1, 1))),  # Smaller than the kernel.
    (3, (4, 3), 3, 2, ((0, 1), (1, 1))),
  ],
)
def test_convolution_equals_lax(batch, size, side, stride, padding):
  rng = np.random.default_rng(0)
  images = rng.normal(size=(batch, *size, 3)).astype(np.float32)
  kernel = rng.normal(size=(side, side, 3, 4)).astype(np.float32)

  def gradient(convolve):
    def squares(images, kernel):
      y = convolve(
        images,
        kernel,
        (stride, stride),
        padding,
        dimension_numbers=("NHWC", "HWIO", "NHWC"),
      )
      return jnp.mean(jnp.square(y))

    return jax.jit(jax.value_and_grad(squares, (0, 1)))(images, kernel)

  jax.tree.map(
    functools.partial(np.testing.assert_allclose, rtol=1e-4, atol=1e-5),
    gradient(convolution.conv_general_dilated),
    gradient(jax.lax.conv_general_dilated),
  )
