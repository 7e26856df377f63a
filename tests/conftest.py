"""What holds for every test."""

import os

os.environ["OMP_WAIT_POLICY"] = "passive"  # before any test imports torch; inference.models says why
