"""Runs of a table: each is a command with a folder that says how it went.

Of a run, its folder holds:
  cell.json    what it was asked to be, on which machine, how long it took
  log.txt      all that it printed
  result.json  written by the run itself, last: the run is done
  failed.json  written here: why it is not
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

_MAX_ERROR = 300  # Characters of an error that are kept.


@dataclasses.dataclass(frozen=True)
class Job:
  """A command to run.

  Attributes:
    title: One phrase for the log.
    command: The command; it is done when it has written result.json.
    settings: What distinguishes it from other commands with its folder.
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
  """Write a file that is there whole or not at all."""
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
  """Return one line on why the folder has no result for these settings."""
  if state(folder, settings) == OTHER:
    made_with = read_json(folder / "cell.json")["settings"]
    changed = set(made_with) ^ set(settings)
    return (
      f"The folder holds a run with other settings"
      f" ({' '.join(sorted(changed))}); remove it or use another --workdir."
    )
  return read_json(folder / "failed.json").get("error", "")


def forget_failures(workdir: pathlib.Path) -> None:
  """Give every failed run below a folder another chance."""
  for path in workdir.glob("**/failed.json"):
    path.unlink()


def write_cell(job: Job, cores: list[int]) -> None:
  """Write what a run is asked to be, in its folder, which is made.

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
      "cores": len(cores) or hardware.num_cores(),
      "commit": hardware.commit(),
    },
  )


def write_secs(job: Job, secs: float) -> None:
  """Add to what `write_cell` wrote how long the run took."""
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
  """Hold the folder against a second table.

  Args:
    workdir: The folder.
    name: Of the file that is locked; parts of a table have each their own.

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
  """Take the first thing off a list that can be run.

  Args:
    pending: Things to run; those that are not needed are taken off as well.
    make_job: As of `processes.run`.

  Returns:
    Its job; None if all that are left have to wait.
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
