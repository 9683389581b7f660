"""What a function of tensors is made of: enough to know whether its rows can depend on one another's company."""

from __future__ import annotations

from typing import Any

from torch.utils._python_dispatch import TorchDispatchMode

ASKING = frozenset({"_local_scalar_dense", "equal", "is_nonzero"})
"""What `if`, `item()` and `float()` call: with a batch, one row could decide for another."""

_NAMES = """
_reshape_alias _to_copy _unsafe_view abs acos add add_ addcdiv addcmul alias all amax amin any
arange asin atan bitwise_and bitwise_not bitwise_or broadcast_to cat clamp clamp_max clamp_min
clone constant_pad_nd copy copy_ cos cosh detach div div_ empty_like eq erf exp expand expm1 fill
fill_ full full_like ge gt index index_put index_select isfinite isinf isnan le lift_fresh
linspace log log1p logical_and logical_not logical_or lt masked_fill masked_fill_ maximum mean
minimum mul mul_ ne neg neg_ new_full new_ones new_zeros ones ones_like permute reciprocal relu
repeat reshape round rsqrt scalar_tensor select select_backward sgn sigmoid sigmoid_backward sign
sin sinh slice slice_backward split sqrt squeeze squeeze_ squeeze_backward stack sub sub_ sum t
tan tanh tanh_backward threshold_backward transpose unbind unsqueeze unsqueeze_backward view
view_as where where_self zero_ zeros zeros_like
"""

STEADY = frozenset(_NAMES.split())
"""Operations that give a row the same bits in every batch. Matrix products, norms and general powers do not: they
choose another order of additions, or another algorithm, by the shape or by the place in a processor's vectors."""

STEADY_POWERS = (-1, 0, 1, 2, 3)


class Operations(TorchDispatchMode):  # type: ignore[no-untyped-call]  # torch's classes are not annotated
    """Inside, notes the names of the operations that torch carries out."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.names: set[str] = set()

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        name = func.overloadpacket.__name__
        steady_power = (
            name == "pow" and len(args) > 1 and isinstance(args[1], (int, float)) and args[1] in STEADY_POWERS
        )
        self.names.add("mul" if steady_power else name)
        return func(*args, **(kwargs or {}))

    @property
    def steady(self) -> bool:
        """Whether a row has the same bits in every batch."""
        return self.names <= STEADY | ASKING

    @property
    def asking(self) -> bool:
        """Whether numbers were asked for, as `if` does."""
        return not self.names.isdisjoint(ASKING)

    @property
    def takes_numbers(self) -> bool:
        """Whether a number was taken out of a tensor, to where autograd does not follow it."""
        return "_local_scalar_dense" in self.names
