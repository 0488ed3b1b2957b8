"""A finished run, read back from its folder, to encode other images."""

import io
import os
import pathlib
from collections.abc import Sequence
from typing import Any

import jax
import numpy as np
from PIL import Image

from dsh_jax import errors, files, models, parallel, steps
from dsh_jax.config import factories, fields
from dsh_jax.data import images
from dsh_jax.runs import checkpoint, encoding, fingerprints, frozen, workdir

Item = str | os.PathLike | np.ndarray | Image.Image
_PNG_MODES = ("1", "L", "LA", "P", "RGB", "RGBA", "I;16")


class TrainedRun:
  """The selected weights of a run, and all that encoding needs.

  Attributes:
    config: The configuration of the run.
    result: The contents of result.json.
    class_names: Names of the L labels.
    image_size: Side of the images that `encode` takes, pixels.
    num_features: F, if the run takes features; None for images.
    method: The hashing method, without its parameters.
    network: Images -> logits.
    augmentation: Images as stored -> as the network sees them.
    weights: (params, batch_stats) of the selected epoch, host arrays.
    encoder_sha256: Identifies weights and preprocessing; every index that they
      encoded records it.
  """

  def __init__(self, directory: str):
    """Read the run in a folder.

    Args:
      directory: The workdir of a run that has ended.

    Raises:
      UserError: It is not such a folder, its files are damaged, or it has no
        checkpoint of its result.
      StorageError: A checkpoint cannot be read, in several attempts.
    """
    folder = workdir.Workdir(directory)
    held = folder.read_json("config.json")
    self.result = folder.read_json("result.json")
    if held is None or self.result is None:
      raise errors.UserError(
        f"--workdir={directory} does not hold a finished run (config.json and"
        " result.json). Give the folder of one, or run the same command"
        " again to finish it."
      )
    self.config = fields.unflatten(held)
    self.class_names: tuple[str, ...] = tuple(self.result["class_names"])
    self.image_size: int = self.config.data.image_size
    self.method = factories.create_method(self.config, len(self.class_names))
    create = factories.create_network
    if self.config.model.frozen:
      create = factories.create_joined_network
    self.network = create(self.config, self.method)
    vectors = self.config.model.backbone == models.VECTORS
    self.num_features: int | None = (
      self.result["input_shape"][0] if vectors else None
    )
    self.augmentation = factories.create_augmentation(self.config)
    weights = self._read_weights(directory, held)
    backbone = frozen.read(folder) if self.config.model.frozen else {}
    self.encoder_sha256: str = fingerprints.of_encoder(held, weights, backbone)
    recorded = self.result.get("encoder_sha256", self.encoder_sha256)
    if recorded != self.encoder_sha256:
      raise errors.UserError(
        f"The weights of --workdir={directory} are not those that result.json"
        " was written with. Restore its files from a copy, or give another"
        " --workdir."
      )
    self.weights = frozen.join(backbone, *weights) if backbone else weights
    self._encoders: dict[int, Any] = {}  # By batch size per device.

  def encode(
    self, items: Item | Sequence[Item], batch_size: int = 0
  ) -> np.ndarray:
    """Return the codes alone; see `encode_with_outputs`."""
    return self.encode_with_outputs(items, batch_size)[0]

  def encode_with_outputs(
    self, items: Item | Sequence[Item], batch_size: int = 0
  ) -> tuple[np.ndarray, np.ndarray]:
    """Encode images, or features, with all devices.

    Args:
      items: An image or a sequence of N of them, each the path of a file, a
        Pillow image or uint8 [H,W,3] of any size; or uint8 [N,H,W,3]. They are
        resized as in training. For a run on features: float [N,F].
      batch_size: Items that each device encodes at once; a program is compiled
        for each size. 0 fits it to N, up to config.eval.batch_size.

    Returns:
      Packed codes, uint32 [N,ceil(K/32)], and real-valued outputs, float32
      [N,K]; N is 1 for one image.

    Raises:
      UserError: An image cannot be read, the items are of another kind or
        shape, or the network gives NaN.
    """
    if self.num_features is not None:
      items = self._check_vectors(items)
      take = items.__getitem__
    else:
      one = isinstance(items, (str, os.PathLike, Image.Image))
      if one or getattr(items, "ndim", 0) == 3:
        items = [items]
      try:
        items = list(items)
      except TypeError as error:
        raise errors.UserError(
          f"Cannot encode an object of type {type(items).__name__}; give the"
          " path of a file, an image of Pillow, uint8 [height,width,3], or a"
          " sequence of these."
        ) from error

      def take(rows):
        # The last batch repeats its last image, which is read once.
        rows, places = np.unique(rows, return_inverse=True)
        return np.stack([self._pixels(items[row]) for row in rows])[places]

    if not len(items):
      raise errors.UserError(
        "There is nothing to encode. Give one item or more."
      )
    if not batch_size:
      of_device = -(-len(items) // jax.device_count())
      batch_size = 1 << (of_device - 1).bit_length()
      batch_size = min(batch_size, self.config.eval.batch_size)
    encoder, weights = self._encoder(batch_size)
    return encoder.with_outputs(weights, take, len(items))

  def _encoder(self, batch_size):
    if batch_size not in self._encoders:
      mesh = parallel.DeviceMesh("jit")
      step = self.encode_step(with_outputs=True)
      encoder = encoding.BatchEncoder(step, mesh, batch_size)
      self._encoders[batch_size] = encoder, mesh.replicate(self.weights)
    return self._encoders[batch_size]

  def _pixels(self, image):
    if isinstance(image, (str, os.PathLike)):
      try:
        file = files.open_regular(pathlib.Path(image).expanduser())
      except (OSError, ValueError) as error:
        raise _cannot_read(image, errors.describe(error)) from error
    elif isinstance(image, Image.Image):
      file = io.BytesIO()
      saved = image if image.mode in _PNG_MODES else image.convert("RGB")
      saved.save(file, "png", exif=image.getexif(), compress_level=1)
    else:
      pixels = np.asarray(image)
      if pixels.dtype != np.uint8 or pixels.ndim != 3 or pixels.shape[2] != 3:
        raise errors.UserError(
          f"An image is of type {pixels.dtype} and shape {pixels.shape}; it"
          " must be the path of a file, an image of Pillow, or uint8"
          " [height,width,3]."
        )
      if pixels.shape[:2] == (self.image_size,) * 2:
        return pixels
      file = io.BytesIO()  # Resized as a file is.
      Image.fromarray(pixels).save(file, "bmp")
    with file:
      try:
        return images.decode(file, self.image_size, self.config.data.resize)
      except images.UnreadableError as error:
        raise _cannot_read(image, error) from error

  def _check_vectors(self, items):
    found = np.asarray(items)
    if found.dtype.kind != "f" or found.shape[1:] != (self.num_features,):
      raise errors.UserError(
        f"The items are of type {found.dtype} and shape {found.shape}; the run"
        f" takes features, float [N,{self.num_features}]."
      )
    return found

  def encode_step(self, with_outputs: bool = False):
    """Return the function of `steps.make_encode_step` for this run."""
    return steps.make_encode_step(
      self.network, self.method, self.augmentation, with_outputs
    )

  def _read_weights(self, directory, held) -> tuple[Any, Any]:
    # The number of steps does not change the shape of the optimizer's state.
    tx = factories.create_optimizer(self.config, self.method, 1000)
    network = factories.create_network(self.config, self.method)
    if factories.takes_vectors(self.config):
      shape = tuple(self.result["input_shape"])
    else:
      shape = (self.augmentation.crop_size,) * 2 + (3,)
    state = jax.eval_shape(
      lambda: steps.create_state(
        network, self.method, tx, shape, jax.random.key(0)
      )
    )
    state = jax.tree.map(lambda x: np.zeros(x.shape, x.dtype), state)
    best = {"params": state.params, "batch_stats": state.batch_stats}
    with checkpoint.Checkpoints(directory, read_only=True) as saved:
      restored = saved.restore(
        {"state": state, "best": best},
        check=lambda metadata: fingerprints.check_run(
          metadata.get("made_of"), {"config": held}, directory
        ),
      )
    if restored is None:
      raise errors.UserError(
        f"--workdir={directory} has no checkpoints. Give the folder of a run"
        " whose checkpoints were kept."
      )
    tree, metadata = restored
    if metadata["selected_step"] != self.result["selected_step"]:
      raise errors.UserError(
        f"--workdir={directory} has no intact checkpoint with the weights of"
        f" its result, those of step {self.result['selected_step']}. Restore"
        " one from a copy."
      )
    best = tree["best"]
    return best["params"], best["batch_stats"]


def _cannot_read(image, reason):
  return errors.UserError(
    f"Cannot read {errors.printable(str(image))}: {reason}."
  )


def load_run(directory: str) -> TrainedRun:
  """Return the finished run in a folder; see `TrainedRun`.

  Raises:
    UserError: As `TrainedRun`.
  """
  return TrainedRun(directory)
