"""The models: backbones, heads, detector and the batcher before them. Importing this package imports no torch."""

import os

# OpenMP's threads spin while they wait and take the core from decoders and other processes: with three such processes
# on two cores, small layers took six times as long, and one process alone is not faster. torch reads it when it loads.
os.environ["OMP_WAIT_POLICY"] = "passive"
