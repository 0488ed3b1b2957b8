"""Pairwise losses against loops over all ordered pairs, in float64."""

import itertools

import loss_checks
import numpy as np
import pytest

K = loss_checks.NUM_BITS


def softplus(x):
  return np.logaddexp(0.0, x)


def pair_values(codes, labels):
  """Yield (product, label cosine, shares a label, label IoU, i, j)."""
  labels = labels.astype(np.float64)
  for i, j in itertools.product(range(len(codes)), repeat=2):
    shared = float(labels[i] @ labels[j])
    n_i, n_j = labels[i].sum(), labels[j].sum()
    yield (
      float(codes[i] @ codes[j]),
      shared / np.sqrt(n_i * n_j),
      float(shared > 0),
      shared / (n_i + n_j - shared),
      i,
      j,
    )


def is_hard(c):
  return c < 0.01 or c > 0.99


def mean_abs_deviation(codes):
  return np.mean([abs(abs(x) - 1) for x in codes.ravel()])


def idhn(params, codes, labels, branches="both"):
  costs = []
  for product, c, _, _, _, _ in pair_values(codes, labels):
    t = 5 * product / K
    hard = softplus(t) - c * t
    soft = 0.1 * K * ((product + K) / (2 * K) - c) ** 2
    chosen = {"both": hard if is_hard(c) else soft, "hard": hard, "soft": soft}
    costs.append(chosen[branches])
  return np.mean(costs) + 0.1 * mean_abs_deviation(codes)


def isdh(params, codes, labels):
  costs = []
  for product, c, _, _, _, _ in pair_values(codes, labels):
    t = 5 * product / K
    if is_hard(c):
      costs.append(10 * (softplus(t) - c * t))
    else:
      costs.append((c - 1 / (1 + np.exp(-t))) ** 2)
  return np.mean(costs) + 0.1 * mean_abs_deviation(codes)


def idhn_deephash_pytorch(params, codes, labels):
  costs = []
  for product, c, _, _, _, _ in pair_values(codes, labels):
    t = 0.5 * product
    if is_hard(c):
      costs.append(softplus(t) - c * t)
    else:
      costs.append(0.1 * (t + K - 2 * c * K) ** 2)
  return np.mean(costs) + 0.1 * mean_abs_deviation(codes)


def dhn(params, codes, labels):
  costs = [
    softplus(0.5 * product) - y * 0.5 * product
    for product, _, y, _, _, _ in pair_values(codes, labels)
  ]
  prior = np.mean([np.log(np.cosh(abs(x) - 1)) for x in codes.ravel()])
  return np.mean(costs) + 0.1 * prior


def dpsh(params, codes, labels):
  costs = [
    softplus(0.5 * product) - y * 0.5 * product
    for product, _, y, _, _, _ in pair_values(codes, labels)
  ]
  deviation = np.mean([(x - (1 if x > 0 else -1)) ** 2 for x in codes.ravel()])
  return np.mean(costs) + 0.1 * deviation


def hashnet(params, codes, labels):
  similar, dissimilar = [], []
  for product, _, y, iou, _, _ in pair_values(codes, labels):
    t = 10 * product / K
    (similar if y else dissimilar).append(
      iou * (softplus(t) - t) if y else softplus(t)
    )
  # With |S|/|S1| and |S|/|S0|, the mean over all pairs becomes two means.
  return np.mean(similar) + (np.mean(dissimilar) if dissimilar else 0)


def hashnet_release(params, codes, labels):
  total = weights = 0.0
  for product, _, y, _, _, _ in pair_values(codes, labels):
    t, w = 10 * product / K, 5.0 if y else 1.0
    total += w * (softplus(t) - y * t)
    weights += w
  return total / weights


def dsh(params, codes, labels):
  costs = []
  for _, _, y, _, i, j in pair_values(codes, labels):
    d2 = ((codes[i] - codes[j]) ** 2).sum()
    costs.append(0.5 * d2 if y else 0.5 * max(0.0, 2 * K - d2))
  penalty = np.mean([np.abs(np.abs(row) - 1).sum() for row in codes])
  return np.mean(costs) + 0.01 * penalty


def cosine(x, y):
  return x @ y / np.sqrt((x @ x) * (y @ y))


def dqn_cosine(params, codes, labels):
  return np.mean(
    [
      (cosine(codes[i], codes[j]) - (2 * y - 1)) ** 2
      for _, _, y, _, i, j in pair_values(codes, labels)
    ]
  )


def dch(params, codes, labels):
  similar, dissimilar = [], []
  for _, _, y, _, i, j in pair_values(codes, labels):
    d = K / 2 * (1 - cosine(codes[i], codes[j]))
    if y:
      similar.append(np.log(1 + d / 20))
    else:
      dissimilar.append(np.log(1 + 20 / max(d, 1e-3)))
  ones = np.ones(K)
  prior = np.mean(
    [np.log(1 + K / 2 * (1 - cosine(np.abs(h), ones)) / 20) for h in codes]
  )
  return (
    np.mean(similar) + (np.mean(dissimilar) if dissimilar else 0) + 0.1 * prior
  )


REFERENCES = {
  "idhn": idhn,
  "isdh": isdh,
  "idhn_deephash_pytorch": idhn_deephash_pytorch,
  "dhn": dhn,
  "dpsh": dpsh,
  "hashnet": hashnet,
  "dsh": dsh,
  "dqn_cosine": dqn_cosine,
  "dch": dch,
}


@pytest.mark.parametrize("name", REFERENCES)
def test_equals_loop(name):
  loss_checks.check_value(name, REFERENCES[name])
  loss_checks.check_gradient(name, REFERENCES[name])


@pytest.mark.parametrize("branches", ["hard", "soft"])
def test_idhn_with_one_branch_equals_loop(branches):
  def reference(params, codes, labels):
    return idhn(params, codes, labels, branches)

  loss_checks.check_value("idhn", reference, branches=branches)
  loss_checks.check_gradient("idhn", reference, branches=branches)


def test_hashnet_of_the_release_equals_loop():
  settings = {"form": "release", "positive_weight": 5.0}
  loss_checks.check_value("hashnet", hashnet_release, **settings)
  loss_checks.check_gradient("hashnet", hashnet_release, **settings)


def test_idhn_by_hand():
  # All pairs are hard: t = 5 on the diagonal, -5 off it. Codes are saturated.
  _, params, function = loss_checks.compiled("idhn", 2, 2)
  codes = np.array([[1, 1], [-1, -1]], np.float32)
  (value, terms), _ = function(params, codes, np.eye(2, dtype=np.uint8))
  np.testing.assert_allclose(value, np.log(1 + np.exp(-5)), rtol=1e-5)
  assert terms["soft_pairs"] == 0 and terms["quantization"] == 0


def test_idhn_soft_pair_costs_nothing_at_its_optimum():
  # For c = 1/2 it is at <h_i,h_j> = (2c - 1) K = 0.
  _, params, function = loss_checks.compiled("idhn", 2, 3)
  codes = np.array([[1, 1], [1, -1]], np.float32)
  labels = np.array([[1, 1, 0], [0, 1, 1]], np.uint8)
  (_, terms), _ = function(params, codes, labels)
  assert terms["mse"] == 0 and terms["soft_pairs"] == 0.5
