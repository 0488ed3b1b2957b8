"""A small residual network for small images, fast on a CPU."""

import functools

from dsh_jax.models import resnet

tiny = functools.partial(resnet.ResNet, stage_sizes=(1, 1, 1, 1), width=16)
