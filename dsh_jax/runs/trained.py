"""A finished run, read back from its folder, to encode other images."""

from typing import Any

import jax
import numpy as np

from dsh_jax import errors, parallel, steps
from dsh_jax.config import factories, fields
from dsh_jax.runs import checkpoint, encoding, workdir


class TrainedRun:
  """The selected weights of a run and what belongs to them.

  Attributes:
    config: The configuration of the run.
    result: The contents of result.json.
    class_names: Names of the L labels.
    image_size: Side of the images that `encode` takes, pixels.
    method: The hashing method, without its parameters.
    network: Images -> logits.
    augmentation: Images as stored -> as the network sees them.
    weights: (params, batch_stats) of the selected epoch, host arrays.
  """

  def __init__(self, directory: str):
    """Reads the run in a folder.

    Args:
      directory: The workdir of a run that has ended.

    Raises:
      UserError: It is not such a folder, its files are damaged, or it has no
        checkpoint of its result.
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
    self.network = factories.create_network(self.config, self.method)
    self.augmentation = factories.create_augmentation(self.config)
    self.weights = self._read_weights(directory)
    self._encoder = None

  def encode(self, images: np.ndarray) -> np.ndarray:
    """Encodes images with all devices.

    Args:
      images: uint8 [N,image_size,image_size,3], N >= 1.

    Returns:
      Packed codes, uint32 [N,ceil(K/32)].

    Raises:
      UserError: The network gives NaN.
    """
    if self._encoder is None:
      mesh = parallel.DeviceMesh("jit")
      self._encoder = encoding.BatchEncoder(
        self.encode_step(), mesh, self.config.eval.batch_size
      )
      self._weights_on_devices = mesh.replicate(self.weights)
    return self._encoder(
      self._weights_on_devices, images.__getitem__, len(images)
    )

  def encode_step(self):
    """Returns the function of `steps.make_encode_step` for this run."""
    return steps.make_encode_step(self.network, self.method, self.augmentation)

  def _read_weights(self, directory) -> tuple[Any, Any]:
    # The optimizer's state has the shape of any training of that optimizer.
    tx = factories.create_optimizer(self.config, self.method, 1000)
    state = jax.eval_shape(
      lambda: steps.create_state(
        self.network,
        self.method,
        tx,
        self.augmentation.crop_size,
        jax.random.key(0),
      )
    )
    state = jax.tree.map(lambda x: np.zeros(x.shape, x.dtype), state)
    best = {"params": state.params, "batch_stats": state.batch_stats}
    with checkpoint.Checkpoints(directory, read_only=True) as saved:
      restored = saved.restore({"state": state, "best": best})
    if restored is None:
      raise errors.UserError(
        f"--workdir={directory} has no checkpoints. Give the folder of a run"
        " whose checkpoints were kept."
      )
    tree, metadata = restored
    if metadata["selected_step"] != self.result["selected_step"]:
      raise errors.UserError(
        f"--workdir={directory} has no whole checkpoint with the weights of"
        f" its result, those of step {self.result['selected_step']}. Restore"
        " one from a copy."
      )
    best = tree["best"]
    return best["params"], best["batch_stats"]


def load_run(directory: str) -> TrainedRun:
  """Returns the finished run in a folder; see `TrainedRun`.

  Raises:
    UserError: As `TrainedRun`.
  """
  return TrainedRun(directory)
