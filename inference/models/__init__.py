"""The models: finished parts, composed. Importing this package alone does not import torch."""

import os

# OpenMP's threads spin while they wait, at the cost of decoders and neighbours that need the core: with three such
# processes on two cores, small layers took six times as long; alone nothing is gained. It is read when torch loads.
os.environ["OMP_WAIT_POLICY"] = "passive"
