"""TAMIS_DECODER: valid names, the number of children, and the environment of the children."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from inference.cores import usable_cores
from inference.decode.options import ADAPTERS, GPU_CHILDREN
from tasks.settings import Settings, SettingsError

ROOT = Path(__file__).parents[4]
ENVIRON = "import tasks.settings as s; print(sorted(s.decoder_environ('{decoder}').items()))"


@pytest.mark.parametrize("decoder", [*ADAPTERS, "mine.decoders:Mine", "mine:Mine"])
def test_an_adapter_or_the_path_of_another_class_is_accepted(decoder: str) -> None:
    assert Settings.from_env({"TAMIS_DECODER": decoder}).decode.decoder == decoder


@pytest.mark.parametrize("decoder", ["pyva", "PyAV", "torchcodec", "mine.decoders", "mine/decoders.py:Mine", ":Mine"])
def test_any_other_decoder_is_refused_with_its_value_and_the_remedy(decoder: str) -> None:
    with pytest.raises(SettingsError) as caught:
        Settings.from_env({"TAMIS_DECODER": decoder})
    assert f"TAMIS_DECODER={decoder!r}: is not a decoder: use one of pyav, decord, nvdec, or" in str(caught.value)


def test_there_is_a_child_for_each_core_but_few_if_each_takes_gpu_memory() -> None:
    cores = usable_cores()
    assert Settings.from_env({}).decode.processes == cores
    assert Settings.from_env({"TAMIS_DECODER": "nvdec"}).decode.processes == min(cores, GPU_CHILDREN)
    chosen = Settings.from_env({"TAMIS_DECODER": "nvdec", "TAMIS_DECODER_CHILDREN": "20"})
    assert chosen.decode.processes == 20


@pytest.mark.parametrize(
    ("decoder", "expected"),
    [("pyav", []), ("decord", []), ("nvdec", [("CUDA_VISIBLE_DEVICES", "3"), ("LD_LIBRARY_PATH", "/driver/lib")])],
)
def test_children_get_the_variables_of_their_gpu_and_no_secret(decoder: str, expected: list[tuple[str, str]]) -> None:
    environ = {"CUDA_VISIBLE_DEVICES": "3", "LD_LIBRARY_PATH": "/driver/lib", "OSS_ACCESS_KEY_SECRET": "hunter2"}
    command = [sys.executable, "-c", ENVIRON.format(decoder=decoder)]
    answer = subprocess.run(command, cwd=ROOT, env=environ, capture_output=True, text=True, check=True)
    assert answer.stdout.strip() == str(expected)


def test_reading_the_settings_loads_no_decoder() -> None:
    program = "import tasks.settings, sys; print(sorted({'av', 'numpy', 'torch', 'decord'} & set(sys.modules)))"
    answer = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=True)
    assert answer.stdout.strip() == "[]"
