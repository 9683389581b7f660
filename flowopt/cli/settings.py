"""``--set`` as people type it: ``key=value`` for all that have such a parameter, ``OWNER.key=value`` for one."""

from __future__ import annotations

import ast
import math
from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Any, NamedTuple, Protocol

from flowopt.core.errors import BadValue, UnknownName
from flowopt.core.parameters import hint

WORDS = {"true": True, "false": False, "inf": math.inf, "-inf": -math.inf}
"""What Python writes otherwise, and people write so."""


class Setting(NamedTuple):
    """One ``[OWNER.]key=value``."""

    owner: str
    """A method or a section; "" for every method that has the key."""
    key: str
    """The name of a parameter or option, or ``part.name``."""
    value: Any


class Settings(NamedTuple):
    """Settings, each with those that it is for."""

    methods: dict[str, dict[str, Any]]
    sections: dict[str, dict[str, Any]]
    """Options of what is not a method: "problem", "model", "data"."""


class Taker(Protocol):
    """A method that parameters can be set of, as `flowopt.functions.comparison` knows it."""

    @property
    def settings(self) -> Mapping[str, Any]:
        """Its parameters and what they are."""

    @property
    def shares(self) -> bool:
        """Whether its parameters go by the names that ours have."""

    def accepts(self, key: str) -> bool:
        """Whether it has a parameter of that name."""


def parse_setting(text: str, owners: Iterable[str] = ()) -> Setting:
    """Take ``[OWNER.]key=value`` apart; the owner is the longest of `owners` that the text begins with.

    Names of methods may have dots, spaces and equals signs in them, and keys may have dots.

    >>> parse_setting("ecdsep.exponent=2.0", ["ecdsep", "gd"])
    Setting(owner='ecdsep', key='exponent', value=2.0)
    >>> parse_setting("pi.rtol=1e-3", ["heavy_ball x heun [pi]"])
    Setting(owner='', key='pi.rtol', value=0.001)

    Raises BadValue for a text that has no such form.
    """
    text = text.strip()
    before = [owner for owner in owners if text.lower().startswith(f"{owner.lower()}.")]
    owner = max(before, key=len, default="")
    key, equals, value = (text[len(owner) + 1 :] if owner else text).partition("=")
    if not equals or not all(part.strip() for part in key.split(".")):
        raise BadValue(f"a setting is key=value, or METHOD.key=value for one method alone, not {text!r}")
    return Setting(owner, key.strip(), parse_value(value.strip()))


def parse_value(text: str) -> Any:
    """A value as it was typed: a Python literal where it reads as one, true, false or inf, else the text itself.

    >>> parse_value("1e-3"), parse_value("(1, 2)"), parse_value("true"), parse_value("identity")
    (0.001, (1, 2), True, 'identity')
    """
    if text.lower() in WORDS:
        return WORDS[text.lower()]
    try:
        return ast.literal_eval(text)
    except (ValueError, SyntaxError, TypeError, MemoryError, RecursionError):  # the last ones of texts without end
        return text


def assign(
    texts: Iterable[str], takers: Mapping[str, Taker], sections: Sequence[str], options: Collection[str] = ()
) -> Settings:
    """Give each setting to those that it is for, one without an owner to all `takers` that have such a parameter.

    What does not share our names takes only what names it as the owner, unless it is alone. The keys of `sections` are
    for others to check. `options`: names that the run itself has, to say so of a key that nobody has.

    Raises UnknownName for an owner that is not in this run and for a key that nobody has, BadValue for a text of
    another form, and where there is nothing that could be set.
    """
    found = Settings({name: {} for name in takers}, {name: {} for name in sections})
    for text in texts:
        owner, key, value = parse_setting(text, [*takers, *sections])
        if owner in sections:
            found.sections[owner][key] = value
            continue
        for name in _fitting(owner, key, takers, sections, options):
            found.methods[name][key] = value
    return found


def _fitting(
    owner: str, key: str, takers: Mapping[str, Taker], sections: Sequence[str], options: Collection[str]
) -> list[str]:
    """The methods that a setting is for, at least one."""
    asked = {owner: takers[owner]} if owner else takers
    having = [name for name, one in asked.items() if one.accepts(key)]
    fitting = [name for name in having if takers[name].shares or len(asked) == 1]
    if fitting:
        return fitting
    if having:
        raise BadValue(f"{key} is a parameter of {' and '.join(having)} alone; say so: {having[0]}.{key}=...")
    open_to_all = [one for one in asked.values() if one.shares or len(asked) == 1]
    known = {name for one in open_to_all for name in one.settings if one.accepts(name)}
    part = key.rpartition(".")[0]
    of_a_part = any(one.accepts(f"{part}.{name.rpartition('.')[2]}") for one in open_to_all for name in known)
    if part and not owner and not of_a_part:
        raise UnknownName("method in this run", part, [*takers, *sections])
    if key in options:
        raise BadValue(f"{key} is not a parameter of a method but an option of the run: see --help")
    if not known:
        raise BadValue(
            f"{' and '.join(asked)}: {key} cannot be set: what is already built takes no parameters; give the function "
            "or class that builds it"
        )
    raise UnknownName(f"parameter of {' or '.join(asked)}", key, known, hint(key, known))
