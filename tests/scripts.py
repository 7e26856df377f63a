"""Loading of the scripts in deploy/, which belong to no package, as modules."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from types import ModuleType

DEPLOY = Path(__file__).parent.parent / "deploy"


def load_script(name: str, module: str = "") -> ModuleType:
    """Load ``deploy/<name>.py`` again, as a module of that or another name."""
    spec = importlib.util.spec_from_file_location(module or name, DEPLOY / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    loaded = sys.modules[module or name] = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(loaded)
    return loaded
