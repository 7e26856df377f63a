"""A small fault drill: every kind of fault once, and six kills. `make drill` runs larger ones."""

from __future__ import annotations

import re
import subprocess
import sys

from tests.fleet.processes import REPOSITORY


def test_every_kind_of_fault_loses_no_row_and_writes_none_twice() -> None:
    command = [sys.executable, "-m", "tests.drill", "--rows", "300", "--kills", "6", "--seed", "5"]
    command += ["--seconds", "400", "--redelivery-seconds", "60"]  # on a busy machine
    drill = subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True, check=False)
    output = drill.stdout + drill.stderr
    assert drill.returncode == 0, output
    last = r"drill: rows=300 kills=6 faults=\d+ lost=0 twice=0 redelivery_max_s=\d+\.\d"
    assert re.fullmatch(last, drill.stdout.splitlines()[-1]), output
