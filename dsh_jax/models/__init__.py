"""Networks: images [B,H,W,3] go in, logits [B,K] come out."""

from dsh_jax.models.hash_network import BACKBONES as BACKBONES
from dsh_jax.models.hash_network import VECTORS as VECTORS
from dsh_jax.models.hash_network import HashNetwork as HashNetwork
from dsh_jax.models.hash_network import create_network as create_network
