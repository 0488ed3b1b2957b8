"""Fields shared by the data sets of photographs; not a config by itself.

Images are stored at 256 pixels. The network gets 224: in training a random
crop, flipped at random, otherwise the centre.
"""

import ml_collections

from configs import default


def get_config(name: str, **data) -> ml_collections.ConfigDict:
  """Return the config of a data set, before a method is applied.

  Args:
    name: A key of `dsh_jax.data.DATASETS`.
    **data: Other values of config.data.
  """
  config = default.get_config()
  with config.unlocked():
    config.data.update(
      dict(
        name=name,
        # "" is the first protocol of the data set.
        protocol="",
        image_size=256,
        crop_size=224,
        crop_padding=0,
        flip=True,
        # ImageNet's, as pretrained weights expect.
        mean=(0.485, 0.456, 0.406),
        std=(0.229, 0.224, 0.225),
        **data,
      )
    )
  config.model.backbone = "resnet18"
  config.model.pretrained = ""
  config.train.num_epochs = 30
  config.train.log_every_steps = 10
  config.train.checkpoint_every_steps = 500
  config.train.validate_every_epochs = 5
  config.optimizer.learning_rate = 1e-3
  config.eval.batch_size = 256
  return config
