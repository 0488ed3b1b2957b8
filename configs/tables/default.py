"""Every field of a table config, once; the other files start from here."""

import ml_collections


def get_config() -> ml_collections.ConfigDict:
  """Returns a table without cells."""
  return ml_collections.ConfigDict(
    dict(
      # Heading of the table.
      title="",
      # The config file of the data set, from the project's root.
      config="",
      # What follows "method=..,bits=.." behind its colon, such as
      # "protocol=hyp2,backbone=alexnet".
      arguments="",
      # Fields that all cells share, "path=value", over the method's preset.
      overrides=(),
      # What single methods need beside these, method -> fields "path=value",
      # such as the batch of the authors' runs.
      method_overrides=dict(),
      # Groups dict(methods=(..), bits=(..), seeds=(..)), each the product of
      # the three. Group by group in the order given; in a group seed by seed.
      # A group may have "arguments" in place of those above, "overrides" of its
      # own, which go over all others, and a "variant" to name these.
      cells=(),
      # Whether all is trained in one process, the seeds of a method at once:
      # for features (or a frozen backbone), whose heads take seconds.
      in_process=False,
      # Rows that need no training: names of retrieval.unsupervised.METHODS,
      # "cosine" (ranks by features) and "chance" (codes that are all equal).
      # bits () is all that the cells have.
      references=dict(methods=(), bits=()),
      # Metrics to show, as in config.eval.metrics; the first sorts the rows.
      metrics=(),
      # Peak learning rates of which each method gets the one with the best
      # `metric` on validation queries, at these bits and this seed; without
      # rates every method has its preset's. Rates are run in the order given,
      # then, while the best is the lowest or highest so far, the next one of
      # further_rates.
      grid=dict(
        learning_rates=(),
        further_rates=(),
        bits=48,
        seed=0,
        metric="ndcg@100",
      ),
      # Pairs of rows, "method", "method/bits" or "method/bits/variant", whose
      # difference claims.md tests; and those that are also split by how many
      # labels a query has.
      claims=(),
      claims_by_labels=(),
      # Which rows of benchmarks/tables/published.csv stand beside the results.
      published=dict(dataset="", protocol="", backbone=""),
      # What a person has to fetch first, and where to put it.
      downloads=(),
      # Expected images of each split and labels, for --dry_run while the data
      # is not there.
      sizes=dict(train=0, validation=0, query=0, database=0, num_classes=20),
      # Sentences to print under the table.
      notes=(),
    )
  )
