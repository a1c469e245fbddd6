"""docker-compose.yml as it is read: its services, and what is mounted into them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml

from pages import ROOT

__all__ = ["COMPOSE", "FOLDER", "ROOT", "SERVICES", "flag", "loaded", "mounts"]

FOLDER = ROOT / "dashboards"
COMPOSE = yaml.safe_load((ROOT / "docker-compose.yml").read_text("utf-8"))
SERVICES: dict[str, dict[str, Any]] = COMPOSE["services"]


def loaded(*path: str) -> Any:
    """A YAML file of ours."""
    return yaml.safe_load(FOLDER.joinpath(*path).read_text("utf-8"))


def mounts(service: str) -> dict[str, Path | str]:
    """Where in the container -> the file or folder of ours, or the volume's name."""
    made: dict[str, Path | str] = {}
    for volume in SERVICES[service].get("volumes", ()):
        source, target, *_ = volume.split(":")
        made[target] = ROOT / source if source.startswith(".") else source
    return made


def flag(service: str, name: str) -> str:
    """What the service's command has for it."""
    command = SERVICES[service]["command"]
    for word, following in zip(command, [*command[1:], ""], strict=True):
        if word == name:
            return str(following)
        if word.startswith(f"{name}="):
            return str(word.partition("=")[2])
    raise AssertionError(f"{service} has no {name}")
