"""Every field, once: its meaning, its unit, its legal values.

The values are those of the embedded job (digit scenes, IDHN, 48 bits). The
other files of this folder start from here and change what their data set or
protocol asks for; `configs/methods.py` changes what a method asks for.
"""

import ml_collections


def get_config() -> ml_collections.ConfigDict:
  """Returns the configuration of the embedded job."""
  return ml_collections.ConfigDict(
    dict(
      # Seed of weights, order of images, augmentation and codebooks; >= 0.
      seed=0,
      # K, length of a hash code; 1 to 256.
      bits=48,
      # Name of the preset of configs/methods.py that was applied.
      method="idhn",
      # How a step is spread over devices: "pmap" or "jit".
      parallel="pmap",
      # Type of the network's arithmetic: "float32" or "bfloat16". Parameters,
      # statistics and losses are float32 in both.
      dtype="float32",
      # Ask the compiler for reproducible kernels (slower on GPU).
      deterministic=False,
      # Also write TensorBoard files (needs TensorFlow; seconds to import).
      tensorboard=True,
      data=dict(
        # A name of dsh_jax.data.DATASETS.
        name="digits",
        # A protocol of that data set: which image is in which split.
        protocol="digits",
        # Where prepared data is kept; "" is the user's cache folder.
        dir="",
        # Where downloaded archives lie, for data sets that need them.
        manual_dir="",
        # Seed of the splits that a protocol draws, apart from config.seed.
        seed=0,
        # How images become square: "squash", or "crop" the centre.
        resize="squash",
        # Label set: "" is the protocol's; else a name ("24" of mirflickr25k),
        # a number N for the most frequent N, or names as "sea;sky".
        labels="",
        # Images to draw in place of the protocol's number, from the groups
        # that it names for the split; -1 keeps it.
        num_train=-1,
        num_query=-1,
        num_database=-1,
        # Queries that choose the epoch, cut from the training split unless
        # the data set has images for them; 0 trains on all of it, and wants
        # config.eval.select="last".
        num_validation=-1,
        # Share of listed images that may be absent or unreadable; 0 to 1.
        max_missing=0.01,
        # Side of the stored square images, pixels; 8 to 1024.
        image_size=48,
        # Side that the network sees, at most image_size; 0 is image_size.
        crop_size=0,
        # Zero border from which training crops are drawn, pixels; >= 0.
        crop_padding=4,
        # Mirror half of the training images.
        flip=False,
        # Mean and standard deviation of a channel, as shares of 255.
        mean=(0.5, 0.5, 0.5),
        std=(0.25, 0.25, 0.25),
      ),
      model=dict(
        # A name of dsh_jax.models.BACKBONES.
        backbone="tiny",
        # Feature layers the head reads, by name; () is the last one.
        taps=(),
        # Weights to start from: a file, or a Hub id; "" is random.
        pretrained="",
        # The head's linear layer has a bias, is followed by BatchNorm.
        head_bias=True,
        head_batch_norm=False,
        # Recompute activations in the backward pass: less memory, slower.
        remat=False,
      ),
      # "name" is one of dsh_jax.losses.LOSSES, the rest are its settings;
      # what is not given here has the default of its docstring.
      loss=dict(name="idhn"),
      train=dict(
        # B, images in a global batch; a multiple of the devices.
        batch_size=128,
        # Times each training image is seen; >= 1.
        num_epochs=20,
        # Steps between two lines of the log; >= 1.
        log_every_steps=31,
        # Steps between two checkpoints, besides the one of every validation
        # and the last; 0 writes no others.
        checkpoint_every_steps=0,
        # Epochs between two validations; >= 1. The last is always one.
        validate_every_epochs=4,
        # A loss or gradient that is not finite: "stop", or "skip" the step.
        on_nonfinite="stop",
        # Batches made ready ahead of the device; >= 1.
        prefetch=2,
        # Steps in one call of the device; >= 1. Above 1 pays where a step is
        # shorter than its dispatch.
        steps_per_dispatch=1,
        # Parts in which a batch goes through the network, to save memory;
        # the loss still sees the whole batch. Divides the batch of a device.
        accumulate=1,
      ),
      optimizer=dict(
        # "adamw", "adam" or "sgd".
        name="adamw",
        # Peak learning rate; > 0.
        learning_rate=1e-2,
        # "one_cycle", "cosine", "constant" or "halve".
        schedule="one_cycle",
        # Steps between two halvings of the schedule "halve".
        halve_every_steps=500,
        # Decay of weights with more than one axis, per unit of learning rate.
        weight_decay=1e-4,
        # Momentum of "sgd".
        momentum=0.9,
        # Learning-rate factors, pairs (path prefix, factor), for example
        # (("backbone", 0.01), ("head/fc6", 2.5)); the longest prefix holds.
        multipliers=(),
      ),
      eval=dict(
        # Which epoch is reported: "validation" (best on validation queries),
        # "last", or "test_best" (best on the test queries: only to compare
        # with code that does so).
        select="validation",
        # The metric that chooses.
        select_metric="ndcg@100",
        # Metrics of the report; () is the default set.
        metrics=(),
        # Leave out queries without a relevant item (else they count as 0).
        drop_empty=False,
        # Of map@k and wmap@k: "retrieved" or "relevant".
        normalizer="retrieved",
        # Images encoded at once, rounded up to a multiple of the devices.
        batch_size=500,
      ),
    )
  )
