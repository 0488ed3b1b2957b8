"""How released code of other authors averages scores."""

import dataclasses


@dataclasses.dataclass(frozen=True)
class Convention:
  """Settings of `evaluation.evaluate_codes`.

  Attributes:
    names: Metrics, with the cut-offs of the multi-label experiments.
    normalizer: Divisor of AP@k, a name of `metrics.NORMALIZERS`.
    drop_empty: Whether the mean leaves out queries without a relevant item.
    drop_unretrieved: Whether the mean leaves out queries whose first k items
      are all irrelevant.
    source: File, function and behaviour.
  """

  names: tuple[str, ...]
  normalizer: str = "retrieved"
  drop_empty: bool = False
  drop_unretrieved: bool = False
  source: str = ""


CONVENTIONS = {
  "deephash-pytorch": Convention(
    names=("map@5000",),
    source=(
      "DeepHash-pytorch, utils/tools.py, CalcTopMap: a query that retrieves"
      " nothing adds 0, and all queries are counted; topK is 5000 on NUS-WIDE,"
      " MS-COCO and MIRFlickr, 1000 on ImageNet."
    ),
  ),
  "hashnet": Convention(
    names=("map@5000",),
    drop_empty=True,
    drop_unretrieved=True,
    source=(
      "HashNet, pytorch/src/test.py, mean_average_precision: a query that"
      " retrieves nothing relevant is not counted; R is 5000 on NUS-WIDE and"
      " MS-COCO, 1000 on ImageNet. Under ties at rank k a query counts here"
      " if any order retrieves something."
    ),
  ),
  "dsrh": Convention(
    names=("ndcg@100", "acg@100", "wmap@5000"),
    source=(
      "Deep semantic ranking based hashing (Zhao et al., CVPR 2015), released"
      " evaluation code: NDCG and ACG of the first 100, weighted mAP of the"
      " first 5000."
    ),
  ),
}
