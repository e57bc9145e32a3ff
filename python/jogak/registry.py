"""Which plug-ins there are, and what each name in them means.

Plug-ins are found through the entry-point group `jogak.plugins`; more are loaded from files or modules by name. Every
name belongs to one plug-in: a clash is an error that names both. The form of discovery (lazy factories, clash errors
that name both packages) follows xDSL's `Universe` (xdslproject/xdsl, xdsl/universe.py).
"""

from __future__ import annotations

import importlib
import importlib.util
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from functools import cache
from importlib.metadata import entry_points
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any

from jogak.errors import JogakError, UsageError, unknown_name
from jogak.plugin import API_VERSION, CostModelFactory, Pass, PassFactory, Plugin, RuleFunction, TargetFactory

if TYPE_CHECKING:
    from jogak.targets.target import Target

GROUP = "jogak.plugins"

_KINDS = {"passes": "pass", "rules": "sharding rule", "cost_models": "cost model", "targets": "target"}


@dataclass
class Registry:
    """Plug-ins by name, each with the distribution or file that it came from."""

    plugins: dict[str, Plugin] = field(default_factory=dict)
    origins: dict[str, str] = field(default_factory=dict)

    def add(self, plugin: object, origin: str) -> None:
        """Add a plug-in.

        Args:
            plugin: the object that was found; anything but a `Plugin` is an error.
            origin: the distribution or file that it came from, for errors.

        Raises:
            JogakError: it is no plug-in, was written for another API version, or a name in it is taken.
        """
        if not isinstance(plugin, Plugin):
            hint = "name a module-level variable that holds a jogak.plugin.Plugin"
            raise JogakError(f"a {type(plugin).__name__} is not a plug-in", where=origin, hint=hint)
        if plugin.api_version != API_VERSION:
            message = f"plug-in {plugin.name!r} is for plug-in API {plugin.api_version}, this is {API_VERSION}"
            raise JogakError(message, where=origin, hint="install a version of the plug-in made for this Jogak")
        if plugin.name in self.plugins:
            self._clash("plug-in", plugin.name, self.origins[plugin.name], origin)
        for attribute, kind in _KINDS.items():
            taken = self._owners(attribute)
            for name in getattr(plugin, attribute):
                if name in taken:
                    self._clash(kind, name, self.origins[taken[name]], origin)
        self.plugins[plugin.name] = plugin
        self.origins[plugin.name] = origin

    def load(self, source: str) -> None:
        """Add the plug-in in the variable `plugin` of a file (`path/to/file.py`) or of an importable module.

        Raises:
            JogakError: there is no such file or module, it cannot be imported, or `add` refuses what it holds.
        """
        module = _import_file(Path(source)) if source.endswith(".py") else _import_module(source)
        if not hasattr(module, "plugin"):
            hint = "end it with plugin = Plugin(name=..., passes={...})"
            raise JogakError("the module has no variable `plugin`", where=source, hint=hint)
        self.add(module.plugin, source)

    def passes(self) -> Mapping[str, PassFactory]:
        """Pass name to the function that imports its class."""
        return self._merged("passes")

    def rules(self) -> Mapping[str, RuleFunction]:
        """Op name to sharding rule."""
        return self._merged("rules")

    def cost_models(self) -> Mapping[str, Callable[[], CostModelFactory]]:
        return self._merged("cost_models")

    def targets(self) -> Mapping[str, TargetFactory]:
        """Target name to the function that makes it."""
        return self._merged("targets")

    def pass_class(self, name: str) -> type[Pass]:
        """Import the class of a Python pass.

        Raises:
            JogakError: no plug-in has a pass of this name.
        """
        factories = self.passes()
        if name not in factories:
            raise unknown_name("pass", name, factories)
        return factories[name]()

    def target(self, name: str) -> Target:
        """The target of this name.

        Raises:
            UsageError: no plug-in has one.
        """
        factories = self.targets()
        if name not in factories:
            error = unknown_name("target", name, factories)
            raise UsageError(error.message, where="--target", hint=error.hint)
        return factories[name]()

    def _merged(self, attribute: str) -> dict[str, Any]:
        return {name: value for plugin in self.plugins.values() for name, value in getattr(plugin, attribute).items()}

    def _owners(self, attribute: str) -> dict[str, str]:
        return {name: plugin.name for plugin in self.plugins.values() for name in getattr(plugin, attribute)}

    def _clash(self, kind: str, name: str, first: str, second: str) -> None:
        hint = "uninstall or rename one of the two"
        raise JogakError(f"{kind} {name!r} is defined by both {first} and {second}", where=second, hint=hint)


def discover() -> Registry:
    """The plug-ins of every installed distribution, in order of their names.

    Raises:
        JogakError: a plug-in cannot be imported, or two of them clash, or Jogak itself is not installed.
    """
    registry = Registry()
    found = sorted(entry_points(group=GROUP), key=lambda entry: (entry.name, entry.value))
    for entry in found:
        origin = f"{entry.dist.name} {entry.dist.version}" if entry.dist else entry.value
        try:
            plugin = entry.load()
        except (ImportError, AttributeError) as error:
            hint = "repair or uninstall this package"
            raise JogakError(f"cannot load the plug-in {entry.value!r}: {error}", where=origin, hint=hint) from error
        registry.add(plugin, origin)
    if "jogak" not in registry.plugins:
        hint = "install it: pip install . (or pip install -e .) in its source tree"
        raise JogakError("the built-in passes are not registered, since Jogak is not installed", hint=hint)
    return registry


@cache
def default_registry() -> Registry:
    """The installed plug-ins, found once per process."""
    return discover()


def registry_of(plugins: Sequence[str]) -> Registry:
    """The installed plug-ins and those that a configuration loads.

    Raises:
        JogakError: one of them cannot be loaded.
    """
    registry = default_registry()
    if not plugins:
        return registry
    extended = Registry(dict(registry.plugins), dict(registry.origins))
    for source in plugins:
        extended.load(source)
    return extended


_active: ContextVar[Registry | None] = ContextVar("jogak_registry", default=None)


@contextmanager
def using(registry: Registry) -> Iterator[None]:
    """Make `registry` the one that passes inside the block see."""
    token = _active.set(registry)
    try:
        yield
    finally:
        _active.reset(token)


def active_registry() -> Registry:
    """The registry of the running pipeline; the installed plug-ins outside of one."""
    return _active.get() or default_registry()


def _import_module(name: str) -> ModuleType:
    try:
        return importlib.import_module(name)
    except ImportError as error:
        hint = "give the path of a .py file or the name of an installed module"
        raise JogakError(f"cannot import the plug-in: {error}", where=name, hint=hint) from error


def _import_file(path: Path) -> ModuleType:
    if not path.is_file():
        raise JogakError("no such plug-in file", where=str(path), hint="give the path of an existing .py file")
    name = f"jogak_plugin_{path.stem}"
    spec = importlib.util.spec_from_file_location(name, path)
    if spec is None or spec.loader is None:
        raise JogakError("the file is not a Python module", where=str(path), hint="give the path of a .py file")
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module  # dataclasses look their module up while the file is executed
    try:
        spec.loader.exec_module(module)
    except Exception as error:
        message = f"the plug-in cannot be imported: {type(error).__name__}: {error}"
        raise JogakError(message, where=str(path), hint="repair the plug-in") from error
    return module
