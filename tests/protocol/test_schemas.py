import json
import subprocess
import sys
from pathlib import Path

from tillwatch_protocol.schemas import documents
from tillwatch_protocol.topics import TOPICS

PUBLISHED = Path(__file__).parents[2] / "protocol" / "schemas"


def test_the_published_documents_are_those_of_the_models() -> None:
    published = {path.name: path.read_text(encoding="utf-8") for path in PUBLISHED.glob("*.json")}
    assert published == documents(), "run `make schemas`"


def test_asyncapi_has_every_topic_with_its_quality_of_service() -> None:
    document = json.loads(documents()["asyncapi.json"])
    assert {channel["address"] for channel in document["channels"].values()} == {topic.pattern for topic in TOPICS}
    for topic in TOPICS:
        binding = document["operations"][topic.name.replace("/", "_")]["bindings"]["mqtt"]
        assert (binding["qos"], binding["retain"]) == (topic.qos, topic.retain)


def test_every_reference_in_asyncapi_leads_somewhere() -> None:
    document = json.loads(documents()["asyncapi.json"])
    for reference in _references(document):
        found = document
        for part in reference.removeprefix("#/").split("/"):
            found = found[part]


def test_the_command_says_which_document_is_out_of_date(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "tillwatch_protocol", str(tmp_path)]
    assert subprocess.run(command, check=False).returncode == 0
    assert subprocess.run([*command, "--check"], check=False).returncode == 0
    (tmp_path / "ack.schema.json").write_text("{}")
    stale = subprocess.run([*command, "--check"], check=False, capture_output=True, text=True)
    assert stale.returncode == 1
    assert "ack.schema.json" in stale.stderr


def _references(node: object) -> list[str]:
    if isinstance(node, dict):
        own = [node["$ref"]] if isinstance(node.get("$ref"), str) else []
        return own + [found for value in node.values() for found in _references(value)]
    if isinstance(node, list):
        return [found for value in node for found in _references(value)]
    return []
