"""Features of a backbone in PyTorch, timed on demand by forward_speed.

PYTHONPATH=tests python benchmarks/speed/torch_forward.py BACKBONE BATCH THREADS

For each line of standard input, prints the seconds of one batch of 224 x 224
images. The EfficientNet is that of the package efficientnet-lite-pytorch.
"""

import sys
import time

import make_torch_outputs
import torch


def create_network(backbone: str) -> torch.nn.Module:
  """Create a network with weights drawn by PyTorch."""
  if backbone == "efficientnet_lite0":
    import efficientnet_lite_pytorch

    return efficientnet_lite_pytorch.EfficientNet.from_name(
      "efficientnet-lite0"
    )
  return make_torch_outputs.MODELS[backbone]()


def main(backbone: str, batch_size: int, num_threads: int) -> None:
  """Answer lines of standard input until it ends."""
  torch.set_num_threads(num_threads)
  network = create_network(backbone).eval()
  network = network.to(memory_format=torch.channels_last)
  images = torch.randn(batch_size, 3, 224, 224)
  images = images.to(memory_format=torch.channels_last)
  with torch.inference_mode():
    network(images)
    for _ in sys.stdin:
      started = time.perf_counter()
      network(images)
      print(time.perf_counter() - started, flush=True)


if __name__ == "__main__":
  main(sys.argv[1], int(sys.argv[2]), int(sys.argv[3]))
