"""The method that CONTRIBUTING shows, as a row: made of the file and the row that are printed there."""

from __future__ import annotations

import re
import sys
from functools import lru_cache
from pathlib import Path
from types import ModuleType

from shared_tmu import Method, schedule
from shared_tmu.method_parts import places
from shared_tmu.method_parts.seen import Needs

TEXT = (Path(__file__).parents[3] / "CONTRIBUTING.md").read_text()


@lru_cache
def read_example() -> Method:
    """Its row; its file becomes a module that can be imported, as it would be in the folder of methods."""
    chapter = TEXT.split("## Add a method")[1].split("\n## ")[0]
    (code,) = re.findall(r"```python\n(.*?)```", chapter, re.DOTALL)
    (row,) = re.findall(r"^Method\(.*\)(?=,$)", chapter, re.MULTILINE)
    module = ModuleType("shared_tmu.methods.third")
    module.__package__ = "shared_tmu.methods"
    sys.modules[module.__name__] = module
    exec(code, module.__dict__)
    names = {**vars(places), **vars(schedule), **vars(module), "Method": Method, "Needs": Needs}
    made: Method = eval(row, names)
    return made
