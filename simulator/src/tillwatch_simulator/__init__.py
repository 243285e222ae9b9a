"""Devices, terminals and fleets that behave and fail as real ones do, so that everything runs without hardware."""
