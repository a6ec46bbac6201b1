"""The named templates of this machine: what each offers, its version, and whether it can run here.

A template's version is the digest of the versions its interpreters told when they were tried inside a
sandbox, and of its mounts: two runs with the same version saw the same tools (DESIGN §4).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from hashlib import sha256

from runner.interpreters import Interpreter, search_path_of

_ID_HEX_CHARS = 26
DEFAULT_TEMPLATE = "python-node"
EXTERNAL_TEMPLATE = "external"


class UnknownTemplate(LookupError):
    """No template has this slug or version id: the caller's mistake (400)."""


@dataclass(frozen=True, slots=True)
class _Recipe:
    """What a template needs, and what it offers where present."""

    needs: tuple[str, ...] = ()
    offers: tuple[str, ...] = ()


_RECIPES: Mapping[str, _Recipe] = {
    "python-node": _Recipe(needs=("python3",), offers=("node",)),
    "python": _Recipe(needs=("python3",)),
    "node": _Recipe(needs=("node",)),
    "base": _Recipe(),
    EXTERNAL_TEMPLATE: _Recipe(),
}


@dataclass(frozen=True, slots=True)
class Tool:
    """An interpreter and what it answered when asked for its version inside a sandbox."""

    interpreter: Interpreter
    version: str


@dataclass(frozen=True, slots=True)
class Template:
    """A resolved template; `missing` names why it cannot run here, None when it can."""

    slug: str
    tools: tuple[Tool, ...]
    missing: str | None

    @property
    def version(self) -> str:
        """`sha256-` and the digest of tools and mounts."""
        lines = [f"template {self.slug}", "network none"]
        for tool in self.tools:
            lines.append(f"tool {tool.interpreter.name} {tool.version} at {tool.interpreter.path}")
            if tool.interpreter.mount:
                lines.append("mount {} at {}, read-only".format(*tool.interpreter.mount))
        return "sha256-" + sha256("\n".join(lines).encode()).hexdigest()

    @property
    def search_path(self) -> str:
        """PATH for its commands."""
        return search_path_of(tool.interpreter for tool in self.tools)

    def record(self) -> dict[str, str]:
        """`{id, slug, version, versionId}` as events carry it (CONTRACT §6.6)."""
        version = self.version
        return {
            "id": "tpl_" + self.slug.replace("-", ""),
            "slug": self.slug,
            "version": version,
            "versionId": "tplv_" + version.removeprefix("sha256-")[:_ID_HEX_CHARS],
        }


class Templates:
    """All templates, resolved once against the tools that answered."""

    def __init__(self, tools: Mapping[str, Tool]) -> None:
        self._by_name: dict[str, Template] = {}
        for slug, recipe in _RECIPES.items():
            missing = [name for name in recipe.needs if name not in tools]
            why = (
                f"{' and '.join(missing)} could not be run in a sandbox on this machine" if missing else None
            )
            if slug == EXTERNAL_TEMPLATE:
                why = "it marks runs that were executed elsewhere"
            names = (*recipe.needs, *recipe.offers)
            template = Template(slug, tuple(tools[name] for name in names if name in tools), why)
            self._by_name[slug] = template
            self._by_name[template.record()["versionId"]] = template

    def get(self, name: str) -> Template:
        """The template with this slug or version id; raises `UnknownTemplate`.

        A known template that this machine cannot offer is returned with `missing` set: a run of it is
        created, and fails as `sandbox_unavailable`.
        """
        try:
            return self._by_name[name]
        except KeyError:
            known = ", ".join(slug for slug in _RECIPES if slug != EXTERNAL_TEMPLATE)
            raise UnknownTemplate(f"There is no template {name!r} here. Use one of: {known}.") from None

    def resolve(self, name: str) -> dict[str, str]:
        """`{id, slug, version, versionId}` of the template with this slug or version id."""
        return self.get(name).record()
