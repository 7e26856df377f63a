"""The dependencies of tamis: installed, in accepted versions, and copyleft only in the detector."""

from __future__ import annotations

from collections.abc import Iterator
from importlib.metadata import Distribution, distribution, distributions

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

EXTRAS = frozenset({"gpu", "train", "aliyun", "otel", "decord"})


def required(name: str, extras: frozenset[str], seen: set[tuple[str, frozenset[str]]]) -> Iterator[Distribution]:
    """Yield the package and all its dependencies; ``PackageNotFoundError`` for an absent one."""
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
    metadata = package.metadata
    classifiers = [line for line in metadata.get_all("Classifier") or [] if "License ::" in line]
    return " ".join([metadata.get("License-Expression") or "", (metadata.get("License") or "")[:100], *classifiers])


def test_only_the_detector_has_a_copyleft_licence() -> None:
    packages = {one.metadata["Name"]: licence(one) for one in required("tamis", EXTRAS, set())}
    assert len(packages) > 50
    assert {name.split("-")[0] for name, text in packages.items() if "GPL" in text} == {"ultralytics"}


def accepts(need: Requirement, versions: dict[str, str]) -> bool:
    found = versions.get(canonicalize_name(need.name))
    return found is not None and need.specifier.contains(found, prereleases=True)


def test_an_absent_or_old_package_is_refused() -> None:
    assert accepts(Requirement("torch>=2"), {"torch": "2.9"})
    assert not accepts(Requirement("torch>=2"), {"torch": "1.9"})
    assert not accepts(Requirement("torch"), {})


def test_every_package_has_its_dependencies_in_accepted_versions() -> None:
    packages = [one.metadata for one in distributions()]  # each call reads the file again
    versions = {canonicalize_name(one["Name"]): one["Version"] for one in packages}
    wanted = ((one["Name"], Requirement(line)) for one in packages for line in one.get_all("Requires-Dist") or [])
    needed = [(name, need) for name, need in wanted if need.marker is None or need.marker.evaluate({"extra": ""})]
    assert [f"{name} needs {need}" for name, need in needed if not accepts(need, versions)] == []
