"""The same training step in PyTorch, timed on demand by train_speed.

PYTHONPATH=tests python benchmarks/speed/torch_train.py '{"backbone": ...}'

Prints one JSON line when it is warm, then for each line of standard input, a
number of steps, one more with their seconds. The networks are the references
of the tests. Images are float32 on the device, already normalised; our step
starts from uint8 and also crops and flips.
"""

import contextlib
import json
import sys
import time

import make_torch_outputs
import torch
from torch import nn

_WARM_UP = 2


def idhn(codes: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
  """Compute the IDHN loss with our default settings.

  Args:
    codes: [B,K] after tanh.
    labels: [B,L] of 0 and 1.

  Returns:
    The scalar loss.
  """
  num_bits = codes.shape[1]
  unit = nn.functional.normalize(labels, dim=1)
  c = unit @ unit.T
  product = codes @ codes.T
  t = 5 / num_bits * product
  hard = nn.functional.softplus(t) - c * t
  soft = 0.1 * num_bits * ((product + num_bits) / (2 * num_bits) - c) ** 2
  is_soft = (c >= 0.01) & (c <= 0.99)
  quantization = 0.1 * (codes.abs() - 1).abs().mean()
  return torch.where(is_soft, soft, hard).mean() + quantization


def create_network(backbone: str, num_bits: int) -> nn.Module:
  """Create a network with a linear head of `num_bits` outputs."""
  network = make_torch_outputs.MODELS[backbone]()
  if backbone.startswith("resnet"):
    network.fc = nn.Linear(network.fc.in_features, num_bits)
  else:
    network.classifier[6] = nn.Linear(4096, num_bits)
  return network


def make_step(cell: dict):
  """Return the function that takes one step, and the device's name.

  Args:
    cell: backbone, image_size, batch_size, dtype, num_bits, num_classes and
      compile (whether torch.compile is used).
  """
  device = "cuda" if torch.cuda.is_available() else "cpu"
  torch.manual_seed(0)
  network = create_network(cell["backbone"], cell["num_bits"]).to(device)
  network = network.to(memory_format=torch.channels_last).train()
  run = torch.compile(network) if cell["compile"] else network
  tx = torch.optim.AdamW(
    network.parameters(), lr=1e-3, fused=device == "cuda" or None
  )
  size = cell["image_size"]
  images = torch.randn(cell["batch_size"], 3, size, size, device=device)
  images = images.to(memory_format=torch.channels_last)
  shape = (cell["batch_size"], cell["num_classes"])
  labels = (torch.rand(shape, device=device) < 0.12).float()
  casts = contextlib.nullcontext()
  if cell["dtype"] == "bfloat16":
    casts = torch.autocast(device, torch.bfloat16)

  def step():
    tx.zero_grad(set_to_none=True)
    with casts:
      _, logits = run(images)
    idhn(torch.tanh(logits.float()), labels).backward()
    tx.step()
    if device == "cuda":
      torch.cuda.synchronize()

  name = torch.cuda.get_device_name() if device == "cuda" else "cpu"
  return step, name


def main() -> None:
  """Serve one cell."""
  step, device = make_step(json.loads(sys.argv[1]))
  started = time.perf_counter()
  for _ in range(_WARM_UP):
    step()
  ready = {
    "torch": torch.__version__,
    "device": device,
    "threads": torch.get_num_threads(),
    "warm_up_secs": time.perf_counter() - started,
  }
  print(json.dumps(ready), flush=True)
  for line in sys.stdin:
    wall, cpu = [], []
    for _ in range(int(line)):
      start = time.perf_counter(), time.process_time()
      step()
      wall.append(time.perf_counter() - start[0])
      cpu.append(time.process_time() - start[1])
    print(json.dumps({"wall": wall, "cpu": cpu}), flush=True)


if __name__ == "__main__":
  main()
