"""The published form of the wire: a JSON Schema per message and one AsyncAPI 3 document, made from the models."""

import json
import re
from typing import Any

from pydantic.json_schema import models_json_schema

from tillwatch_protocol.topics import ROOT, TOPICS, Direction, Topic
from tillwatch_protocol.vocabulary import PAYLOAD_BYTES_MAX, PROTOCOL_VERSION

_DRAFT = "https://json-schema.org/draft/2020-12/schema"


def documents() -> dict[str, str]:
    """File name to text: `<message>.schema.json` for each message, and `asyncapi.json`."""
    files = {f"{_snake(topic.message.__name__)}.schema.json": _schema(topic) for topic in TOPICS}
    files["asyncapi.json"] = _asyncapi()
    return {name: json.dumps(document, indent=2, ensure_ascii=False) + "\n" for name, document in files.items()}


def _schema(topic: Topic) -> dict[str, Any]:
    return {"$schema": _DRAFT, **topic.message.model_json_schema(mode="validation")}


def _asyncapi() -> dict[str, Any]:
    models = [(topic.message, "validation") for topic in TOPICS]
    _, definitions = models_json_schema(models, ref_template="#/components/schemas/{model}")  # type: ignore[arg-type]
    return {
        "asyncapi": "3.0.0",
        "info": {
            "title": "tillwatch",
            "version": str(PROTOCOL_VERSION),
            "description": f"What agents and collectors say over MQTT 3.1.1. JSON, at most {PAYLOAD_BYTES_MAX} bytes.",
            "license": {"name": "Apache-2.0"},
        },
        "defaultContentType": "application/json",
        "channels": {_channel_name(topic): _channel(topic) for topic in TOPICS},
        "operations": {_channel_name(topic): _operation(topic) for topic in TOPICS},
        "components": {"schemas": definitions["$defs"]},
    }


def _channel(topic: Topic) -> dict[str, Any]:
    owner = "process" if topic.direction is Direction.OWN else "terminal_id"
    name = topic.message.__name__
    return {
        "address": topic.pattern,
        "description": topic.says,
        "parameters": {owner: {"description": f"whose topic it is, below {ROOT}"}},
        "messages": {name: {"name": name, "payload": {"$ref": f"#/components/schemas/{name}"}}},
    }


def _operation(topic: Topic) -> dict[str, Any]:
    """Written from the collector's side: it receives what goes up."""
    channel = _channel_name(topic)
    return {
        "action": "receive" if topic.direction is Direction.UP else "send",
        "channel": {"$ref": f"#/channels/{channel}"},
        "bindings": {"mqtt": {"qos": topic.qos, "retain": topic.retain, "bindingVersion": "0.2.0"}},
    }


def _channel_name(topic: Topic) -> str:
    return topic.name.replace("/", "_")


def _snake(name: str) -> str:
    return re.sub(r"(?<!^)(?=[A-Z])", "_", name).lower()
