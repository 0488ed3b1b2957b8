"""Presets of methods: `METHODS`, name -> nested overrides of config fields.

`source` is a citation, not a field. A plain name sets only what the loss itself
needs, so that all methods of a table share one network and one optimizer.
Presets named `..._release` also set the network, the images and the optimizer
of the authors' code, and expect pretrained weights (`config.model.pretrained`).
"""

_ALEXNET_LAYERS = (
  *(f"conv{number}/conv" for number in range(1, 6)),
  "fc6",
  "fc7",
)

METHODS = {
  "idhn": {
    "loss": {"name": "idhn"},
    "source": "Zhang et al., IEEE TMM 2020, arXiv 1803.02987",
  },
  "idhn_hard": {
    "loss": {"name": "idhn", "branches": "hard"},
    "source": "Ablation of idhn: cross-entropy with target c on every pair",
  },
  "idhn_soft": {
    "loss": {"name": "idhn", "branches": "soft"},
    "source": "Ablation of idhn: squared error on every pair",
  },
  "idhn_release": {
    "data": {
      "image_size": 227,
      "crop_size": 0,
      "crop_padding": 0,
      "flip": False,
      "resize": "squash",
    },
    "loss": {"name": "idhn", "activation": "softsign"},
    "model": {"backbone": "caffenet"},
    "train": {"batch_size": 128, "num_epochs": 100},
    "optimizer": {
      "name": "adam",
      "learning_rate": 1e-3,
      "schedule": "halve",
      "halve_every_steps": 500,
      "weight_decay": 0.0,
      "multipliers": (("backbone", 0.01),),
    },
    "eval": {"select": "last"},
    "source": "The authors' TensorFlow release of IDHN",
  },
  "isdh": {
    "loss": {"name": "isdh"},
    "source": "arXiv 1803.02987 version 1",
  },
  "idhn_deephash_pytorch": {
    "loss": {"name": "idhn_deephash_pytorch"},
    "source": "A port in the DeepHash-pytorch collection; not the paper's loss",
  },
  "dsrh": {
    "loss": {"name": "dsrh"},
    "source": "Zhao et al., CVPR 2015, arXiv 1501.06272",
  },
  "dsrh_two_layers": {
    "loss": {"name": "dsrh"},
    "model": {"feature_layers": ("stage3", "stage4")},
    "source": "dsrh with the paper's two-layer hash head, on a ResNet",
  },
  "dsrh_sampled": {
    "loss": {"name": "dsrh", "sampling": "release"},
    "source": "Ablation of dsrh: the release's three triplets per anchor",
  },
  "dsrh_release": {
    # The release crops squares at random positions along the longer side.
    "data": {
      "image_size": 224,
      "crop_size": 0,
      "crop_padding": 0,
      "flip": True,
      "resize": "crop",
    },
    "loss": {"name": "dsrh", "sampling": "release", "normalizer": "top2"},
    "model": {"backbone": "alexnet_dsrh", "feature_layers": ("fc6", "fc7")},
    "train": {"batch_size": 128},
    "optimizer": {
      "name": "sgd",
      "learning_rate": 1e-3,
      # The release drops the hash layer's rate once, halfway (two steps from
      # 1e-3 to 1e-4), and no other; here all rates drop.
      "schedule": "drop",
      "drop_at": (0.5,),
      "weight_decay": 5e-4,
      "momentum": 0.9,
      # Biases have twice the rate of their layer; the head's two layers share
      # the bias of fc7.
      "multipliers": (
        ("backbone", 0.1),
        *((f"backbone/{layer}/bias", 0.2) for layer in _ALEXNET_LAYERS),
        ("head/fc6", 0.25),
        ("head/fc7/bias", 2.0),
      ),
    },
    "source": "The authors' CUDA release of DSRH",
  },
  "dhn": {
    "loss": {"name": "dhn"},
    "source": "Zhu et al., AAAI 2016",
  },
  "dpsh": {
    "loss": {"name": "dpsh"},
    "source": "Li et al., IJCAI 2016",
  },
  "hashnet": {
    "loss": {"name": "hashnet"},
    "source": "Cao et al., ICCV 2017, and the authors' PyTorch release",
  },
  "dsh": {
    "loss": {"name": "dsh"},
    "source": "Liu et al., CVPR 2016",
  },
  "dqn_cosine": {
    "loss": {"name": "dqn_cosine"},
    "source": "Control: the similarity loss of Cao et al., AAAI 2016",
  },
  "dtsh": {
    "loss": {"name": "dtsh"},
    "source": "Wang et al., ACCV 2016",
  },
  "nin_triplet": {
    "loss": {"name": "nin_triplet"},
    "source": "Lai et al., CVPR 2015",
  },
  "dch": {
    "loss": {"name": "dch"},
    "source": "Cao et al., CVPR 2018",
  },
  "mihash": {
    "loss": {"name": "mihash"},
    "source": "Cakir et al., ICCV 2017",
  },
  "talr_ap": {
    "loss": {"name": "talr_ap"},
    "source": "He et al., CVPR 2018",
  },
  "talr_ndcg": {
    "loss": {"name": "talr_ndcg"},
    "source": "He et al., CVPR 2018",
  },
  "csq": {
    "loss": {"name": "csq"},
    "source": "Yuan et al., CVPR 2020",
  },
  "dpn": {
    "loss": {"name": "dpn"},
    "source": "Fan et al., IJCAI 2020",
  },
  "orthohash": {
    "loss": {"name": "orthohash"},
    # BatchNorm of the logits balances the bits.
    "model": {"head_bias": False, "head_batch_norm": True},
    "source": "Hoe et al., NeurIPS 2021",
  },
  "greedyhash": {
    "loss": {"name": "greedyhash"},
    "source": "Su et al., NeurIPS 2018",
  },
  "hyp2": {
    "loss": {"name": "hyp2"},
    "source": "Xu et al., ACM MM 2022",
  },
  "classifier_code": {
    "loss": {"name": "classifier_code"},
    "source": "Trivial baseline after Sablayrolles et al., ICASSP 2017",
  },
  "bce_sign": {
    "loss": {"name": "bce_sign"},
    "source": "Trivial baseline after Sablayrolles et al., ICASSP 2017",
  },
}
