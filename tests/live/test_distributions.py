"""Each distribution installs and imports alone, from what it declares; the agent brings nothing of the server."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
UV = ROOT / ".boot" / "bin" / "uv"
SERVER_PARTS = {"fastapi", "starlette", "sqlmodel", "sqlalchemy", "alembic", "amqtt", "uvicorn", "jinja2", "typer"}

ALONE = [
    # what is installed, and the folders it may come from
    ("protocol", ["protocol"]),
    ("agent", ["protocol", "agent"]),
    ("collector", ["protocol", "collector"]),
    ("simulator", ["protocol", "agent", "simulator"]),
]


def run(*command: str | Path) -> str:
    done = subprocess.run([*map(str, command)], capture_output=True, text=True, check=False, cwd="/")
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.mark.parametrize(("name", "folders"), ALONE, ids=[name for name, _ in ALONE])
def test_a_distribution_installs_and_imports_alone(name: str, folders: list[str], tmp_path: Path) -> None:
    python = tmp_path / "bin" / "python"
    run(UV, "venv", "--quiet", "--python", sys.executable, tmp_path)
    run(UV, "pip", "install", "--quiet", "--python", python, *(ROOT / folder for folder in folders))

    modules = json.loads(run(python, "-c", WALK, f"tillwatch_{name}"))
    assert f"tillwatch_{name}" in modules
    installed = {
        line["name"].lower() for line in json.loads(run(UV, "pip", "list", "--format=json", "--python", python))
    }
    assert {part for part in installed if part.startswith("tillwatch")} == {f"tillwatch-{folder}" for folder in folders}
    if name in {"protocol", "agent"}:
        assert not installed & SERVER_PARTS


WALK = """
import importlib, json, pkgutil, sys
top = importlib.import_module(sys.argv[1])
names = [m.name for m in pkgutil.walk_packages(top.__path__, top.__name__ + ".")
         if not m.name.endswith("__main__") and ".migrations" not in m.name]
for name in names:
    importlib.import_module(name)
print(json.dumps([top.__name__, *names]))
"""
