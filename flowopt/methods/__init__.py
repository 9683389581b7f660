"""The named methods by family, each with its citation and the reading of its paper that it follows."""

from flowopt.methods import adaptive as adaptive
from flowopt.methods import classic as classic
from flowopt.methods import ecco as ecco
from flowopt.methods import ecdsep as ecdsep
from flowopt.methods import elra as elra
from flowopt.methods import hypergradient_descent as hypergradient_descent
from flowopt.methods import tlr as tlr
from flowopt.methods._by_name import as_method as as_method
from flowopt.methods._by_name import entry as entry
from flowopt.methods._by_name import everything as everything
from flowopt.methods._by_name import method as method
from flowopt.methods._formula import is_formula as is_formula
from flowopt.methods._naming import METHODS as METHODS
from flowopt.methods._naming import Entry as Entry
from flowopt.methods._naming import named as named
