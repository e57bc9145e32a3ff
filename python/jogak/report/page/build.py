"""The whole page of an output folder."""

from __future__ import annotations

import json
from collections.abc import Mapping
from html import escape
from importlib.resources import files
from pathlib import Path
from string import Template
from typing import Any

from jogak.errors import JogakError
from jogak.ir.context import new_context, parse_file
from jogak.ir.module import main_function
from jogak.report.communication import alike
from jogak.report.manifest import MEMORY, file_of
from jogak.report.output import write_text
from jogak.report.page import sections
from jogak.report.page.html import Section
from jogak.report.profile import PROFILE
from jogak.sharding.mesh import Mesh

REPORT = "report.html"
FRONTIER = "frontier.json"


def write_report(folder: Path, manifest: Mapping[str, Any]) -> Path:
    """Write report.html into an output folder: one file that needs no other, and nothing from the network.

    Raises:
        JogakError: the folder is incomplete, or cannot be written.
    """
    path = folder / REPORT
    write_text(path, page(folder, manifest))
    return path


def page(folder: Path, manifest: Mapping[str, Any]) -> str:
    """The text of the page; the same files give the same text.

    Raises:
        JogakError: the folder is incomplete.
    """
    mesh = Mesh.from_json(manifest["mesh"])
    module = parse_file(file_of(folder, manifest["modules"]["device"]), new_context())
    device = main_function(module).operation
    roles = [each["role"] for each in manifest["results"]]
    map_ = _json(file_of(folder, MEMORY))
    made = [
        sections.plan(manifest),
        sections.meshes(manifest),
        sections.collectives(manifest, alike(device, mesh, roles)),
        sections.memory(manifest, map_, _optional(folder / FRONTIER)),
        sections.measured(_optional(folder / PROFILE)),
        sections.coverage(manifest),
        sections.phases(manifest),
    ]
    return _render(manifest, mesh, [each for each in made if each is not None])


def _render(manifest: Mapping[str, Any], mesh: Mesh, made: list[Section]) -> str:
    asked, machine = manifest["configuration"], manifest["predicted"]["machine"]
    train = (
        f"training with {asked['options']['optimizer']['kind']}" if asked["options"].get("optimizer") else "inference"
    )
    body = "\n".join(f'<section id="{each.anchor}"><h2>{escape(each.title)}</h2>{each.body}</section>' for each in made)
    template = Template(files("jogak.report.page").joinpath("page.html").read_text(encoding="utf-8"))
    versions = ", ".join(f"{name} {version}" for name, version in manifest["tools"].items() if version)
    return template.substitute(
        title=escape(asked["model"]),
        subtitle=escape(f"{mesh.devices} devices ({mesh}), {train}, priced for {machine['name']}"),
        navigation="".join(f'<a href="#{each.anchor}">{escape(each.title)}</a>' for each in made),
        body=sections.summary(manifest) + body,
        footer=escape(f"Program {manifest['input_sha256'][:12]}. {versions}."),
    )


def _optional(path: Path) -> Any:
    return _json(path) if path.is_file() else None


def _json(path: Path) -> Any:
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise JogakError(f"cannot be read: {error}", where=str(path), hint="make it again") from None
