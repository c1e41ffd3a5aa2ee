"""A beat every millisecond on one processor: says when it came late, that is, when the machine stood still; see ../heartbeat.py.

    heartbeat.py CPU        until it is terminated; then [[from, to], ...] in ns of the monotonic clock, as one line of JSON
"""

import json
import os
import signal
import sys
import time

LATE = 5_000_000

late = []
over = []
signal.signal(signal.SIGTERM, lambda *_: over.append(True))
os.sched_setaffinity(0, {int(sys.argv[1])})
while not over:
    due = time.monotonic_ns() + 1_000_000
    time.sleep(0.001)
    now = time.monotonic_ns()
    if now - due >= LATE:
        late.append((due, now))
print(json.dumps(late))
