"""Runs of a table: each is a command with a folder that records its outcome.

The folder of a run holds:
  cell.json    settings, machine, duration
  log.txt      output
  result.json  written by the run itself, last: the run is done
  failed.json  written here: the reason for a failure
"""

import contextlib
import dataclasses
import fcntl
import json
import pathlib
from collections.abc import Callable, Iterator

from benchmarks import hardware
from dsh_jax import errors

DONE, FAILED, WAITING, OTHER = "done", "failed", "to do", "other settings"
NOT_NEEDED = "not needed"

_MAX_ERROR = 300  # Characters kept of an error.


@dataclasses.dataclass(frozen=True)
class Job:
  """A command to run.

  Attributes:
    title: One phrase for the log.
    command: The command; it is done when it has written result.json.
    settings: Distinguish it from other commands in its folder.
    folder: Its folder.
  """

  title: str
  command: list[str]
  settings: list[str]
  folder: pathlib.Path


def read_json(path: pathlib.Path) -> dict:
  """Return the object in a file, {} when there is no such file.

  Raises:
    UserError: The file is not JSON.
  """
  try:
    return json.loads(path.read_text())
  except FileNotFoundError:
    return {}
  except ValueError as error:
    raise errors.UserError(
      f"{path} is not JSON ({error}); remove its folder to run the cell again."
    ) from None


def write_json(path: pathlib.Path, content: dict) -> None:
  """Write a file atomically."""
  temporary = path.with_name(path.name + ".tmp")
  temporary.write_text(json.dumps(content, indent=1) + "\n")
  temporary.replace(path)


def state(folder: pathlib.Path, settings: list[str]) -> str:
  """Return DONE, FAILED, WAITING, or OTHER for a folder of other settings."""
  made_with = read_json(folder / "cell.json").get("settings", settings)
  done = (folder / "result.json").exists()
  if made_with != settings and (done or (folder / "checkpoints").exists()):
    return OTHER
  if done:
    return DONE
  return FAILED if (folder / "failed.json").exists() else WAITING


def error_of(folder: pathlib.Path, settings: list[str]) -> str:
  """Return, in one line, why the folder has no result for these settings."""
  if state(folder, settings) == OTHER:
    made_with = read_json(folder / "cell.json")["settings"]
    changed = set(made_with) ^ set(settings)
    return (
      f"The folder holds a run with other settings"
      f" ({' '.join(sorted(changed))}); remove it or use another --workdir."
    )
  return read_json(folder / "failed.json").get("error", "")


def forget_failures(workdir: pathlib.Path) -> None:
  """Let every failed run below a folder be tried again."""
  for path in workdir.glob("**/failed.json"):
    path.unlink()


def write_cell(job: Job, cores: list[int]) -> None:
  """Write the settings of a run to its folder; create it.

  Args:
    job: The run.
    cores: Numbers of its cores; [] for all of this process.
  """
  job.folder.mkdir(parents=True, exist_ok=True)
  write_json(
    job.folder / "cell.json",
    {
      "settings": job.settings,
      "hardware": hardware.describe(),
      "cores": len(cores or hardware.cores()),
      "commit": hardware.commit(),
    },
  )


def write_secs(job: Job, secs: float) -> None:
  """Add the duration of a run to the file of `write_cell`."""
  cell = read_json(job.folder / "cell.json")
  write_json(job.folder / "cell.json", cell | {"seconds": secs})


def write_failure(job: Job, error: str, code: int, secs: float) -> None:
  """Write that a run has failed.

  Args:
    job: The run.
    error: Why, in a line.
    code: Exit code, negative for the number of a signal.
    secs: How long it took.
  """
  write_json(
    job.folder / "failed.json",
    {"error": error[:_MAX_ERROR], "returncode": code, "seconds": secs},
  )


@contextlib.contextmanager
def only_one(workdir: pathlib.Path, name: str = "lock") -> Iterator[None]:
  """Lock the folder against a second table.

  Args:
    workdir: The folder.
    name: Name of the lock file; each part of a table has its own.

  Raises:
    UserError: Another process holds it.
  """
  workdir.mkdir(parents=True, exist_ok=True)
  with open(workdir / name, "w") as file:
    try:
      fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
      raise errors.UserError(
        f"Another process is filling {workdir}; wait for it, read it with"
        " --report_only, or use another --workdir."
      ) from None
    yield


def next_job(
  pending: list, make_job: Callable[[object], Job | str | None]
) -> Job | None:
  """Remove and return the first item of a list that can be run.

  Args:
    pending: Items to run; items that are not needed are removed as well.
    make_job: As for `processes.run`.

  Returns:
    Its job; None if all remaining items have to wait.
  """
  index = 0
  while index < len(pending):
    job = make_job(pending[index])
    if job is None:
      index += 1
      continue
    del pending[index]
    if job != NOT_NEEDED:
      return job
  return None
