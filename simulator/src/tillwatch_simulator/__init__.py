"""The simulator: devices, terminals and fleets that behave and fail as real ones do, so that all runs without hardware.

Pure: `devices` (the device's side of each protocol, from its manual), `scenario`, `faults`, `link`. Shells: `ports`,
`fleet`, `demo`.
It reaches a collector as a till does, over MQTT and HTTP, and never imports one.
"""
