"""Eight simulated CPU devices, warnings as errors, strict broadcasting."""

import os
import signal

# A shell's background job ignores SIGINT, and so would the processes that
# tests start and interrupt.
signal.signal(signal.SIGINT, signal.default_int_handler)
os.environ["XLA_FLAGS"] = " ".join(
  (
    os.environ.get("XLA_FLAGS", ""),
    "--xla_force_host_platform_device_count=8",
    # The suite compiles much and computes little.
    "--xla_backend_optimization_level=0",
  )
)
os.environ["JAX_PLATFORMS"] = "cpu"
os.environ["TF_CPP_MIN_LOG_LEVEL"] = "3"

import fcntl  # noqa: E402

import commands  # noqa: E402
import fake_archives  # noqa: E402
import jax  # noqa: E402
import pytest  # noqa: E402

jax.config.update("jax_numpy_rank_promotion", "raise")


def pytest_configure(config):
  config.addinivalue_line("filterwarnings", "error")
  config.addinivalue_line("markers", "slow: takes seconds; -m 'not slow' skips")
  config.addinivalue_line(
    "markers", "long: also slow, and left out unless -m asks for it"
  )
  # A read of orbax that fails leaves others behind, which want its loop.
  config.addinivalue_line(
    "filterwarnings",
    "ignore:(?s).*Event loop is closed:pytest.PytestUnraisableExceptionWarning",
  )


def pytest_collection_modifyitems(items):
  """Mark tests as slow; begin with the longest, so that none runs alone."""
  items.sort(key=lambda item: item.name != "test_the_commands_work")
  for item in items:
    starts = {"command", "tfds_folder"} & set(item.fixturenames)
    if starts or item.get_closest_marker("long"):
      item.add_marker("slow")


@pytest.fixture(scope="session")
def command(tmp_path_factory):
  """The command line with one cache of data and of compiled programs."""
  folder = tmp_path_factory.getbasetemp()
  if "PYTEST_XDIST_WORKER" in os.environ:
    folder = folder.parent  # All workers share it.
  cache = os.environ.get("DSH_JAX_TEST_CACHE", folder / "cache")
  return commands.Commands(folder / "shared", cache)


@pytest.fixture(scope="session")
def tfds_folder(command):
  """VOC and COCO, prepared by the builders of TFDS in its folder `data`."""
  folder = command.folder / "tfds"
  folder.mkdir(exist_ok=True)
  with open(folder / "lock", "w") as file:
    fcntl.flock(file, fcntl.LOCK_EX)  # Other workers wait for it.
    if not (folder / "done").exists():
      fake_archives.prepare_by_tfds(folder)
      (folder / "done").touch()
  return folder
