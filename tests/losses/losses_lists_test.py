"""Triplet and listwise losses against loops over anchors, in float64."""

import fractions
import itertools

import jax
import jax.numpy as jnp
import loss_checks
import numpy as np
import pytest

from dsh_jax import losses
from dsh_jax.losses import hinges, logistic, ranking, triplets

K = loss_checks.NUM_BITS


def overlaps(labels):
  labels = labels.astype(np.int64)
  return labels @ labels.T


def gain(shared, unit=0):
  """(2^s - 1) / 2^unit, from integers of any size."""
  return float(fractions.Fraction(2 ** int(shared) - 1, 2 ** int(unit)))


def ideal_dcg(shared):
  """The ideal DCG in units of 2^(largest overlap)."""
  best = sorted(shared, reverse=True)
  gains = [gain(s, best[0]) for s in best]
  return sum(g / np.log2(rank + 2) for rank, g in enumerate(gains))


def dsrh(params, codes, labels, normalizer="ideal"):
  s = overlaps(labels).astype(object)  # Integers of any size.
  items = range(len(codes))
  total = 0.0
  for q in items:
    others = [i for i in items if i != q]
    best = sorted((s[q, i] for i in others), reverse=True)
    # Gains and normaliser are in units of 2^top.
    top = 0 if normalizer == "none" else best[0]
    z = {
      "ideal": ideal_dcg(best),
      "top2": gain(best[0], top) / np.log(2) + gain(best[1], top) / np.log(3),
      "none": 1.0,
    }[normalizer]
    d = [(K - codes[q] @ codes[i]) / 2 for i in items]
    for i, j in itertools.permutations(others, 2):
      if s[q, i] > s[q, j]:
        weight = (gain(s[q, i], top) - gain(s[q, j], top)) / (z or 1)
        total += weight * max(0.0, 5 * K / 64 + d[i] - d[j])
  balance = 0.5 * (codes.mean(axis=0) ** 2).sum()
  return total / len(codes) + len(codes) / 4 * balance


def mean_over_triplets(labels, cost):
  s = overlaps(labels)
  items = range(len(labels))
  means = []
  for a in items:
    positives = [p for p in items if p != a and s[a, p] > 0]
    negatives = [n for n in items if s[a, n] == 0]
    values = [cost(a, p, n) for p in positives for n in negatives]
    if values:
      means.append(np.mean(values))
  return np.mean(means) if means else 0.0


def dtsh(params, codes, labels):
  t = 0.5 * codes @ codes.T
  value = mean_over_triplets(
    labels, lambda a, p, n: np.logaddexp(0, -(t[a, p] - t[a, n] - K / 2))
  )
  deviation = [(u - (1 if u > 0 else -1)) ** 2 for u in codes.ravel()]
  return value + 0.00444 * K * np.mean(deviation)


def nin_triplet(params, codes, labels):
  def d2(i, j):
    return ((codes[i] - codes[j]) ** 2).sum()

  return mean_over_triplets(
    labels, lambda a, p, n: max(0.0, 1 + d2(a, p) - d2(a, n))
  )


def histogram(distances, weights, width=2):
  counts = np.zeros(K // width + 1)
  for d, w in zip(distances, weights, strict=True):
    for k in range(len(counts)):
      counts[k] += w * max(0.0, 1 - abs(d - width * k) / width)
  return counts


def entropy(counts):
  p = counts[counts > 0] / counts.sum() if counts.sum() else np.zeros(0)
  return -(p * np.log2(p)).sum()


def lists(codes, labels):
  """Yield, per query, distances and overlaps of the other items."""
  s = overlaps(labels)
  for q in range(len(codes)):
    others = np.array([i for i in range(len(codes)) if i != q])
    yield (K - codes[others] @ codes[q]) / 2, s[q, others]


def mihash(params, codes, labels, width=2):
  values = []
  for d, s in lists(codes, labels):
    near = histogram(d, s > 0, width)
    far = histogram(d, s == 0, width)
    share = (s > 0).mean()
    conditional = share * entropy(near) + (1 - share) * entropy(far)
    values.append(entropy(near + far) - conditional)
  return -np.mean(values)


def talr_ap(params, codes, labels, width=2):
  values = []
  for d, s in lists(codes, labels):
    if not (s > 0).any():
      continue
    relevant = histogram(d, s > 0, width)
    items = histogram(d, np.ones(len(d)), width)
    ap = relevant_before = items_before = 0.0
    for c_relevant, c in zip(relevant, items, strict=True):
      ap += (
        c_relevant
        * (2 * relevant_before + c_relevant + 1)
        / (2 * items_before + c + 1)
      )
      relevant_before += c_relevant
      items_before += c
    values.append(ap / (s > 0).sum())
  return 1 - np.mean(values)


def talr_ndcg(params, codes, labels, width=2):
  values = []
  for d, s in lists(codes, labels):
    if not (s > 0).any():
      continue
    gains = histogram(d, [gain(overlap, s.max()) for overlap in s], width)
    items = histogram(d, np.ones(len(d)), width)
    dcg = before = 0.0
    for sum_of_gains, c in zip(gains, items, strict=True):
      dcg += sum_of_gains / np.log2(before + (c + 1) / 2 + 1)
      before += c
    values.append(dcg / ideal_dcg(s))
  return 1 - np.mean(values)


REFERENCES = {
  "dsrh": dsrh,
  "dtsh": dtsh,
  "nin_triplet": nin_triplet,
  "mihash": mihash,
  "talr_ap": talr_ap,
  "talr_ndcg": talr_ndcg,
}


@pytest.mark.parametrize("name", REFERENCES)
def test_equals_loop(name):
  loss_checks.check_value(name, REFERENCES[name])
  loss_checks.check_gradient(name, REFERENCES[name])


@pytest.mark.parametrize("name", ["mihash", "talr_ap", "talr_ndcg"])
def test_one_bin_per_bit_equals_loop(name):
  def reference(params, codes, labels):
    return REFERENCES[name](params, codes, labels, width=1)

  loss_checks.check_value(name, reference, bins_per_bit=1.0)
  loss_checks.check_gradient(name, reference, bins_per_bit=1.0)


@pytest.mark.parametrize("normalizer", ["top2", "none"])
def test_dsrh_normalizers_equal_loop(normalizer):
  def reference(params, codes, labels):
    return dsrh(params, codes, labels, normalizer)

  loss_checks.check_value("dsrh", reference, normalizer=normalizer)


# 2^s overflows int32, float32 and float64.
@pytest.mark.parametrize("num_shared", [31, 130, 1100])
@pytest.mark.parametrize("name", ["dsrh", "talr_ndcg"])
def test_many_shared_labels_equal_loop(name, num_shared):
  loss, params, function = loss_checks.compiled(name, K, num_shared + 5)
  rng = np.random.default_rng(2)
  few = loss_checks.make_labels(rng)
  many = (rng.random((len(few), 1)) < 0.5).astype(np.uint8)
  labels = np.concatenate([few, np.tile(many, num_shared)], axis=1)
  assert overlaps(labels)[~np.eye(len(few), dtype=bool)].max() > num_shared
  codes = loss_checks.make_codes(loss, rng)
  (value, _), gradients = function(params, codes, labels)
  expected = REFERENCES[name]({}, loss_checks.double(codes), labels)
  np.testing.assert_allclose(value, expected, rtol=1e-5)
  assert np.isfinite(gradients[1]).all() and gradients[1].any()


def test_dsrh_release_sampling():
  # The expected value is the mean over all possible draws.
  loss = losses.make_loss(
    "dsrh",
    num_bits=K,
    num_classes=5,
    seed=5,
    sampling="release",
    normalizer="top2",
    balance_weight=0.0,
  )
  rng = np.random.default_rng(0)
  labels = loss_checks.make_labels(rng)
  codes = loss_checks.make_codes(loss, rng)
  expected = []
  for d, s in lists(codes.astype(np.float64), labels):
    first = np.flatnonzero((s == s.max()) & (s > 0))
    second = np.flatnonzero((s > 0) & (s < s.max()) & (s.max() > 1))
    none = np.flatnonzero(s == 0)
    values = []
    # -1 stands for an item that the batch lacks.
    for picks in itertools.product(
      *(x if len(x) else [-1] for x in (first, second, none))
    ):
      level = [s[p] if p >= 0 else 0 for p in picks]
      z = (2.0 ** level[0] - 1) / np.log(2) + (2.0 ** level[1] - 1) / np.log(3)
      value = 0.0
      for x, y in ((0, 1), (0, 2), (1, 2)):
        if picks[x] >= 0 and picks[y] >= 0:
          weight = (2.0 ** level[x] - 2.0 ** level[y]) / z
          value += weight * max(0, 5 * K / 64 + d[picks[x]] - d[picks[y]])
      values.append(value)
    expected.append(np.mean(values))
  by_step = jax.jit(
    jax.vmap(lambda step: loss({}, codes, labels, step=step)[0])
  )
  sampled = np.asarray(by_step(jnp.arange(4000)))
  error = sampled.std() / np.sqrt(len(sampled))
  assert sampled.std() > 0
  assert abs(sampled.mean() - np.mean(expected)) < 4 * error
  np.testing.assert_array_equal(sampled[:3], by_step(jnp.arange(3)))


SIZE = 64


def triplet_problem(spread):
  rng = np.random.default_rng(1)
  labels = (rng.random((SIZE, 6)) < 0.3).astype(np.float64)
  relevance = labels @ labels.T
  distance = spread * rng.normal(size=(SIZE, SIZE))
  return distance.astype(np.float32), relevance, ~np.eye(SIZE, dtype=bool)


def check_sums(function, distance, weight, costs, slopes):
  """Compare with sums over an array [anchor, i, j] of all triplets."""

  def total(b):
    sums = function(b)
    return jnp.sum(sums), sums

  (_, sums), gradient = jax.jit(jax.value_and_grad(total, has_aux=True))(
    distance
  )
  expected = (weight * costs).sum(axis=(1, 2))
  np.testing.assert_allclose(sums, expected, rtol=1e-5)
  slopes = weight * slopes
  expected = slopes.sum(axis=2) - slopes.sum(axis=1)
  np.testing.assert_allclose(
    gradient, expected, atol=1e-5 * np.abs(expected).max()
  )


@pytest.mark.parametrize("spread", [0.0, 1.0, 8.0])
@pytest.mark.parametrize("sort_from", [1, SIZE + 1])
def test_hinges_equal_the_array_of_all_triplets(spread, sort_from, monkeypatch):
  monkeypatch.setattr(hinges, "_SORT_FROM", sort_from)
  distance, relevance, mask = triplet_problem(spread)
  gain = 2**relevance
  weight = np.maximum(gain[:, :, None] - gain[:, None, :], 0)
  weight *= mask[:, :, None] * mask[:, None, :]
  x = distance[:, :, None].astype(np.float64) - distance[:, None, :] + 1.5

  def function(b):
    relevance_32 = jnp.asarray(relevance, jnp.float32)
    return hinges.sum_hinges(b, relevance_32, mask, 1.5, lambda t: 2**t)

  check_sums(function, distance, weight, np.maximum(x, 0), x > 0)


def test_dsrh_balance_of_the_release_is_divided_by_the_batch():
  rng = np.random.default_rng(0)
  for num_items in (9, 18):
    labels = loss_checks.make_labels(rng, num_items)
    loss, params, function = loss_checks.compiled(
      "dsrh", settings=(("sampling", "release"), ("normalizer", "top2"))
    )
    codes = loss_checks.make_codes(loss, rng, num_items)
    (_, terms), _ = function(params, codes, labels)
    expected = 0.5 * (codes.mean(axis=0) ** 2).sum() / num_items
    np.testing.assert_allclose(terms["balance"], expected, rtol=1e-5)


def test_dsrh_balance_is_a_small_share_of_the_gradient():
  # Codes of an untrained network: K = 48, two or three of ten labels.
  for num_items in (64, 256):
    loss = losses.make_loss("dsrh", num_bits=48, num_classes=10)
    rng = np.random.default_rng(0)
    labels = (rng.random((num_items, 10)) < 0.25).astype(np.float32)
    codes = loss_checks.make_codes(loss, rng, num_items)

    def both(codes, loss=loss, labels=labels):
      terms = loss({}, codes, labels)[1]
      return terms["ranking"], terms["balance"]

    ranking_gradient, balance_gradient = jax.jit(jax.jacrev(both))(codes)
    share = np.linalg.norm(balance_gradient) / np.linalg.norm(ranking_gradient)
    assert 0.01 < share < 0.1


@pytest.mark.parametrize("size", [1, 24, 64])
def test_accelerator_and_cpu_kernels_are_equal(size, monkeypatch):
  monkeypatch.setattr(triplets, "_ITEMS_PER_STEP", size)
  distance, relevance, mask = triplet_problem(20.0)
  positives, negatives = mask & (relevance > 0), mask & (relevance == 0)
  args = distance, positives, negatives, 1.5
  expected = logistic.sum_by_anchor(*args)
  result = logistic.sum_all_pairs(*args)
  for x, y in zip(result, expected, strict=True):
    np.testing.assert_allclose(x, y, rtol=1e-5, atol=1e-4)


@pytest.mark.parametrize("tile", [1, 24, 64])
def test_logistic_costs_equal_the_array_of_all_triplets(tile, monkeypatch):
  monkeypatch.setattr(logistic, "_TILE", tile)
  distance, relevance, mask = triplet_problem(3.0)
  positives, negatives = mask & (relevance > 0), mask & (relevance == 0)
  weight = positives[:, :, None] * negatives[:, None, :].astype(np.float64)
  x = distance[:, :, None].astype(np.float64) - distance[:, None, :] + 1.5

  def function(b):
    return logistic.sum_logistic(b, positives, negatives, 1.5)

  slopes = 1 / (1 + np.exp(-x))
  check_sums(function, distance, weight, np.logaddexp(0, x), slopes)


@pytest.mark.parametrize(
  "name", ["dsrh", "dtsh", "nin_triplet", "mihash", "talr_ap", "talr_ndcg"]
)
def test_memory_of_a_large_batch(name):
  loss = losses.make_loss(name, num_bits=64, num_classes=21)
  function = jax.jit(
    jax.value_and_grad(lambda codes, labels: loss({}, codes, labels)[0])
  )
  codes = jax.ShapeDtypeStruct((1024, 64), jnp.float32)
  labels = jax.ShapeDtypeStruct((1024, 21), jnp.uint8)
  compiled = function.lower(codes, labels).compile()
  assert compiled.memory_analysis().temp_size_in_bytes < 2e9


def test_ideal_dcg_of_empty_and_mixed_lists():
  shared = jnp.asarray([[3, 0, 2, 1], [0, 3, 0, 0]], jnp.float32)
  mask = np.array([[False, True, True, True], [True, False, True, True]])
  values = ranking.ideal_dcg(shared, mask, num_classes=3)
  expected = [(3 / np.log2(2) + 1 / np.log2(3)) / 2**2, 0]
  np.testing.assert_allclose(values, expected, rtol=1e-6)
