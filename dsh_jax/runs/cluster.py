"""Joins the hosts of a run, so that the loss of one aborts none of them."""

import asyncio
import threading

import jax

# JAX's coordination service and its client have no public name; orbax uses the
# same.
from jax._src import distributed

from dsh_jax import errors
from dsh_jax.runs import links

_JOIN_SECS = 290  # For all hosts to start; after 300 JAX aborts.
_HOLD_SECS = 10  # That JAX does not see that its service has gone.


def join(
  coordinator: str | None, num_processes: int | None, process_id: int | None
) -> None:
  """Join the other hosts, `jax.distributed.initialize`.

  A process whose hosts do not all join in `_JOIN_SECS` ends.

  Args:
    coordinator: HOST:PORT of process 0.
    num_processes: Number of processes.
    process_id: Number of this process, from 0.

  Raises:
    ValueError, RuntimeError: JAX cannot join them.
    UserError: As `Links`.
  """
  # SIGTERM is handled by `interrupts`.
  jax.config.update("jax_enable_preemption_service", False)
  library = distributed._jax
  make_client = library.get_distributed_runtime_client

  def make_held(address, node_id, **options):
    return make_client(
      _held(address) if node_id else address, node_id, **options
    )

  library.get_distributed_runtime_client = make_held
  late = threading.Timer(
    _JOIN_SECS,
    links.leave,
    (
      f"Not all hosts have joined within {_JOIN_SECS} s. Start them together,"
      " with the same --coordinator and --num_processes.",
      errors.LOST_HOST,
    ),
  )
  late.daemon = True
  late.start()
  try:
    jax.distributed.initialize(coordinator, num_processes, process_id)
  finally:
    late.cancel()
    library.get_distributed_runtime_client = make_client
  if distributed.global_state.num_processes > 1:
    links.connected()


def _held(address: str) -> str:
  """Return a local address that leads to another, and outlives it.

  JAX's client aborts the process in the moment in which it loses its service.
  By this it does `_HOLD_SECS` later, when `Links` has ended the process.
  """
  host, _, port = address.rpartition(":")

  async def pump(reader, writer):
    try:
      while data := await reader.read(1 << 16):
        writer.write(data)
        await writer.drain()
    except OSError:
      pass

  async def relay(reader, writer):
    try:
      far_reader, far_writer = await asyncio.open_connection(
        host.strip("[]"), int(port)
      )
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
    asyncio.start_server(relay, "127.0.0.1", 0), links.start_loop()
  ).result()
  return f"127.0.0.1:{server.sockets[0].getsockname()[1]}"
