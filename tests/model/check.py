#!/usr/bin/env python3
"""check.py [NAME...]: Spin searches the whole state space of the protocol's models; each row must pass, or fail as it says.

Without names: every row but the long ones; "all": those, too. JOBS=2 rows at a time; LIMIT=600 seconds for each. A row that does not
end within that, or not in 3 GB, has neither passed nor failed, which is wrong. The models say at their heads what the flags mean.
"""

from __future__ import annotations

import concurrent.futures
import os
import pathlib
import re
import subprocess
import sys
import tempfile
import time

MODELS = pathlib.Path(__file__).resolve().parent
JOBS, LIMIT = int(os.environ.get("JOBS", "2")), float(os.environ.get("LIMIT", "600"))
INTENT = "-DLEASE -DINTENT "
ONE = "-DNR=1 -DNREADS=1 "  # one reader, one read

BEHIND = "-DNW=2 -DCRASH -DEVICT "
INCREMENTS = "-DINCR -DNREADS=1 -DCRASH -DEVICT "
BACK = "-DNREADS=1 -DROLLBACK "  # Redis went back

PASS, STALE, AT_REST, REGRESSED, REUSED = "pass", "stale read", "stale at rest", "store went back", "version reused"
MISCOUNTED = "wrong counter"
ROWS = [  # name, what must come of it, model, flags
    # What is simpler than the protocol, and why it will not do.
    ("naive", STALE, "cache", "-DNAIVE"),
    ("naive_faults", AT_REST, "cache", "-DNAIVE -DCRASH -DEXPIRE -DEVICT"),
    ("lease", PASS, "cache", "-DLEASE"),
    ("lease_crash", AT_REST, "cache", "-DLEASE -DCRASH"),
    ("lease_expire", STALE, "cache", "-DLEASE -DEVICT -DEXPIRE"),
    ("lease_expire_ack", PASS, "cache", "-DLEASE -DEVICT -DEXPIRE -DACKONLY"),
    # Lease and intent, with and without a value written through.
    ("intent", PASS, "cache", INTENT + "-DCRASH -DEVICT -DEXPIRE"),
    ("intent_wt", PASS, "cache", INTENT + "-DWT -DCRASH -DEVICT -DEXPIRE -DNWRITES=2"),
    ("intent_wt_2w", PASS, "cache", INTENT + "-DWT -DCRASH -DEVICT -DEXPIRE -DNW=2 -DNREADS=1"),
    # Who may share a load.
    ("share_unsafe", STALE, "cache", INTENT + "-DSHARE"),
    ("share_safe", PASS, "cache", INTENT + "-DSHARE -DSAFE -DEVICT -DEXPIRE"),
    # Writers slower than their intent: never older than an acknowledgement, unless they die as well.
    ("slow_writer", STALE, "cache", INTENT + "-DSLOWW -DTICKS=3"),
    ("slow_writer_ack", PASS, "cache", INTENT + "-DSLOWW -DTICKS=3 -DACKONLY"),
    ("slow_writer_crash", AT_REST, "cache", INTENT + "-DSLOWW -DTICKS=3 -DCRASH -DACKONLY"),
    # Writers that bypass the library and then invalidate.
    ("foreign_old", STALE, "cache", INTENT + ONE + "-DWT -DFOREIGN=1 -DOLDMARK -DACKONLY"),
    ("foreign", PASS, "cache", INTENT + "-DWT -DFOREIGN=1 -DACKONLY"),
    ("foreign_2w", PASS, "cache", INTENT + ONE + "-DWT -DFOREIGN=1 -DNW=2 -DAGAIN -DACKONLY -DEVICT"),
    ("foreign_time", PASS, "cache", INTENT + ONE + "-DWT -DFOREIGN=1 -DNW=2 -DAGAIN -DACKONLY -DSLOWW -DTICKS=3 -DW1=1"),
    # Intents that are evicted.
    ("evictw_old", STALE, "cache", INTENT + ONE + "-DWT -DNW=2 -DEVICTW -DOLDMARK -DACKONLY"),
    ("evictw", PASS, "cache", INTENT + ONE + "-DWT -DNW=2 -DEVICTW -DACKONLY"),
    ("evictw_again", PASS, "cache", INTENT + ONE + "-DWT -DNW=2 -DEVICTW -DAGAIN -DACKONLY -DNWRITES=2"),
    ("evictw_foreign_prop", STALE, "cache", INTENT + ONE + "-DWT -DFOREIGN=1 -DEVICTW -DAGAIN -DPROPMARK -DACKONLY"),
    ("evictw_foreign", PASS, "cache", INTENT + ONE + "-DWT -DFOREIGN=1 -DNW=2 -DEVICTW -DAGAIN -DACKONLY"),
    ("evictw_crash", AT_REST, "cache", INTENT + "-DEVICTW -DCRASH -DACKONLY -DNR=1"),
    # Renewals, and writers whose intents stand for different times.
    ("again_old", STALE, "cache", INTENT + "-DWT -DNW=2 -DAGAIN -DTICKS=4 -DW0=2 -DW1=2 -DOLDMARK -DACKONLY -DNR=1 -DNREADS=2"),
    ("again", PASS, "cache", INTENT + "-DWT -DNW=2 -DAGAIN -DTICKS=4 -DW0=2 -DW1=2 -DNR=1 -DNREADS=2"),
    ("mixed_w_prop", STALE, "cache", INTENT + "-DWT -DNW=2 -DTICKS=4 -DW0=3 -DW1=1 -DSLOWW -DPROPMARK -DACKONLY -DNR=1 -DNREADS=2"),
    ("mixed_w", PASS, "cache", INTENT + "-DWT -DNW=2 -DAGAIN -DTICKS=4 -DW0=3 -DW1=2 -DNR=1 -DNREADS=2"),
    ("mixed_w_slow", PASS, "cache", INTENT + ONE + "-DWT -DNW=2 -DAGAIN -DTICKS=4 -DW0=3 -DW1=1 -DSLOWW -DACKONLY"),
    ("again_crash", PASS, "cache", INTENT + ONE + "-DWT -DNW=2 -DAGAIN -DCRASH -DTICKS=3 -DW0=2 -DW1=2"),
    # Pages under a tag's generation.
    ("tags_strict", PASS, "tags", "-DTICKS=4"),
    ("tags_no_begin", AT_REST, "tags", "-DTICKS=4 -DNODEAD"),
    ("tags_bounded", PASS, "tags", "-DBOUND=2 -DTICKS=3"),
    ("tags_bounded_lengthened", AT_REST, "tags", "-DBOUND=2 -DTICKS=4 -DLENGTHEN"),
    # Written behind, and what must not be left out.
    ("behind", PASS, "behind", BEHIND),
    ("behind_unfenced", REGRESSED, "behind", BEHIND + "-DUNFENCED"),
    ("behind_ack_any", AT_REST, "behind", BEHIND + "-DACKANY"),
    ("behind_ack_first", AT_REST, "behind", BEHIND + "-DACKFIRST"),
    ("behind_no_revoke", AT_REST, "behind", BEHIND + "-DNOREVOKE"),
    ("behind_blind_fill", AT_REST, "behind", BEHIND + "-DBLIND"),
    ("behind_mortal", AT_REST, "behind", BEHIND + "-DMORTAL"),
    # With increments, which wait beside their document.
    ("behind_incr", PASS, "behind", INCREMENTS),
    ("behind_incr_bare", AT_REST, "behind", INCREMENTS + "-DBARE"),
    ("behind_incr_no_base", MISCOUNTED, "behind", INCREMENTS + "-DNOBASE"),
    ("behind_incr_acked", AT_REST, "behind", INCREMENTS + "-DACKINCR"),
    ("behind_incr_fold_any", MISCOUNTED, "behind", INCREMENTS + "-DFOLDANY"),
    # The same with a Redis that went back: what it lost is lost, and nothing else.
    ("behind_back", PASS, "behind", BACK),
    ("behind_back_unseen", AT_REST, "behind", BACK + "-DUNSEEN"),
    ("behind_back_no_tomb", REGRESSED, "behind", BACK + "-DNOTOMB"),
    ("behind_back_no_drop", AT_REST, "behind", BACK + "-DNODROP"),
    ("behind_back_same_epoch", REUSED, "behind", BACK + "-DSAMEEPOCH"),
    # A worker that dies with what Redis has lost already in the store, but not acknowledged: what was loaded before stands for its ttl.
    ("behind_back_crash", AT_REST, "behind", BACK + "-DCRASH"),
]
LONG = [
    ("tags_bounded_long", PASS, "tags", "-DBOUND=2 -DTICKS=4"),
]


def verdict(report: str) -> str:
    violated = re.search(r"assertion violated (.*)", report)
    if violated:
        telling = ("!((v<fl))", STALE), ("<was)", REGRESSED), ("(e<=", REUSED), ("!=under", MISCOUNTED)
        return next((what for text, what in telling if text in violated[1]), AT_REST)
    ended = "errors: 0" in report and not re.search(r"search depth too small|out of memory|Interrupted|reached -DMEMLIM", report)
    return PASS if ended else "unfinished"


def search(model: str, flags: str, optimise: str) -> str:
    """Spin's report."""
    with tempfile.TemporaryDirectory(prefix="millpond-model-") as folder:
        def run(*words):
            done = subprocess.run(words, cwd=folder, capture_output=True, text=True, timeout=LIMIT)
            return done.stdout + done.stderr
        try:
            report = run("spin", "-a", *flags.split(), str(MODELS / f"{model}.pml"))
            report += run("gcc", optimise, "-w", "-DSAFETY", "-DCOLLAPSE", "-DMEMLIM=3000", "-o", "pan", "pan.c")
            return report + run("./pan", "-m2000000", "-w22")
        except subprocess.TimeoutExpired:
            return f"not within {LIMIT:.0f} s"


def check(row) -> bool:
    name, must, model, flags = row
    began = time.monotonic()
    report = search(model, flags, "-O1" if must == PASS else "-O0")  # what fails, fails early
    got = verdict(report)
    states = re.search(r"(\d+) states, stored", report)
    print(f"{'ok' if got == must else 'FAILED'}: {name:<24} must {must:<14} got {got:<14} {states[1] if states else '-':>9} states "
          f"{time.monotonic() - began:6.1f} s  {flags}", flush=True)
    if got != must:
        print("\n".join(report.splitlines()[-15:]), flush=True)
    return got == must


def main(names: list[str]) -> int:
    rows = ROWS if not names else ROWS + LONG if names == ["all"] else [row for row in ROWS + LONG if row[0] in names]
    if names not in ([], ["all"]) and len(rows) != len(set(names)):
        print(f"check: there is no such row: they are all, {', '.join(row[0] for row in ROWS + LONG)}", file=sys.stderr)
        return 2
    began = time.monotonic()
    with concurrent.futures.ThreadPoolExecutor(JOBS) as pool:
        well = list(pool.map(check, rows))
    print(f"{sum(well)} of {len(rows)} rows are as they must be, in {time.monotonic() - began:.0f} s")
    return 0 if all(well) else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
