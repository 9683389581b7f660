"""What everything else is built of: records, rows, random numbers, parts, their registry, and the kernel.

Authors of parts import from here: ``from flowopt.core import Controller, Point, Step, Verdict, full, rows``.
"""

import lazy_loader

# as in flowopt/__init__.py: the command line reads errors and files from here, and waits for no torch
__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
