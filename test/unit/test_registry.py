"""Plug-ins: what is refused, and that every refusal names its origin."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import replace

import pytest

from jogak.errors import JogakError
from jogak.plugin import Plugin
from jogak.registry import Registry, default_registry


def refusal(*plugins: tuple[object, str]) -> str:
    registry = Registry()
    *accepted, refused = plugins
    for plugin, origin in accepted:
        registry.add(plugin, origin)
    with pytest.raises(JogakError) as caught:
        registry.add(*refused)
    return str(caught.value)


def test_two_plugins_with_one_name():
    message = refusal((Plugin("twin"), "first-package 1.0"), (Plugin("twin"), "second-package 2.0"))
    assert "plug-in 'twin' is defined by both first-package 1.0 and second-package 2.0" in message


@pytest.mark.parametrize(
    ("field", "kind"),
    [("passes", "pass"), ("rules", "sharding rule"), ("cost_models", "cost model"), ("targets", "target")],
)
def test_two_plugins_that_define_one_thing(field, kind):
    table = {"my-thing": lambda *_: None}
    first, second = (replace(Plugin(name), **{field: table}) for name in ("first", "second"))
    message = refusal((first, "first-package 1.0"), (second, "plugins/second.py"))
    assert f"{kind} 'my-thing' is defined by both first-package 1.0 and plugins/second.py" in message


def test_another_api_version():
    message = refusal((Plugin("old", api_version=0), "old-package 0.1"))
    assert "old-package 0.1: plug-in 'old' is for plug-in API 0, this is 1" in message


def test_not_a_plugin():
    assert "a dict is not a plug-in" in refusal(({}, "package"))


def test_tables_are_merged():
    registry = Registry()
    registry.add(Plugin("one", rules={"a.op": lambda op: "i -> i"}), "one")
    registry.add(Plugin("two", rules={"b.op": lambda op: None}, targets={"t": lambda: 1}), "two")
    assert set(registry.rules()) == {"a.op", "b.op"}
    assert registry.targets()["t"]() == 1
    assert registry.cost_models() == {}


def test_unknown_pass_class():
    with pytest.raises(
        JogakError, match="unknown pass 'jogak-strip-assert'\n  hint: did you mean 'jogak-strip-asserts'"
    ):
        default_registry().pass_class("jogak-strip-assert")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("x = 1\n", "has no variable `plugin`"),
        ("plugin = 1\n", "a int is not a plug-in"),
        ("import nothing_of_this_name\n", "ModuleNotFoundError: No module named 'nothing_of_this_name'"),
        ("def broken(:\n", "SyntaxError"),
    ],
)
def test_bad_file(tmp_path, text, message):
    path = tmp_path / "extra.py"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(JogakError) as caught:
        Registry().load(str(path))
    assert message in str(caught.value)
    assert str(path) in str(caught.value)


def test_missing_sources(tmp_path):
    with pytest.raises(JogakError, match="no such plug-in file"):
        Registry().load(str(tmp_path / "none.py"))
    with pytest.raises(JogakError, match="cannot import the plug-in: No module named 'no_such_module'"):
        Registry().load("no_such_module")


def test_discovery_imports_no_pass():
    code = (
        "import sys; from jogak.registry import default_registry; default_registry();"
        "sys.exit(any(name.startswith('jogak.passes.') or name == 'torch' for name in sys.modules))"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
