"""What the worlds of a long experiment told, beside the figures: a run that is cut goes on.

Each lies under a name of its own, and all under a digest of every module that took part: what the same code told once
is not run again, and what other code told counts for nothing. `EVIDENCE_ANEW=1` trusts nothing that is kept.
"""

import hashlib
import json
import os
import subprocess
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from tests.bench.figures import RESULTS

ROOT = RESULTS.parents[1]


class Kept:
    """What was told; each as JSON has it."""

    def __init__(self, path: Path, code: str) -> None:
        self._path, self._code = path, code
        self.told: dict[str, Any] = {}
        if path.exists() and not os.environ.get("EVIDENCE_ANEW"):
            known = json.loads(path.read_text(encoding="utf-8"))
            self.told = known["told"] if known.get("code") == code else {}

    def take(self, name: str, told: Any) -> None:
        """Keep one more."""
        self.told[name] = told
        lines = ",\n".join(f"{json.dumps(key)}: {json.dumps(self.told[key])}" for key in sorted(self.told))
        fresh = self._path.with_suffix(".fresh")  # whoever is killed meanwhile loses this one, and no other
        fresh.write_text(f'{{"code": "{self._code}", "told": {{\n{lines}\n}}}}\n', encoding="utf-8")
        fresh.replace(self._path)


def kept(experiment: str, modules: Iterable[str], *, but: str) -> Kept:
    """Open what an experiment told, of which `modules` are what runs, and `but` only counts."""
    return Kept(RESULTS / f"{experiment}.json", code_digest(modules, but=but))


def code_digest(modules: Iterable[str], *, but: str) -> str:
    """Digest every file of ours that these modules load, and the policy that is judged by."""
    # By itself: in this process other experiments have loaded theirs.
    program = (
        f"import sys, {', '.join(modules)}\n"
        "print(*(m.__file__ for m in sys.modules.values() if getattr(m, '__file__', None)), sep='\\n')"
    )
    loaded = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=True)
    ours = {file for line in loaded.stdout.splitlines() if (file := Path(line)).is_relative_to(ROOT)}
    digest = hashlib.sha256()
    for file in sorted({*ours, *ROOT.glob("collector/src/*/policy.toml")} - {Path(but)}):
        if ".venv" not in file.parts:
            digest.update(f"{file.relative_to(ROOT)}\n".encode() + file.read_bytes())
    return digest.hexdigest()
