"""The agent: stands beside a terminal, reads its devices and its network, and says over MQTT how they are.

Pure: `drivers`, `diagnosis`, `health`, `heartbeat`, `backlog`, `session`. `core` joins them over the outbox, without a
clock or a thread of its own; `runtime` gives it both. The other modules own one kind of effect each.
"""
