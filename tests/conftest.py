"""One thread, so that sums are added in one order; property tests are judged by what they find, not by the clock."""

import getpass
import os
import signal
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import together
import torch
from hypothesis import HealthCheck, settings

if capability := os.environ.get("ATEN_CPU_CAPABILITY"):
    # torch's cache of compiled code does not know for which processor it was made
    cache = Path(tempfile.gettempdir(), f"torchinductor_{getpass.getuser()}_{capability}")
    os.environ.setdefault("TORCHINDUCTOR_CACHE_DIR", str(cache))

if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:  # as in the background of a script: tests press Ctrl-C
    signal.signal(signal.SIGINT, signal.default_int_handler)

torch.set_num_threads(1)

settings.register_profile(
    "flowopt", deadline=None, max_examples=20, derandomize=True, suppress_health_check=[HealthCheck.too_slow]
)
settings.load_profile("flowopt")


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--cases", default="", metavar="WORDS", help="of tests of many cases try those with, say, adam,elra"
    )


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("markers", "together: a test of many cases, which --cases chooses from")
    together.chosen[:] = filter(None, config.getoption("--cases").split(","))


@pytest.fixture
def cli(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Callable[..., tuple[Any, str, str]]:
    """Runs ``flowopt`` with some arguments in an empty folder: exit code, what it printed, what it said on stderr."""
    from flowopt.cli.main import main

    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "200")

    def run(*arguments: object) -> tuple[Any, str, str]:
        monkeypatch.setattr(sys, "argv", ["flowopt", *map(str, arguments)])
        with pytest.raises(SystemExit) as ended:
            main()
        printed = capsys.readouterr()
        return ended.value.code, printed.out, printed.err

    return run


@pytest.fixture
def text(tmp_path: Path) -> str:
    """A small language, as an argument."""
    (tmp_path / "rhyme.txt").write_text("one two buckle my shoe\nthree four knock at the door\n" * 30)
    return "text:rhyme.txt"
