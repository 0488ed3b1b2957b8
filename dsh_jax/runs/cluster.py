"""Joins the hosts of a run, so that the loss of one aborts none of them."""

import asyncio
import os
import socket

import jax

from dsh_jax import errors
from dsh_jax.runs import connections, hosts, interrupts, links

_HOLD_SECS = 10  # Seconds by which JAX learns later that its service has gone.
_FLAGS = (
  "Give --coordinator=HOST:PORT, --num_processes and --process_id, or leave out"
  " --distributed."
)


def join(
  coordinator: str | None,
  num_processes: int | None,
  process_id: int | None,
  secs: float,
) -> None:
  """Join the other hosts and JAX on them; if one fails, all end.

  Args:
    coordinator: HOST:PORT of process 0; None is detected, here and below.
    num_processes: Number of processes.
    process_id: Number of this process, from 0.
    secs: How long to wait for hosts that have not started.

  Raises:
    UserError: Arguments are missing or wrong.
    LostHostError: Hosts have not started.
    Stopped: SIGTERM or SIGINT arrived.
  """
  coordinator = coordinator or os.environ.get("JAX_COORDINATOR_ADDRESS")
  coordinator, count, index = _detect(
    coordinator, num_processes, process_id, secs
  )
  host, _, port = (coordinator or "").rpartition(":")
  if not (host and port.isdecimal() and count and index in range(count)):
    raise errors.UserError(
      f"Cannot join the other hosts: --coordinator is {coordinator},"
      f" --num_processes {count}, --process_id {index}. {_FLAGS}"
    )
  # SIGTERM is handled by `interrupts`.
  jax.config.update("jax_enable_preemption_service", False)
  if count == 1:
    _initialize(coordinator, count, index)
    return
  host = host.strip("[]")
  joined = links.create(index, count)
  all_hosts = hosts.Hosts()
  with all_hosts.ending(), interrupts.Interrupts(all_hosts).handled():
    joined.join(host, int(port), secs)
    (port, *_) = joined.exchange(None if index else _free_port())
    address = _held(host, port) if index else f"127.0.0.1:{port}"
    _initialize(address, count, index, coordinator_bind_address=f"[::]:{port}")
    jax.devices()  # Waits for the devices of all hosts.


def _detect(coordinator, num_processes, process_id, secs):
  """Return the three, completed by what SLURM, Open MPI or the TPU says."""
  given = coordinator, num_processes, process_id
  if None not in given:
    return given
  try:
    # `jax.distributed.initialize` uses it; it has no public name.
    from jax._src import clusters

    detect = clusters.ClusterEnv.auto_detect_unset_distributed_params
    return detect(*given, None, None, int(secs))[:3]
  except (ImportError, AttributeError, TypeError):  # JAX has moved it.
    return given


def _initialize(*arguments, **options):
  try:
    jax.distributed.initialize(*arguments, **options)
  except (ValueError, RuntimeError) as error:
    raise errors.UserError(
      f"Cannot join the other hosts: {errors.describe(error)} {_FLAGS}"
    ) from None


def _free_port() -> int:
  with socket.create_server(("", 0)) as listener:
    return listener.getsockname()[1]


def _held(host: str, port: int) -> str:
  """Return a local address that relays to another and closes later.

  JAX's client aborts the process as soon as it loses its service. The relay
  stays open for `_HOLD_SECS`, in which `Links` ends the process.
  """

  async def pump(reader, writer):
    try:
      while data := await reader.read(1 << 16):
        writer.write(data)
        await writer.drain()
    except OSError:
      pass

  async def relay(reader, writer):
    try:
      far_reader, far_writer = await asyncio.open_connection(host, port)
    except OSError:  # Not there yet: JAX tries again.
      writer.close()
      return
    there = asyncio.create_task(pump(reader, far_writer))
    back = asyncio.create_task(pump(far_reader, writer))
    await asyncio.wait([there, back], return_when=asyncio.FIRST_COMPLETED)
    if not there.done():
      await asyncio.wait([there], timeout=_HOLD_SECS)
    far_writer.close()
    writer.close()

  server = asyncio.run_coroutine_threadsafe(
    asyncio.start_server(relay, "127.0.0.1", 0), connections.start_loop()
  ).result()
  return f"127.0.0.1:{server.sockets[0].getsockname()[1]}"
