"""Event loops: how a completion queue is watched, and how a load becomes a task."""

from __future__ import annotations

import asyncio
import contextvars
import os
import select
import threading
from typing import Any

from . import _core
from ._bulk import settle

# The loads that the current task is inside of: a loader that asks for its own key would wait for itself.
loading: contextvars.ContextVar[tuple[Any, ...]] = contextvars.ContextVar("millpond.loading", default=())


async def later(handle: Any, method: str, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    """A call that was made before a loop ran."""
    return await getattr(handle, method)(*args, **kwargs)


def spawn(load: _core.Load, loop: asyncio.AbstractEventLoop) -> asyncio.Task[None]:
    return loop.create_task(_carry_out(load))


async def _carry_out(load: _core.Load) -> None:
    loading.set((*loading.get(), load.ident))  # the task's own context, so nothing is to be set back
    try:
        value = load.call()
        if hasattr(value, "__await__"):
            value = await value
        load.answer(value)
    except asyncio.CancelledError as error:
        load.fail(error)
        raise
    except BaseException as error:
        load.fail(error)  # to everybody who waits
        if not isinstance(error, Exception):
            raise


def load_batch(batch: _core.Batch, loader: Any) -> asyncio.Task[None]:
    """The loader of many, in a task of its own, in the caller's context."""
    task = asyncio.ensure_future(_carry_out_batch(batch, loader))
    _batches.add(task)  # a loop holds its tasks weakly
    task.add_done_callback(_batches.discard)
    return task


_batches: set[asyncio.Task[None]] = set()


async def _carry_out_batch(batch: _core.Batch, loader: Any) -> None:
    loading.set((*loading.get(), *batch.idents))
    try:
        given = loader(batch.keys)
        if hasattr(given, "__await__"):
            given = await given
        settle(batch, given)
    except asyncio.CancelledError as error:
        batch._fail(error)
        raise
    except BaseException as error:
        batch._fail(error)  # to everybody who waits
        if not isinstance(error, Exception):
            raise


def attach(queue: _core.Queue, loop: asyncio.AbstractEventLoop) -> None:
    """The loop calls queue.ready() when there is something to do. It owns the queue from here on."""
    try:
        loop.add_reader(queue.fileno(), queue.ready)
    except NotImplementedError:
        _Watcher(queue, loop)


def detach(queue: _core.Queue) -> None:
    """Hands out the answers that have come, and ends what is under way in the queue's loop. In the loop's thread."""
    watcher = _watchers.pop(queue, None)
    if watcher is not None:
        watcher.stop()
    else:
        queue.loop.remove_reader(queue.fileno())
    queue.close()


class _Watcher:
    """For loops that cannot watch a descriptor: a thread that waits for it and asks the loop to look."""

    def __init__(self, queue: _core.Queue, loop: asyncio.AbstractEventLoop) -> None:
        self.loop = loop
        self.stopped = False
        self.looked = threading.Event()
        # Duplicates stay valid, whatever becomes of the queue meanwhile.
        self.fd = os.dup(queue.fileno())
        self.wake_read, self.wake_write = os.pipe()
        _watchers[queue] = self
        threading.Thread(target=self._run, args=(queue,), name="millpond-watcher", daemon=True).start()

    def _run(self, queue: _core.Queue) -> None:
        poll = select.poll()
        poll.register(self.fd, select.POLLIN)
        poll.register(self.wake_read, select.POLLIN)
        try:
            while not self.stopped and not self.loop.is_closed():
                if not poll.poll(1000) or self.stopped:
                    continue
                self.looked.clear()
                self.loop.call_soon_threadsafe(self._look, queue)
                while not self.looked.wait(1.0) and not self.loop.is_closed():
                    pass
        except RuntimeError:
            pass  # the loop is closed
        finally:
            _watchers.pop(queue, None)
            for fd in (self.fd, self.wake_read, self.wake_write):
                os.close(fd)

    def _look(self, queue: _core.Queue) -> None:
        try:
            queue.ready()
        finally:
            self.looked.set()

    def stop(self) -> None:
        self.stopped = True
        self.looked.set()
        try:
            os.write(self.wake_write, b".")
        except OSError:
            pass  # the thread has ended by itself


_watchers: dict[_core.Queue, _Watcher] = {}
