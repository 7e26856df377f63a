"""What tamis brings onto a host: nothing absent, nothing at odds, and whose licences ask more of you than its own."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from importlib.metadata import Distribution, distribution

from packaging.requirements import Requirement

EXTRAS = frozenset({"gpu", "aliyun", "otel", "decord"})


def required(name: str, extras: frozenset[str], seen: set[tuple[str, frozenset[str]]]) -> Iterator[Distribution]:
    """Yield the package and all that it needs. PackageNotFoundError for one that is absent."""
    if (name, extras) in seen:
        return
    seen.add((name, extras))
    found = distribution(name)
    yield found
    for line in found.requires or []:
        need = Requirement(line)
        if need.marker is None or any(need.marker.evaluate({"extra": extra}) for extra in extras or {""}):
            yield from required(need.name, frozenset(need.extras), seen)


def licence(package: Distribution) -> str:
    told = package.metadata
    classifiers = [line for line in told.get_all("Classifier") or [] if "License ::" in line]
    return " ".join([told.get("License-Expression") or "", (told.get("License") or "")[:100], *classifiers])


def test_copyleft_comes_with_the_detector_alone() -> None:
    packages = {one.metadata["Name"]: licence(one) for one in required("tamis", EXTRAS, set())}
    assert len(packages) > 50
    assert {name.split("-")[0] for name, text in packages.items() if "GPL" in text} == {"ultralytics"}


def test_every_package_has_what_it_needs_in_a_version_that_it_takes() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "pip", "check"], capture_output=True, text=True, timeout=120, check=False
    )
    assert done.returncode == 0, done.stdout
