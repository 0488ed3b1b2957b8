"""Packaging: what dsh_jax needs, and why."""

import pathlib
import re

import setuptools

ROOT = pathlib.Path(__file__).parent
VERSION = re.search(
  r'__version__ = "(.+)"', (ROOT / "dsh_jax" / "__init__.py").read_text()
).group(1)

REQUIRES = [
  # Arrays, compilation, devices. 0.10 is the last release for Python 3.11.
  "jax>=0.10,<0.12",
  "flax>=0.12",  # Linen: the backbones and the head.
  "optax>=0.2.8",  # Optimizers and schedules.
  "orbax-checkpoint>=0.11.30,<1",  # Checkpoints; 1.0 removes the v0 API.
  "tensorflow-datasets>=4.9.9",  # The data set builders.
  "array_record>=0.8",  # Their files, read without TensorFlow.
  "importlib_resources",  # Imported by tensorflow-datasets, not declared.
  "ml-collections>=1.1",  # Configs.
  "clu>=0.0.12",  # Metric writers.
  # clu.metric_writers imports both and declares neither.
  "tensorflow-cpu; platform_system == 'Linux' and platform_machine == 'x86_64'",
  "tensorflow; platform_system != 'Linux' or platform_machine != 'x86_64'",
  "tensorboard",
  "numpy>=2",  # Everything on the host.
  "numba>=0.61",  # The histogram kernel on CPU.
  "scikit-learn>=1.5",  # The handwritten digits of the embedded data set.
  "pillow>=10",  # Decodes and resizes images.
  "tqdm",  # Progress bars.
]

TEST = [
  "hypothesis",  # Property-based tests.
  "pytest",
  "pytest-xdist",  # One worker a core.
  "ruff",
]

setuptools.setup(
  name="dsh_jax",
  version=VERSION,
  description="Deep supervised hashing for multi-label images in JAX",
  long_description=(ROOT / "README.md").read_text(),
  long_description_content_type="text/markdown",
  python_requires=">=3.11",
  packages=setuptools.find_packages(include=["dsh_jax", "dsh_jax.*"]),
  install_requires=REQUIRES,
  extras_require={
    "tpu": ["jax[tpu]"],
    "cuda12": ["jax[cuda12]"],
    "cuda13": ["jax[cuda13]"],
    "faiss": ["faiss-cpu>=1.8"],  # Writes and reads FAISS index files.
    "test": TEST,
  },
)
