"""Methods of ours and the optimizers of torch that make the same steps, and the parameters that make them so."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

Parameters = Mapping[str, Any]


class Twin(NamedTuple):
    """An optimizer of torch.optim, and its arguments from the parameters of our method."""

    optimizer: str
    arguments: Callable[[Parameters], dict[str, Any]]


def _adam(p: Parameters) -> dict[str, Any]:
    return {"lr": p["lr"], "betas": (p["beta1"], p["beta2"]), "eps": p["eps"], "weight_decay": p["weight_decay"]}


TWINS: dict[str, Twin] = {
    "gd": Twin("SGD", lambda p: {"lr": p["lr"]}),
    "gdm": Twin("SGD", lambda p: {"lr": p["lr"], "momentum": p["beta"]}),
    "adagrad": Twin("Adagrad", lambda p: {name: p[name] for name in ("lr", "eps", "weight_decay")}),
    "rmsprop": Twin(
        "RMSprop", lambda p: {"alpha": p["beta2"]} | {name: p[name] for name in ("lr", "eps", "weight_decay")}
    ),
    "adam": Twin("Adam", _adam),
    "adamw": Twin("AdamW", _adam),
    "amsgrad": Twin("Adam", lambda p: _adam(p) | {"amsgrad": True}),
}
"""In a comparison an optimizer of torch runs with the parameters of its first twin there, unless it has its own."""
