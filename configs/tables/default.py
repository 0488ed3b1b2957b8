"""Every field of a table config."""

import ml_collections


def get_config() -> ml_collections.ConfigDict:
  """Return a table without cells."""
  return ml_collections.ConfigDict(
    dict(
      # Heading of the table.
      title="",
      # The config file of the data set, relative to the project's root.
      config="",
      # Config arguments after "method=..,bits=..", such as
      # "protocol=hyp2,backbone=alexnet".
      arguments="",
      # Overrides "path=value" of all cells, applied after the preset.
      overrides=(),
      # Further overrides by method, such as the batch of the authors' runs.
      method_overrides=dict(),
      # Groups dict(methods=(..), bits=(..), seeds=(..)), each a product, run in
      # order and seed by seed. A group may replace "arguments", add "overrides"
      # after all others, and name them as "variant".
      cells=(),
      # Whether to train all in one process, the seeds of a method at once, as
      # suits features or a frozen backbone.
      in_process=False,
      # Rows without training: names of retrieval.unsupervised.METHODS, "cosine"
      # (ranks by features) and "chance" (equal codes). bits () is those of the
      # cells.
      references=dict(methods=(), bits=()),
      # Metrics to show, as in config.eval.metrics; the first sorts the rows.
      metrics=(),
      # Peak learning rates; each method gets the best by `metric` on validation
      # queries, at these bits and this seed. While the best is the lowest or
      # highest so far, the next of further_rates is tried too. () keeps the
      # preset's rate.
      grid=dict(
        learning_rates=(),
        further_rates=(),
        bits=48,
        seed=0,
        metric="ndcg@100",
      ),
      # Pairs of rows, "method", "method/bits" or "method/bits/variant", whose
      # difference claims.md tests, at the bits of the first cell if none are
      # named; the second list also by the number of labels of a query.
      claims=(),
      claims_by_labels=(),
      # Rows of benchmarks/tables/published.csv to show with the results.
      published=dict(dataset="", protocol="", backbone=""),
      # Files to download first, and where to put them.
      downloads=(),
      # Expected numbers of images and labels, for --dry_run without the data.
      sizes=dict(train=0, validation=0, query=0, database=0, num_classes=20),
      # Sentences to print under the table.
      notes=(),
    )
  )
