"""Hands the C module the Python objects that it needs, once."""

from __future__ import annotations

import asyncio
import contextvars
import os
import threading

from . import _collection, _core, _json, _loops, _models, _options, _queries
from ._errors import ERRORS, Error
from ._values import NULL, Entry

_core.setup(
    errors=ERRORS,
    error_base=Error,
    null=NULL,
    entry=Entry,
    encode_json=_json.encode,
    scan_json=_json.scan,
    scan_dates=_json.scan_dates,
    encode_query=_queries.encode_query,
    page=_collection.Page,
    model_codec=_models.codec,
    option_text=_options.option_text,
    later=_loops.later,
    attach=_loops.attach,
    spawn=_loops.spawn,
    running_loop=asyncio.get_running_loop,
    current_task=asyncio.current_task,
    copy_context=contextvars.copy_context,
    loading=_loops.loading,
    cancelled_error=asyncio.CancelledError,
    invalid_state_error=asyncio.InvalidStateError,
    main_thread=threading.main_thread().ident,
)

# Signals are the main thread's, which in a child is the one that forked.
os.register_at_fork(after_in_child=lambda: _core.setup(main_thread=threading.get_ident()))
