"""Networks from images [B,H,W,3] to logits [B,K]."""

from dsh_jax.models.hash_network import BACKBONES as BACKBONES
from dsh_jax.models.hash_network import HashNetwork as HashNetwork
from dsh_jax.models.hash_network import create_network as create_network
