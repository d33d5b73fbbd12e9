"""python3 -m unittest discover benches/peers"""

from __future__ import annotations

import json
import os
import shutil
import sys
import tempfile
import unittest
from pathlib import Path
from typing import Callable

sys.path.insert(0, os.path.dirname(__file__))

import clients
import measure
import records
import report
import scenarios
from clients import Task
from runs import Measured
from server import Nginx, Seen, find_nginx


class Records(unittest.TestCase):
    def check(self, lines: list[str], rows: int, expected: str) -> None:
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder, "out.ndjson")
            path.write_text("".join(f"{line}\n" for line in lines))
            self.assertEqual(str(records.verify(path, rows)), expected)

    def record(self, row: int, status: int | None = 200) -> str:
        error = None if status else "connect.refused"
        return json.dumps({"url": f"http://a/row/{row}", "status": status, "ok": status == 200, "error": error})

    def test_complete_in_any_order(self) -> None:
        self.check([self.record(1), self.record(0)], 2, "every row once, status 200")

    def test_missing(self) -> None:
        self.check([self.record(1)], 2, "1 of 2 good; 1 missing")

    def test_twice_is_no_substitute(self) -> None:
        self.check([self.record(0), self.record(0)], 2, "1 of 2 good; 1 missing, 1 twice")

    def test_failed(self) -> None:
        self.check([self.record(0, 500), self.record(1, None)], 2, "0 of 2 good; 2 failed")

    def test_torn_last_line(self) -> None:
        self.check([self.record(0), self.record(1)[:20]], 2, "1 of 2 good; 1 missing, 1 strange")

    def test_row_of_another_list(self) -> None:
        self.check([self.record(0), self.record(7)], 1, "1 of 1 good; 1 strange")


class Costs(unittest.TestCase):
    def run_python(self, code: str, timeout_s: float = 20) -> measure.Cost:
        with tempfile.TemporaryDirectory() as folder:
            return measure.run([sys.executable, "-c", code], Path(folder), timeout_s)

    def test_peak_memory(self) -> None:
        cost = self.run_python("b = b'x' * 200_000_000")
        assert cost.peak_rss_bytes is not None
        self.assertGreater(cost.peak_rss_bytes, 200_000_000)
        self.assertLess(cost.peak_rss_bytes, 240_000_000)

    def test_usual_memory_is_not_the_peak(self) -> None:
        cost = self.run_python("import time; b = b'x' * 200_000_000; del b; time.sleep(1)")
        assert cost.usual_rss_bytes is not None
        self.assertLess(cost.usual_rss_bytes, 100_000_000)

    def test_a_small_program_is_not_charged_with_ours(self) -> None:
        ballast = b"x" * 100_000_000
        cost = self.run_python("import time; time.sleep(0.2)")
        assert cost.peak_rss_bytes is not None
        self.assertLess(cost.peak_rss_bytes, len(ballast) / 2)

    def test_cpu_of_children(self) -> None:
        cost = self.run_python("import subprocess, sys; subprocess.run([sys.executable, '-c', 'sum(range(10**7))'])")
        self.assertGreater(cost.cpu_s, 0.05)

    def test_out_of_time(self) -> None:
        cost = self.run_python("import time; time.sleep(60)", timeout_s=0.3)
        self.assertIsNone(cost.exit_code)
        self.assertLess(cost.wall_s, 10)


class Durable(unittest.TestCase):
    def client(self, kind: str, name: str) -> clients.Client:
        # Any file that is there will do: the disk alone runs without our program.
        programs = clients.Programs(Path(sys.executable), os.environ["PATH"], sys.executable)
        return next(c for c in clients.durable(programs, kind, 1000) if c.name == f"{kind}: {name}")

    def check_disk_alone(self, kind: str, found: Callable[[Task], int]) -> None:
        with tempfile.TemporaryDirectory() as name:
            task = Task(clients.Lists(5000, Path("u"), Path("u"), "u"), 64, Path(name, "run"))
            task.folder.mkdir()
            client = self.client(kind, "the disk alone")
            cost = measure.run(client.command(task), task.folder, 20)
            self.assertEqual((cost.exit_code, client.told(task).answered), (0, 5000))
            self.assertEqual(found(task), 5000)

    def test_the_disk_alone_writes_a_file(self) -> None:
        size = 1000 + clients.RECORD_BYTES
        self.check_disk_alone("lines", lambda task: clients.output_of(task).stat().st_size // size)

    def test_the_disk_alone_writes_files(self) -> None:
        self.check_disk_alone("files", lambda task: sum(f.name.isdecimal() for f in clients.files_of(task).iterdir()))

    def test_files_outlive_their_run_and_must_have_their_names(self) -> None:
        with tempfile.TemporaryDirectory() as name:
            task = Task(clients.Lists(2, Path("u"), Path("u"), "u"), 64, Path(name, "run"))
            folder = clients.files_of(task)
            self.assertNotEqual(folder, task.folder)
            folder.mkdir()
            (folder / "0").touch()
            (folder / ".1.part").touch()
            self.assertEqual(self.client("files", "group").told(task), clients.Told(2, "1 files without their names"))

    def test_ratios_are_to_the_run_without_a_journal(self) -> None:
        none, group = self.client("lines", "none"), self.client("lines", "group")
        costs = [(none, 1.0, 0.5), (group, 2.0, 0.6), (none, 2.0, 0.5), (group, 2.5, 0.6)]
        told = clients.Told(10)
        runs = [Measured(c, 10, measure.Cost(wall, cpu, 0.0, None, 0, 0.0), None, told) for c, wall, cpu in costs]
        table = scenarios._durable_table([none, group], runs)
        self.assertEqual([row[-2:] for row in table[1:]], [["1.00 ×", "1.00 ×"], ["0.65 ×", "1.20 ×"]])


class Complaints(unittest.TestCase):
    def check(
        self, expected: str, exit_code: int | None = 0, seen: int = 10, told: clients.Told = clients.Told()
    ) -> None:
        client = clients.Client("x", "x", "1.0", lambda _: [])
        cost = measure.Cost(1.0, 0.1, 0.1, None, exit_code, 0.0)
        run = Measured(client, 10, cost, Seen(seen, 1, 0.1), told)
        self.assertEqual(run.complaint, expected)
        self.assertEqual(run.rate is None, bool(expected))

    def test_all(self) -> None:
        self.check("")
        self.check("stopped: out of time", exit_code=None)
        self.check("exit code 7", exit_code=7)
        self.check("9 of 10 rows answered", seen=9)
        self.check("9 of 10 rows answered", told=clients.Told(9))
        self.check("1 twice", told=clients.Told(10, "1 twice"))


class Reports(unittest.TestCase):
    def test_table(self) -> None:
        expected = "| a   |   b |\n| --- | --: |\n| one | 1.0 |"
        self.assertEqual(report.table([["a", "b"], ["one", "1.0"]]), expected)

    def test_a_shown_command_holds_no_path(self) -> None:
        client = clients.Client("x", "/opt/x/bin/x", "1.0", lambda _: [])
        command = ["/opt/x/bin/x", "-w", "%{http_code}\\n", "-o", "/tmp/work/run/out"]
        self.assertEqual(clients.shown(command, client, Path("/tmp/work")), "x -w '%{http_code}\\n' -o run/out")


@unittest.skipUnless(find_nginx() and shutil.which("curl"), "needs nginx and curl")
class Servers(unittest.TestCase):
    def test_nginx_counts_and_ends(self) -> None:
        with tempfile.TemporaryDirectory() as name:
            folder = Path(name)
            with Nginx(folder, 100_000, 4) as nginx:
                pids = nginx.pids
                before = nginx.seen()
                cost = measure.run(["curl", "-s", f"{nginx.url}/a", f"{nginx.url}/b"], folder, 10, pids)
                seen = nginx.seen_since(before)
            self.assertEqual((cost.exit_code, seen.requests, seen.connections), (0, 2, 1))
            self.assertEqual((folder / "stdout").stat().st_size, 200_000)
            self.assertFalse(any(Path(f"/proc/{pid}").exists() for pid in pids))


if __name__ == "__main__":
    unittest.main()
