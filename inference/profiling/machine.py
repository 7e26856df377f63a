"""The machine and the versions behind a profile's figures: without them two runs cannot be compared."""

from __future__ import annotations

import os
import platform
from importlib.metadata import PackageNotFoundError, version

import torch

from inference.models.device import device_info, device_name

PACKAGES = ("torch", "torchvision", "transformers", "av", "numpy")

Fingerprint = dict[str, str]


def fingerprint(device: torch.device) -> Fingerprint:
    """Names and values in the order in which they are shown."""
    cores = sorted(os.sched_getaffinity(0))
    page_bytes, pages = os.sysconf("SC_PAGE_SIZE"), os.sysconf("SC_PHYS_PAGES")
    return {
        "host": platform.node(),
        "processor": device_name(torch.device("cpu")),
        "cores": f"{len(cores)} of {os.cpu_count()} ({', '.join(map(str, cores))})",
        "memory": f"{page_bytes * pages / 2**30:.1f} GiB",
        "device": device_name(device),
        "device details": device_info(device),
        "system": f"{platform.system()} {platform.release()}",
        "python": platform.python_version(),
        "packages": ", ".join(f"{name} {_version(name)}" for name in PACKAGES),
    }


def _version(name: str) -> str:
    try:
        return version(name)
    except PackageNotFoundError:
        return "absent"
