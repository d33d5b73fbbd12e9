"""Runs one program and says what it cost. Linux only: it reads /proc.

The wall time is from just before the program is started until it has ended; CPU time is the kernel's own account of
the program and of the children it waited for.
"""

from __future__ import annotations

import os
import resource
import select
import signal
import statistics
import subprocess
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Sequence

SAMPLE_EVERY_MS = 20
QUIET_SPAN_S = 0.5
TICKS_PER_SECOND = os.sysconf("SC_CLK_TCK")


@dataclass(frozen=True)
class Cost:
    """What one run cost. `None` is unknown, never zero."""

    wall_s: float
    user_s: float
    system_s: float
    peak_rss_bytes: int | None
    exit_code: int | None  # None: it was stopped, its time was over
    others_cores: float  # how many cores were busy with something else than this run: noise
    usual_rss_bytes: float | None = None  # the median of what was resident, sampled

    @property
    def cpu_s(self) -> float:
        return self.user_s + self.system_s


def run(command: Sequence[str], folder: Path, timeout_s: float, server_pids: Sequence[int] = ()) -> Cost:
    """Runs `command` in `folder`, its output going to the files `stdout` and `stderr` there."""
    busy_before = _busy_of_machine_s() - _busy_of_processes_s(server_pids) - _own_busy_s()
    with open(folder / "stdout", "wb") as out, open(folder / "stderr", "wb") as err:
        started = time.perf_counter()
        child = subprocess.Popen(
            command, cwd=folder, stdin=subprocess.DEVNULL, stdout=out, stderr=err, start_new_session=True
        )
        sampled_peak, usual, in_time = _wait_and_sample(child.pid, started + timeout_s)
        wall_s = time.perf_counter() - started
        _, status, usage = os.wait4(child.pid, 0)
        child.returncode = os.waitstatus_to_exitcode(status)
    busy_s = _busy_of_machine_s() - _busy_of_processes_s(server_pids) - _own_busy_s() - busy_before
    return Cost(
        wall_s=wall_s,
        user_s=usage.ru_utime,
        system_s=usage.ru_stime,
        peak_rss_bytes=_peak_rss_bytes(usage.ru_maxrss * 1024, sampled_peak),
        exit_code=child.returncode if in_time else None,
        others_cores=max(0.0, (busy_s - usage.ru_utime - usage.ru_stime) / wall_s),
        usual_rss_bytes=usual,
    )


def wait_for_quiet(limit_s: float, cores: float) -> None:
    """Waits until less than `cores` processors were busy for half a second, but no longer than the limit."""
    deadline = time.perf_counter() + limit_s
    while time.perf_counter() < deadline:
        started, busy_before = time.perf_counter(), _busy_of_machine_s()
        time.sleep(QUIET_SPAN_S)
        if (_busy_of_machine_s() - busy_before) / (time.perf_counter() - started) < cores:
            return


def _wait_and_sample(pid: int, deadline: float) -> tuple[int | None, float | None, bool]:
    """Waits for the end of a child and looks at its memory meanwhile: its peak, and the median of what was resident.

    Does not reap it. False: it had to be killed.
    """
    peak: int | None = None
    resident: list[int | None] = []
    pidfd = os.pidfd_open(pid)
    try:
        poller = select.poll()
        poller.register(pidfd, select.POLLIN)
        while not poller.poll(SAMPLE_EVERY_MS):
            peak = max_known(peak, _memory_bytes(pid, "VmHWM"))
            resident.append(_memory_bytes(pid, "VmRSS"))
            if time.perf_counter() > deadline:
                os.killpg(pid, signal.SIGKILL)
                poller.poll()
                return peak, median_known(resident), False
        return peak, median_known(resident), True
    except BaseException:
        os.killpg(pid, signal.SIGKILL)
        raise
    finally:
        os.close(pidfd)


def _peak_rss_bytes(kernel_peak: int, sampled_peak: int | None) -> int | None:
    """The kernel's peak, where it can be believed.

    Between fork and exec a child is a copy of this interpreter, and the kernel counts that too: a peak that is no
    larger than our own is ours. For such small programs the sampled high-water mark of the program alone is taken;
    it can miss only what was added within the last `SAMPLE_EVERY_MS`.
    """
    own_peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    return kernel_peak if kernel_peak > own_peak else sampled_peak


def _memory_bytes(pid: int, field: str) -> int | None:
    try:
        for line in Path(f"/proc/{pid}/status").read_text().splitlines():
            if line.startswith(f"{field}:"):
                return int(line.split()[1]) * 1024
    except OSError:
        pass  # it has just ended
    return None


def _busy_of_machine_s() -> float:
    user, nice, system, _idle, _iowait, irq, softirq, steal = map(
        int, Path("/proc/stat").read_text().split("\n", 1)[0].split()[1:9]
    )
    return (user + nice + system + irq + softirq + steal) / TICKS_PER_SECOND


def _busy_of_processes_s(pids: Sequence[int]) -> float:
    return sum(busy_of_process_s(pid) for pid in pids)


def busy_of_process_s(pid: int) -> float:
    """User and system time of a running process."""
    # The name in the second field may hold blanks: what follows the last parenthesis is well formed.
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / TICKS_PER_SECOND


def _own_busy_s() -> float:
    own = os.times()
    return own.user + own.system


def max_known(*values: int | None) -> int | None:
    """The largest of those that are known, or None."""
    known = [value for value in values if value is not None]
    return max(known) if known else None


def median_known(values: Sequence[float | None]) -> float | None:
    """The median of those that are known, or None."""
    known = [value for value in values if value is not None]
    return statistics.median(known) if known else None
