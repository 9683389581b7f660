"""What eps makes of an optimizer, in words."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from flowopt.core._numbers import percent, short
from flowopt.core.errors import BadValue

if TYPE_CHECKING:
    from rich.table import Table

    from flowopt.diagnostics._bounds import AdaptiveShare
    from flowopt.diagnostics.z_hat import Rule

FEW, MOST = 0.01, 0.99
"""Shares up to which an optimizer is called plain, and from which on fully adaptive."""


def verdict(share: AdaptiveShare, rules: Sequence[Rule]) -> str:
    """What an optimizer with these rules is at the eps of the share: plain (momentum) SGD, fully adaptive, a mixture.

        verdict(adaptive_share(z_hats(optimizer), 1e-2), rules(optimizer))

    Zeros do not count: a coordinate without a gradient does not move. Raises BadValue where no z_hat is positive.
    """
    return " ".join(part for part in (judgement(share, rules), left_out(share)) if part)


def judgement(share: AdaptiveShare, rules: Sequence[Rule]) -> str:
    """The verdict without what it leaves out. Raises BadValue where no z_hat is positive."""
    overall, eps = share.overall, short(share.eps)
    if overall.finite == overall.zeros:
        raise BadValue(
            f"no z_hat is a positive number: {overall.zeros} are 0 and {overall.nonfinite} NaN or infinite. Has the "
            "loss gradients, and is it finite?"
        )
    adaptive, plain = percent(overall.of_nonzero), percent(1 - overall.of_nonzero)
    moves = _plain(share.eps, rules)
    if overall.of_nonzero <= FEW:
        return (
            f"at eps = {eps} {plain} of the coordinates move as {moves}. Hardly anything adapts: that rate is all that "
            "counts, and beta2 plays no part."
        )
    if overall.of_nonzero >= MOST:
        return (
            f"at eps = {eps} {adaptive} of the coordinates adapt (z_hat > eps): fully adaptive. A smaller eps changes "
            "hardly anything."
        )
    return (
        f"at eps = {eps} {adaptive} of the coordinates adapt (z_hat > eps), {plain} move more or less as {moves}: "
        f"a mixture{_extent(share)}. Both alpha and eps matter."
    )


def left_out(share: AdaptiveShare) -> str:
    """What a verdict does not count, in words; empty if there is nothing."""
    overall, parts = share.overall, []
    if overall.zeros:
        zeros = percent(overall.zeros / overall.finite)
        parts.append(f"Not counted: {zeros} whose z_hat is exactly 0 (no gradient so far).")
    if overall.nonfinite:
        where = next(name for name, one in share.tensors.items() if one.nonfinite)
        parts.append(f"Not counted: {overall.nonfinite} numbers that are NaN or infinite, first in {where}.")
    return " ".join(parts)


def share_table(shares: Sequence[AdaptiveShare], rules: Sequence[Rule]) -> Table:
    """A table with a line for each eps: the share that adapts, with and without zeros, and the plain rate."""
    from rich import box
    from rich.table import Table

    table = Table(title="share of z_hat above eps", title_justify="left", box=box.SIMPLE_HEAD, pad_edge=False)
    for head in ("eps", "of all", "without zeros", rules[0].system.plain_formula):
        table.add_column(head, justify="right", no_wrap=True)
    for share in shares:
        overall = share.overall
        table.add_row(short(share.eps), percent(overall.of_all), percent(overall.of_nonzero), _rate(share.eps, rules))
    return table


def _plain(eps: float, rules: Sequence[Rule]) -> str:
    kind = "momentum SGD" if all(rule.momentum for rule in rules) else "plain SGD"
    system = rules[0].system
    remark = f" ({system.plain_remark})" if system.plain_remark else ""
    if not remark and all(rule.averages for rule in rules):
        remark = f" (torch.optim.SGD: lr = {_rates([rule.sgd_rate(eps) for rule in rules])} and momentum = beta1)"
    return f"{kind} with rate {system.plain_formula} = {_rate(eps, rules)}{remark}"


def _rate(eps: float, rules: Sequence[Rule]) -> str:
    return _rates([rule.plain_rate(eps) for rule in rules])


def _rates(found: list[float]) -> str:
    rates = sorted(set(found))
    return short(rates[0]) if len(rates) == 1 else f"{short(rates[0])} to {short(rates[-1])}"


def _extent(share: AdaptiveShare) -> str:
    """From where to where the tensors differ, if there are several."""
    found = {name: one.of_nonzero for name, one in share.tensors.items() if one.finite > one.zeros}
    low, high = min(found, key=found.__getitem__), max(found, key=found.__getitem__)
    return "" if low == high else f", from {percent(found[low])} in {low} to {percent(found[high])} in {high}"
