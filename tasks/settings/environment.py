"""Read the environment into :class:`Settings`. No other file of tamis reads it."""

from __future__ import annotations

import difflib
import os
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple, get_type_hints

from pydantic import TypeAdapter, ValidationError

from inference.decode.options import GPU_DECODERS
from tasks.settings import groups
from tasks.settings.groups import PREFIX

# They select a process's GPU, and the driver if it is not in a standard place.
GPU_VARIABLES = ("CUDA_VISIBLE_DEVICES", "CUDA_DEVICE_ORDER", "CUDA_MPS_PIPE_DIRECTORY", "LD_LIBRARY_PATH")


class SettingsError(Exception):
    """Raised for one or more wrong settings; the message lists each with its value and the remedy."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """The fleet's settings, a group for each part that reads them."""

    node: groups.NodeSettings = field(default_factory=groups.NodeSettings)
    broker: groups.BrokerSettings = field(default_factory=groups.BrokerSettings)
    tiers: groups.TierSettings = field(default_factory=groups.TierSettings)
    oss: groups.OssSettings = field(default_factory=groups.OssSettings)
    crops: groups.CropSettings = field(default_factory=groups.CropSettings)
    thumbnails: groups.ThumbnailSettings = field(default_factory=groups.ThumbnailSettings)
    odps: groups.OdpsSettings = field(default_factory=groups.OdpsSettings)
    aliyun: groups.AliyunSettings = field(default_factory=groups.AliyunSettings)
    spool: groups.SpoolSettings = field(default_factory=groups.SpoolSettings)
    flow: groups.FlowSettings = field(default_factory=groups.FlowSettings)
    models: groups.ModelSettings = field(default_factory=groups.ModelSettings)
    weights: groups.WeightsSettings = field(default_factory=groups.WeightsSettings)
    decode: groups.DecodeSettings = field(default_factory=groups.DecodeSettings)
    features: groups.FeatureSettings = field(default_factory=groups.FeatureSettings)
    delivery: groups.DeliverySettings = field(default_factory=groups.DeliverySettings)
    ingest: groups.IngestSettings = field(default_factory=groups.IngestSettings)
    telemetry: groups.TelemetrySettings = field(default_factory=groups.TelemetrySettings)

    @property
    def spool_root(self) -> Path:
        """Return the spool's directory, or its default."""
        return self.spool.directory or self.node.state_dir / "spool"

    @property
    def weights_root(self) -> Path:
        """Return the weights directory, or its default."""
        return self.weights.directory or self.node.state_dir / "weights"

    @property
    def has_embedded_cache(self) -> bool:
        """Return whether `tamis up` starts a cache of features itself."""
        return self.broker.is_embedded and self.features.cache_url is None and self.features.cache_bytes > 0

    @classmethod
    def of(cls, **values: Any) -> Settings:
        """Return settings from values named like the variables in lower case: ``Settings.of(shard_rows=2)``."""
        return cls().changed(**values)

    def changed(self, **values: Any) -> Settings:
        """Return these settings with some values replaced, named like the variables in lower case."""
        return self.with_variables({PREFIX + name.upper(): value for name, value in values.items()})

    @classmethod
    def from_env(cls, environ: Mapping[str, str]) -> Settings:
        """Parse ``TAMIS_*`` strictly: every mistake is reported, in one :class:`SettingsError`.

        A secret may be in a file: ``<NAME>_FILE`` names it, for every setting that is a secret.
        """
        given, problems = _with_secret_files({key: value for key, value in environ.items() if key.startswith(PREFIX)})
        return cls().with_variables({key: value for key, value in given.items() if value != ""}, problems)

    def with_variables(self, given: Mapping[str, Any], problems: Sequence[str] = ()) -> Settings:
        """Return settings with these values, each checked by its kind. Raises :class:`SettingsError`."""
        problems = list(problems)
        changes: defaultdict[str, dict[str, Any]] = defaultdict(dict)
        for variable, value in given.items():
            if variable not in SETTINGS:
                problems.append(_unknown(variable))
                continue
            one = SETTINGS[variable]
            try:
                changes[one.group][one.name] = TypeAdapter(one.kind).validate_python(value)
            except ValidationError as error:
                problems += [_describe(variable, detail) for detail in error.errors()]
        settings = self
        try:
            settings = replace(self, **{name: replace(getattr(self, name), **own) for name, own in changes.items()})
        except ValueError as error:  # two values that exclude each other
            problems.append(str(error))
        if problems:
            raise SettingsError("; ".join(sorted(problems)))
        return settings


class Setting(NamedTuple):
    """A setting: the field of :class:`Settings` that holds its group, its own field, the kind that checks its value."""

    group: str
    name: str
    kind: Any


def _declared() -> Iterator[tuple[str, Setting]]:
    """Yield the variable of each setting, and the setting."""
    for group, declared in get_type_hints(Settings).items():
        kinds = get_type_hints(declared, include_extras=True)
        for one in fields(declared):
            yield one.metadata["variable"], Setting(group, one.name, kinds[one.name])


SETTINGS = dict(_declared())
_SECRETS = frozenset(variable for variable, one in SETTINGS.items() if "SecretStr" in repr(one.kind))


def _with_secret_files(given: Mapping[str, str]) -> tuple[dict[str, str], list[str]]:
    """Replace ``<NAME>_FILE`` of secrets by ``<NAME>`` with the file's text; return the values and the mistakes."""
    values, problems = dict(given), []
    for name in _SECRETS:
        if not (path := values.pop(f"{name}_FILE", "")):
            continue
        if values.get(name):
            problems.append(f"{name} and {name}_FILE are both set: unset one")
            continue
        try:
            values[name] = Path(path).expanduser().read_text(encoding="utf-8").strip()
        except UnicodeDecodeError:
            problems.append(f"{name}_FILE={path!r}: is not UTF-8 text")
        except OSError as error:
            problems.append(f"{name}_FILE={path!r}: {error.strerror}")
        else:
            if not values[name]:
                problems.append(f"{name}_FILE={path!r}: is empty")
    return values, problems


def _unknown(variable: str) -> str:
    near = difflib.get_close_matches(variable, SETTINGS, n=1)
    hint = f"did you mean {near[0]}?" if near else "see docs/settings.md for the names"
    return f"{variable} is not a setting of tamis: {hint}"


def _describe(variable: str, detail: Any) -> str:
    is_secret = variable.endswith("_URL") or variable in _SECRETS or "@" in str(detail["input"])
    shown = "***" if is_secret else repr(detail["input"])
    return f"{variable}={shown}: {detail['msg'].removeprefix('Value error, ')}"


@cache
def current() -> Settings:
    """Return this process's settings, read from the environment at the first call."""
    return Settings.from_env(os.environ)


def decoder_environ(decoder: str) -> dict[str, str]:
    """Return the variables that the decoder's children need: none, unless they use the GPU."""
    return {name: os.environ[name] for name in GPU_VARIABLES if name in os.environ} if decoder in GPU_DECODERS else {}


def visible_devices(names: Iterable[str]) -> dict[str, str]:
    """Return those of the makers' variables that are set: they limit a process to some GPUs of its machine."""
    return {name: os.environ[name] for name in names if name in os.environ}


def flower_password_file() -> Path | None:
    """Return the file of Flower's passwords that ``FLOWER_BASIC_AUTH_FILE`` names, if it names one."""
    name = os.environ.get("FLOWER_BASIC_AUTH_FILE")
    return Path(name) if name else None


def child_environ(*left_out: str, **changes: str) -> dict[str, str]:
    """Return this process's environment without some variables and with changes, for a child process."""
    return {name: value for name, value in os.environ.items() if name not in left_out} | changes
