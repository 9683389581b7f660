"""A saved state, checked and copied before an optimizer goes on from it."""

from __future__ import annotations

from collections import defaultdict
from typing import Any

import torch
from torch import Tensor

from flowopt.core.errors import BadValue
from flowopt.core.method import Method
from flowopt.networks._carry_layout import CarryLayout

FLOW = "flow"
"""Key in the optimizer's state of the numbers of the whole flow; the vectors stand under each parameter."""
OLDER = {"pace": "lr_factors"}
"""What older versions called what they saved."""


def own_state(
    loaded: dict[Any, dict[str, Any]], method: Method, layout: CarryLayout, device: torch.device
) -> defaultdict[Any, dict[str, Any]]:
    """The state with tensors of its own: torch's optimizers go on with those that they load, and so would others.

    Raises BadValue for the state of another method or model.
    """
    flow = loaded.get(FLOW, {})
    if loaded and flow.get("method") != method.formula:
        raise BadValue(
            f"the saved state is that of {flow.get('method', 'another optimizer')!r}, this optimizer's method is "
            f"{method.formula!r}; build it with the method that was saved"
        )
    own: defaultdict[Any, dict[str, Any]] = defaultdict(dict)
    for key, found in loaded.items():
        leaves = {OLDER.get(name, name): leaf for name, leaf in found.items()}
        _check(key, leaves, method, layout)
        where = key.device if isinstance(key, Tensor) else device
        own[key] = {
            name: leaf.detach().to(where, copy=True) if isinstance(leaf, Tensor) else leaf
            for name, leaf in leaves.items()
        }
    return own


def _check(key: Any, leaves: dict[str, Any], method: Method, layout: CarryLayout) -> None:
    vectors = isinstance(key, Tensor)
    started = {"lr_factors", *layout.numbers, *layout.counters} if "h" in leaves else set()
    wanted = set(layout.vectors) if vectors else started
    if not wanted <= leaves.keys() or (vectors and wanted != leaves.keys()):
        raise BadValue(
            f"the saved state is that of {method.formula!r} with other parameters: it holds {', '.join(leaves)}, not "
            f"{', '.join(sorted(wanted))}; build the optimizer with the parameters that were saved"
        )
    for leaf in leaves.values() if vectors else ():
        if leaf.shape != key.shape:
            raise BadValue(
                f"the saved state belongs to another model: to a parameter of shape {tuple(leaf.shape)}, where this "
                f"one has {tuple(key.shape)}"
            )
