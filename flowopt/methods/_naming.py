"""Names of methods: where a function that builds a Method is entered, with whose it is."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from flowopt.core._importing import REQUIRED
from flowopt.core.errors import BadValue, UnknownName, check_positive, shown
from flowopt.core.method import Method
from flowopt.core.parameters import as_parameter, hint
from flowopt.core.roles import Epsilon, Kind, LearningRate, roles


@dataclass(frozen=True)
class Entry:
    """A method that is known by name: how to build it, and whose it is."""

    name: str
    build: Callable[..., Method]
    paper: str = "own"
    """Whose method it is, in a few words."""
    citation: str = ""
    """BibTeX."""
    reading: str = ""
    """Which reading of the paper the defaults follow."""

    @property
    def summary(self) -> str:
        """First line of the docstring."""
        return (inspect.getdoc(self.build) or "").split("\n", 1)[0]

    @property
    def defaults(self) -> dict[str, Any]:
        """Parameters with their defaults; `REQUIRED` stands for the default of one that must be given."""
        parameters = inspect.signature(self.build).parameters.items()
        return {name: p.default for name, p in parameters if p.kind not in (p.VAR_POSITIONAL, p.VAR_KEYWORD)}

    def roles(self, kind: type[Kind]) -> dict[str, Kind]:
        """The parameters that are declared with a role of that kind."""
        return roles(self.build, kind)

    def spelled(self, name: str) -> str:
        """The name in `defaults` of a parameter that may be written in another way; an unknown name stays."""
        return name

    def canonical(self, parameters: Mapping[str, Any]) -> dict[str, Any]:
        """Parameters by their names in `defaults`. Raises BadValue where one is given twice."""
        found: dict[str, Any] = {}
        for given, value in parameters.items():
            if (name := self.spelled(given)) in found:
                raise BadValue(f"{self.name}: the parameter {name} is given twice, as {given} too")
            found[name] = value
        return found

    def check_known(self, names: Iterable[str]) -> None:
        """Raise UnknownName, with the nearest matches, for a parameter that the method does not have."""
        known = self.defaults
        for name in names:
            if self.spelled(name) in known:
                continue
            if not known:
                raise BadValue(f"{self.name} takes no parameters ({name})")
            raise UnknownName(f"parameter of {self.name}", name, known, hint(name, known))

    def make(self, parameters: Mapping[str, Any]) -> Method:
        """The method, with `parameters` in place of its defaults.

        Raises UnknownName for a parameter that does not exist, BadValue for a number out of range, for a parameter
        without a default that is left out, and where what was to build a Method builds something else.
        """
        self.check_known(parameters)
        given = {name: as_parameter(self.name, name, value) for name, value in self.canonical(parameters).items()}
        for parameter in self.roles(LearningRate) | self.roles(Epsilon):
            if parameter in given:  # the part would know it by another name, or let an eps of 0 pass
                check_positive(self.name, **{parameter: given[parameter]})
        missing = [name for name, default in self.defaults.items() if default is REQUIRED and name not in given]
        if missing:
            raise BadValue(f"{self.name} needs {', '.join(missing)}: there is no default; give {missing[0]}=...")
        try:
            built: Any = self.build(**given)
        except BadValue as error:  # the part says which of its numbers is wrong, but not whose part it is
            raise BadValue(f"{self.name}: {str(error).removeprefix(f'{self.name}: ')}") from error
        if not isinstance(built, Method):
            raise BadValue(f"{self.name}() must build a Method, not {shown(built)}")
        return built.labelled(
            self.name if built.name == built.formula else built.name,
            self.citation or built.citation,
            self.reading or built.reading,
        )


METHODS: dict[str, Entry] = {}

Builder = Callable[..., Method]


def named(paper: str, citation: str, reading: str = "") -> Callable[[Builder], Builder]:
    """Enter a function that builds a Method under the function's name.

    Raises BadValue for a name that a function elsewhere has taken.
    """

    def enter(build: Builder) -> Builder:
        taken = METHODS.get(build.__name__)
        if taken is not None and taken.build.__module__ != build.__module__:  # not the same, defined once more
            raise BadValue(f"a method named {build.__name__!r} exists, in {taken.build.__module__}; take another name")
        METHODS[build.__name__] = Entry(build.__name__, build, paper, citation, reading)
        return build

    return enter
