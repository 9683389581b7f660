"""Names for the shell to complete.

They are read from the source text: whoever presses TAB does not wait two seconds for torch to be imported.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Callable, Iterator
from importlib.util import find_spec
from pathlib import Path

HOUSE = Path(__file__).parents[1]
TORCH, SCIPY = "torch:", "scipy:"
NOT_FOR_DENSE = ("Optimizer", "SparseAdam")
"""What torch.optim shows beside its optimizers, and the one that takes sparse gradients only."""

Completion = Callable[[str], list[str]]
"""From what was typed to the words that it may be the beginning of; typer leaves out those that it is not."""


def methods(incomplete: str) -> list[str]:
    """The named methods, those of other packages included."""
    return [*_decorated("methods", "named"), *_from_outside("flowopt.methods")]


def network_methods(incomplete: str) -> list[str]:
    """What trains a network: named methods and optimizers of torch."""
    return [*methods(incomplete), *_torch_optimizers()]


def function_methods(incomplete: str) -> list[str]:
    """What runs on a function: the same, and SciPy's minimizers."""
    minimizers = _assigned(
        "functions/baselines/scipy_minimizers.py", "VALUES_ONLY", "GRADIENTS", "PRODUCTS", "HESSIANS"
    )
    return [*network_methods(incomplete), *(SCIPY + name for name in minimizers)]


def problems(incomplete: str) -> list[str]:
    """The named problems, those of other packages included."""
    return [*_decorated("problems", "library"), *_from_outside("flowopt.problems")]


def datasets(incomplete: str) -> list[str]:
    """The datasets; ``text:`` is followed by the name of a file."""
    return [*_assigned("training/datasets/__init__.py", "DATASETS"), "text:"]


def models(incomplete: str) -> list[str]:
    """An example of each model, which shows how its sizes are written."""
    table = next(_values("training/models/_builders.py", "MODELS"))
    assert isinstance(table, ast.Dict)
    return [text for family in table.values if isinstance(family, ast.Call) for text in _strings(family.args[1:2])]


def lists(incomplete: str) -> list[str]:
    """What ``flowopt list`` lists."""
    return _assigned("show/_listing.py", "KINDS")


def papers(incomplete: str) -> list[str]:
    """What ``flowopt reproduce`` runs."""
    return [*_assigned("reproduce/__init__.py", "EXPERIMENTS"), "all"]


def readings(incomplete: str) -> list[str]:
    """The readings of activation limiting."""
    return _assigned("networks/limiting/_crossings.py", "READINGS")


def one_of(*words: str) -> Completion:
    """A choice between words."""

    def choices(incomplete: str) -> list[str]:
        return list(words)

    return choices


def _torch_optimizers() -> list[str]:
    spec = find_spec("torch")  # finds the package without importing it
    if spec is None or spec.origin is None:
        return []
    shown = Path(spec.origin).with_name("optim") / "__init__.py"
    names = re.findall(r"^from torch\.optim\.\w+ import (\w+) as \1$", shown.read_text(encoding="utf-8"), re.MULTILINE)
    return [TORCH + name for name in names if name not in NOT_FOR_DENSE]


def _from_outside(group: str) -> list[str]:
    """Names that other packages bring along."""
    from importlib.metadata import entry_points  # a tenth of a second, which help and mistyped commands do not need

    return [entry.name for entry in entry_points(group=group)]


def _decorated(folder: str, decorator: str) -> list[str]:
    """Names of the functions in a folder that the decorator enters somewhere."""
    trees = (ast.parse(file.read_bytes()) for file in (HOUSE / folder).glob("*.py"))
    functions = (node for tree in trees for node in tree.body if isinstance(node, ast.FunctionDef))
    return sorted(
        function.name
        for function in functions
        for used in function.decorator_list
        if ast.unparse(used.func if isinstance(used, ast.Call) else used) == decorator
    )


def _assigned(file: str, *names: str) -> list[str]:
    """The strings of these tuples, or the keys of these dictionaries."""
    return [
        text
        for value in _values(file, *names)
        for text in _strings(value.keys if isinstance(value, ast.Dict) else getattr(value, "elts", []))
    ]


def _values(file: str, *names: str) -> Iterator[ast.expr]:
    """What a file assigns to these names of its own."""
    for node in ast.parse((HOUSE / file).read_bytes()).body:
        targets = node.targets if isinstance(node, ast.Assign) else [getattr(node, "target", None)]
        if any(isinstance(target, ast.Name) and target.id in names for target in targets):
            value = getattr(node, "value", None)
            if isinstance(value, ast.expr):
                yield value


def _strings(nodes: list[ast.expr] | list[ast.expr | None]) -> list[str]:
    return [node.value for node in nodes if isinstance(node, ast.Constant) and isinstance(node.value, str)]
