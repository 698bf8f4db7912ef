"""What comes from outside is data: nothing in the packages makes code of it."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
SOURCES = sorted(path for each in ("streams", "operators") for path in (ROOT / each).rglob("*.py"))

FORBIDDEN_CALLS = {"eval", "exec", "compile", "__import__"}
FORBIDDEN_MODULES = {"pickle", "marshal", "shelve", "dill", "cloudpickle", "jsonpickle", "code", "codeop"}


def forbidden(source: str) -> Iterator[str]:
    """What in a module runs, or reads as code, what may have come from outside."""
    for node in ast.walk(ast.parse(source)):
        names: list[str] = []
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name):
            names = [node.func.id] if node.func.id in FORBIDDEN_CALLS else []
        elif isinstance(node, ast.Import):
            names = [each.name for each in node.names if each.name.split(".")[0] in FORBIDDEN_MODULES]
        elif isinstance(node, ast.ImportFrom):
            names = [node.module or ""] if (node.module or "").split(".")[0] in FORBIDDEN_MODULES else []
        elif isinstance(node, ast.Attribute | ast.Name):
            name = node.attr if isinstance(node, ast.Attribute) else node.id
            names = [name] if "pickle" in name or name in ("os.system", "popen") else []
        elif isinstance(node, ast.keyword) and node.arg == "shell":
            names = ["shell"]
        for name in names:
            yield f"line {node.lineno}: {name}"


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: path.relative_to(ROOT).as_posix())
def test_nothing_from_outside_becomes_code(path: Path) -> None:
    """No eval, no exec, no pickle, no marshal, no shell."""
    assert list(forbidden(path.read_text(encoding="utf-8"))) == []


@pytest.mark.parametrize(
    "source",
    [
        *("eval(text)", "exec(text)", "compile(text, '', 'exec')", "__import__(name)", "import pickle"),
        *(
            "from marshal import loads",
            "import cloudpickle.x",
            "frame.to_pickle(path)",
            "run(x, shell=True)",
        ),
    ],
)
def test_what_is_forbidden_is_found(source: str) -> None:
    """Each of them, wherever it hides."""
    assert list(forbidden(f"def f(text):\n    {source}\n"))
