"""The command line: mostly in this process, through subprocesses where it is about processes."""

import io
import json
import os
import re
import signal
import subprocess
import sys
import time
from contextlib import redirect_stderr, redirect_stdout
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from matplotlib.image import imread
from together import together
from typer.testing import CliRunner

import flowopt
from flowopt.cli._functions import settings_of
from flowopt.cli._starts import MOST_STARTS, grid, parse_starts
from flowopt.cli.main import app, main
from flowopt.cli.settings import assign, parse_setting
from flowopt.core._files import plain
from flowopt.core.errors import BadValue, FlowoptError, UnknownName
from flowopt.functions import comparison
from flowopt.methods import METHODS

ENVIRONMENT = os.environ | {
    "PYTHONPATH": str(Path(flowopt.__file__).parents[1]),
    "OMP_NUM_THREADS": "1",
    "COLUMNS": "80",
    "PYTHONWARNINGS": "error::RuntimeWarning",
}


def in_a_process(*arguments, folder):
    command = [sys.executable, "-m", "flowopt", *map(str, arguments)]
    return subprocess.run(
        command, check=False, cwd=folder, env=ENVIRONMENT, capture_output=True, text=True, timeout=300
    )


def flowopt_cli(*arguments, folder):
    """As in a process of its own, without its three seconds of importing torch."""
    out, err, code = io.StringIO(), io.StringIO(), 0
    with pytest.MonkeyPatch.context() as patch, redirect_stdout(out), redirect_stderr(err):
        patch.chdir(folder)
        patch.setenv("COLUMNS", "80")
        patch.setattr(sys, "argv", ["flowopt", *map(str, arguments)])
        try:
            main()
        except SystemExit as ended:
            code = ended.code
    return subprocess.CompletedProcess(arguments, code, out.getvalue(), err.getvalue())


def read_json(path):
    def refuse(word):
        raise AssertionError(f"{word} is not JSON")

    return json.loads(path.read_text(), parse_constant=refuse)


def is_picture(path):
    pixels = imread(path)
    return min(pixels.shape[:2]) > 300 and pixels[..., :3].std() > 0.02


def test_version_and_help(tmp_path):
    version = in_a_process("--version", folder=tmp_path)
    assert (version.returncode, version.stdout) == (0, f"flowopt {flowopt.__version__}\n")
    usage = in_a_process("--help", folder=tmp_path)
    assert usage.returncode == 0
    assert all(command in usage.stdout for command in ("list", "explore", "compare", "cite"))
    explore = in_a_process("explore", "--help", folder=tmp_path)
    assert explore.returncode == 0
    options = ("--method", "--x0", "--grid", "--dim", "--steps", "--t-end", "--seed", "--set", "--out", "--json")
    assert all(option in explore.stdout for option in options)


def test_list_names_everything_with_a_line_and_a_source(tmp_path):
    done = flowopt_cli("list", "--json", "new/all.json", folder=tmp_path)
    assert done.returncode == 0, done.stderr
    found = read_json(tmp_path / "new" / "all.json")
    names = {kind: [line["name"] for line in lines] for kind, lines in found.items()}
    assert names["methods"] == [line.name for line in flowopt.listing("methods")] == sorted(METHODS)
    assert names["systems"] == [line.name for line in flowopt.listing("systems")]
    assert names["integrators"] == [line.name for line in flowopt.listing("integrators")]
    assert names["controllers"] == [line.name for line in flowopt.listing("controllers")]
    assert names["problems"] == [line.name for line in flowopt.listing("problems")]
    assert "energy_projection" in names["transforms"]
    for kind, lines in found.items():
        for line in lines:
            assert line["summary"].endswith("."), (kind, line)
            assert line["name"] in done.stdout
    assert all(line["source"] for kind in ("methods", "problems") for line in found[kind])
    one = flowopt_cli("list", "integrators", folder=tmp_path)
    assert "forward_euler" in one.stdout
    assert "rosenbrock" not in one.stdout


def test_cite_prints_bibtex_and_the_reading(tmp_path):
    done = flowopt_cli("cite", "ecdsep", "--json", "cite.json", folder=tmp_path)
    assert done.returncode == 0
    assert METHODS["ecdsep"].citation.strip() in done.stdout
    assert METHODS["ecdsep"].reading in done.stdout
    assert read_json(tmp_path / "cite.json")["bibtex"] == METHODS["ecdsep"].citation


@pytest.mark.slow
def test_explore_leaves_what_minimize_finds(tmp_path):
    done = flowopt_cli(
        *("explore", "rosenbrock", "-m", "gd", "-m", "scipy:Nelder-Mead", "--set", "lr=5e-4", "--steps", 30),
        *("--x0", "-1.2,1", "--x0", "0,0.5", "--out", "here", "--json", "here/numbers.json"),
        folder=tmp_path,
    )
    assert done.returncode == 0, done.stderr
    alone = flowopt.minimize("rosenbrock", [[-1.2, 1.0], [0.0, 0.5]], "gd", 30, lr=5e-4)
    saved = flowopt.Trajectory.load(tmp_path / "here" / "rosenbrock-gd.npz")
    for name in ("x", "f", "grad_norm", "h", "t", "error", "energy", "accepted", "status"):
        np.testing.assert_array_equal(getattr(saved, name), getattr(alone, name))
    gd, simplex = read_json(tmp_path / "here" / "numbers.json")["runs"]
    assert gd["about"]["parts"]["fixed"] == {"h": 5e-4}
    assert [row["final_f"] for row in gd["rows"]] == alone.final_f.tolist()
    assert [row["status"] for row in gd["rows"]] == ["max steps"] * 2
    assert [row["evaluations"]["gradient"] for row in gd["rows"]] == [31, 31]
    assert simplex["rows"][0]["grad_norm"] is None  # it uses no gradient: NaN is null
    pictures = sorted(file.name for file in (tmp_path / "here").glob("*.png"))
    assert pictures == [
        "rosenbrock-gd-panels.png",
        "rosenbrock-panels.png",
        "rosenbrock-paths.png",
        "rosenbrock-scipy-Nelder-Mead-panels.png",
    ]
    assert all(is_picture(tmp_path / "here" / name) for name in pictures)
    written = re.findall(r"^wrote (.*)$", done.stdout, re.MULTILINE)
    assert sorted(Path(name).name for name in written) == sorted(file.name for file in (tmp_path / "here").iterdir())
    for number in (alone.final_f[0], alone.final_f[1]):
        assert f"{number:.4g}" in done.stdout
    assert "…" not in done.stdout
    assert alone.message[1] in " ".join(done.stdout.split())


def test_explore_a_grid_draws_basins(tmp_path):
    done = flowopt_cli(
        *("explore", "himmelblau", "-m", "elra", "--grid", 6, "--out", ".", "--json", "a.json"), folder=tmp_path
    )
    assert done.returncode == 0, done.stderr
    (run,) = read_json(tmp_path / "a.json")["runs"]
    assert len(run["rows"]) == 36
    assert sorted({row["x0"][0] for row in run["rows"]}) == pytest.approx(np.linspace(-5, 5, 6).tolist())
    assert is_picture(tmp_path / "himmelblau-elra-basins.png")
    assert is_picture(tmp_path / "himmelblau-paths.png")


def test_explore_in_more_coordinates_has_panels_and_says_why_no_paths(tmp_path):
    done = flowopt_cli(
        *("explore", "zakharov", "-m", "gd", "--dim", 4, "--steps", 5, "--t-end", 2e-3, "--json", "a.json"),
        folder=tmp_path,
    )
    assert done.returncode == 0, done.stderr
    (row,) = read_json(tmp_path / "a.json")["runs"][0]["rows"]
    assert len(row["final_x"]) == 4
    assert (row["status"], row["t"]) == ("time reached", 2e-3)
    assert {file.name for file in (tmp_path / "flowopt-out").iterdir()} == {"zakharov-gd.npz", "zakharov-gd-panels.png"}
    assert "no picture of the paths" in done.stdout


OWN = """
import time
from pathlib import Path
import flowopt
import torch

def bowl(x):
    return (x * x).sum(-1) + 3 * x[..., 1] ** 2

calls = 0

def slow(x):
    global calls
    calls += 1
    if calls == 20:  # the first few find out what kind of function it is
        Path("under-way").touch()
    if x.shape[0] == 1:
        time.sleep(0.01)
    return bowl(x)

def broken(x):
    return torch.undefined(x)

def method(lr=0.1):
    return flowopt.method("gd", lr=lr)

def sgd(params):
    return torch.optim.SGD(params, lr=0.2)
"""


@pytest.mark.slow
def test_explore_a_function_of_ones_own(tmp_path):
    (tmp_path / "own.py").write_text(OWN)
    done = in_a_process(
        *("explore", "own:bowl", "-m", "gd", "--x0", "1,2", "--set", "lr=0.1", "--out", ".", "--json", "a.json"),
        folder=tmp_path,
    )
    assert done.returncode == 0, done.stderr
    (row,) = read_json(tmp_path / "a.json")["runs"][0]["rows"]
    assert row["status"] == "converged"
    assert row["distance"] is None
    assert is_picture(tmp_path / "bowl-paths.png")


@together(
    ("arguments", "message"),
    [
        (("explore", "rosenbrok"), "there is no problem named 'rosenbrok'; did you mean 'rosenbrock'?"),
        (("explore", "rosenbrock", "-m", "elrra"), "there is no method named 'elrra'; did you mean 'elra'"),
        (("explore", "rosenbrock", "-m", "torch:Adm"), "did you mean 'Adam'"),
        (("explore", "rosenbrock", "-m", "gd", "--set", "learning=1"), "there is no parameter of gd named 'learning'"),
        (("explore", "rosenbrock", "-m", "gd", "--set", "lr=-1"), r"gd: lr = -1 is outside its range \(0, inf\)"),
        (("explore", "rosenbrock", "--set", "problem.dim=1"), "dim = 1 must be a whole number >= 2"),
        (("explore", "rosenbrock", "--steps", "-5"), "max_steps = -5 must be a whole number >= 0"),
        (("explore", "beale", "--x0", "1,2,3"), "takes points of 2 coordinates, not 3"),
        (("explore", "rosenbrock", "--x0", "1,2", "--grid", "3"), "--x0 or --grid, not both"),
        (("explore", "os:nothing"), "has no 'nothing'"),
        (("explore", "rosenbrock", "--out", "file"), "cannot make the folder file"),
        (("compare", "rosenbrock", "--horizon", "0"), r"horizon = 0.0 is outside its range \(0, inf\)"),
        (("cite", "ecdsepp"), "did you mean 'ecdsep'"),
        (("list", "metods"), "did you mean 'methods'"),
        (("list", "methods", "--json", "file/a.json"), "cannot make the folder file: .*file is a file"),
        (("cite", "elra", "--json", "."), r"\. is a folder; give a file"),
        (("reproduce", "tlr", "--json", "file/a.json"), "cannot make the folder file"),
        (("explore", "rosenbrock", "-m", "scipy:BFGS", "--set", "c1=x"), "scipy:BFGS does not take c1 = 'x'"),
        (("compare", "rosenbrock", "--out", "here", "--json", "file/a.json"), "cannot make the folder file"),
    ],
)
def test_bad_input_is_one_line_and_exit_code_2(arguments, message, tmp_path):
    (tmp_path / "file").touch()
    done = flowopt_cli(*arguments, folder=tmp_path)
    assert done.returncode == 2
    assert re.search(message, done.stderr)
    assert done.stderr.startswith("flowopt: ")
    assert done.stderr.count("\n") == 1
    assert [file.name for file in tmp_path.iterdir()] == ["file"]  # nothing was run, and no folder is left


def test_compare_refuses_bad_input_before_any_work(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for arguments, message in (
        (("--set", "lrr=1"), "there is no parameter of .* named 'lrr'; did you mean 'lr'"),
        (("--set", "bbi.dt=1"), "there is no method in this run named 'bbi'"),
        (("-m", "elrra"), "there is no method named 'elrra'; did you mean 'elra'"),
        (("-m", "gd", "--set", "lr=-1"), r"gd: lr = -1 is outside its range \(0, inf\)"),
        (("-m", "gd", "--all"), "--all or --method, not both"),
        (("--format", "jpg"), "--format = 'jpg'; choose one of 'png', 'pdf', 'svg'"),
        (("--tune", "-1"), "tune = -1 must be a whole number >= 0"),
        (("--evaluations", "0"), "max_evaluations = 0 must be a whole number >= 1"),
    ):
        refused = CliRunner().invoke(app, ["compare", "rosenbrock", *arguments]).exception
        assert isinstance(refused, FlowoptError), (arguments, refused)
        assert re.search(message, str(refused)), (arguments, refused)
    assert not any(tmp_path.glob("**/*.*"))


@together(
    ("arguments", "message"),
    [
        (("explore", "rosenbrock", "--steps", "many"), "'--steps'.*valid integer"),
        (("explor", "rosenbrock"), "Did you mean 'explore'"),
        (("explore",), "(?i)missing argument"),
    ],
)
def test_bad_usage_is_exit_code_2_without_a_traceback(arguments, message, tmp_path):
    done = flowopt_cli(*arguments, folder=tmp_path)
    assert done.returncode == 2
    assert re.search(message, done.stderr)
    assert "Traceback" not in done.stderr


@pytest.mark.slow
def test_an_unexpected_error_keeps_its_traceback(tmp_path):
    (tmp_path / "own.py").write_text(OWN)
    done = in_a_process("explore", "own:broken", "--x0", "1,2", folder=tmp_path)
    assert done.returncode == 1
    assert "Traceback" in done.stderr
    assert "own.py" in done.stderr


def interrupt_once_under_way(*arguments, folder):
    (folder / "own.py").write_text(OWN)
    command = [sys.executable, "-m", "flowopt", *map(str, arguments)]
    process = subprocess.Popen(
        command, cwd=folder, env=ENVIRONMENT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    while not (folder / "under-way").exists():
        assert process.poll() is None, process.communicate()
        time.sleep(0.02)
    process.send_signal(signal.SIGINT)
    output, errors = process.communicate(timeout=300)
    return process.returncode, output, errors


@pytest.mark.slow
def test_ctrl_c_keeps_what_was_explored(tmp_path):
    code, output, errors = interrupt_once_under_way(
        *("explore", "own:slow", "-m", "gd", "-m", "ecco", "--x0", "1,2", "--steps", 10**6, "--set", "gd.lr=1e-9"),
        *("--out", "here", "--json", "here/a.json"),
        folder=tmp_path,
    )
    assert code == 130, errors
    assert "interrupted" in errors
    assert "Traceback" not in errors
    run = flowopt.Trajectory.load(tmp_path / "here" / "slow-gd.npz")
    assert run.status[0] == flowopt.Status.INTERRUPTED
    assert run.steps[0] >= 8
    assert len(run.f) == run.steps[0] + 1
    (only,) = read_json(tmp_path / "here" / "a.json")["runs"]  # ecco was not begun
    assert only["rows"][0]["status"] == "interrupted"
    assert is_picture(tmp_path / "here" / "slow-gd-panels.png")
    assert is_picture(tmp_path / "here" / "slow-paths.png")
    assert "wrote here/slow-gd.npz" in output


@pytest.mark.slow
def test_ctrl_c_keeps_what_was_compared(tmp_path):
    code, _, errors = interrupt_once_under_way(
        *("compare", "own:slow", "--x0", "1,2", "--evaluations", 10**6, "-m", "gd", "-m", "adam"),
        *("--set", "lr=1e-9", "--out", "here", "--json", "here/a.json"),
        folder=tmp_path,
    )
    assert code == 130, errors
    assert "Traceback" not in errors
    found = read_json(tmp_path / "here" / "a.json")
    assert found["interrupted"]
    assert [row["default"]["status"] for row in found["rows"]] == ["interrupted"]
    assert is_picture(tmp_path / "here" / "slow-compare.png")


def test_compare_writes_the_table_the_numbers_and_the_pictures(tmp_path):
    done = flowopt_cli(
        *("compare", "bowl", "--set", "problem.coefficients=(1, 4)", "--x0", "1,2", "--evaluations", 21),
        *("--horizon", 0.5, "--out", "here", "--json", "here/a.json", "--tune", 3),
        *("-m", "gd", "-m", "ecdsep", "-m", "torch:SGD", "-m", "scipy:BFGS", "-m", "scipy:Nelder-Mead"),
        *("--set", "gd.lr=0.01", "--set", "scipy:BFGS.c2=0.5", "--set", "dt=0.3"),
        folder=tmp_path,
    )
    assert done.returncode == 0, done.stderr
    found = read_json(tmp_path / "here" / "a.json")
    rows = {row["name"]: row for row in found["rows"]}
    assert list(rows) == ["gd", "ecdsep", "torch:SGD", "scipy:BFGS", "scipy:Nelder-Mead", comparison.FLOW]
    assert all(name in done.stdout for name in rows)
    for words in ("lr=0.01", "dt=0.3", "c2=0.5"):
        assert words in done.stdout
    assert "…" not in done.stdout  # no number is cut off, however narrow the terminal
    same = flowopt.compare(
        flowopt.problem("bowl", coefficients=(1, 4)),
        [1, 2],
        ["gd"],
        {"gd": {"lr": 0.01}},
        21,
        tune=3,
        horizon=0.5,
    )
    assert rows["gd"] == json.loads(json.dumps(plain(same.rows[0])))
    assert rows["torch:SGD"]["default"]["parameters"]["lr"] == 0.01  # its twin's
    assert rows["torch:SGD"]["default"]["best_f"] == rows["gd"]["default"]["best_f"]
    assert rows["scipy:BFGS"]["default"]["status"] == "converged"
    assert rows["scipy:Nelder-Mead"]["default"]["evaluations"]["gradient"] == 0
    assert 0 < rows["ecdsep"]["deviation"]["median"] <= rows["ecdsep"]["deviation"]["max"]
    files = {file.name for file in (tmp_path / "here").iterdir()}
    assert files == {"a.json", "bowl-compare.png", "bowl-compare-paths.png"}
    assert all(is_picture(tmp_path / "here" / name) for name in files if name.endswith("png"))


@pytest.mark.slow
def test_compare_takes_functions_of_ones_own_and_writes_for_print(tmp_path):
    (tmp_path / "own.py").write_text(OWN)
    done = in_a_process(
        *("compare", "own:bowl", "--x0", "1,2,3", "--evaluations", 9, "--tune", 0, "--format", "pdf", "--out", "here"),
        *("-m", "own:method", "-m", "own:sgd", "--set", "own:method.lr=0.2", "--json", "a.json"),
        folder=tmp_path,
    )
    assert done.returncode == 0, done.stderr
    ours, theirs, _ = read_json(tmp_path / "a.json")["rows"]
    assert ours["default"]["parameters"] == {"lr": 0.2}
    assert ours["default"]["best_f"] == theirs["default"]["best_f"]
    assert "tuned" not in done.stdout.lower()
    assert [file.name for file in (tmp_path / "here").iterdir()] == ["bowl-compare.pdf"]  # paths need two coordinates
    content = (tmp_path / "here" / "bowl-compare.pdf").read_bytes()
    assert content.startswith(b"%PDF")
    assert b"/Type3" not in content  # journals refuse fonts that are drawings


def test_values_of_settings_are_literals_where_they_read_as_such():
    read = {
        "1": 1,
        "1e-3": 1e-3,
        "True": True,
        "false": False,
        "None": None,
        "(1, 2)": (1, 2),
        "[1, 2]": [1, 2],
        "max": "max",
        "a=b": "a=b",
        "'1'": "1",
        "inf": np.inf,
        "-inf": -np.inf,
        "": "",
        "{[]: 1}": "{[]: 1}",
        "(" * 10_000: "(" * 10_000,
    }
    for text, value in read.items():
        found = parse_setting(f"key = {text}").value
        assert (type(found), found) == (type(value), value)


def test_an_owner_is_the_longest_name_before_a_dot():
    owners = ["ecco", "torch:Adam", "heavy_ball x heun [pi]", "my.module:make", "my.module:make.two", "a = b"]
    owners.append("problem")
    for text, owner, key in (
        ("lr=1", "", "lr"),
        ("ecco.eta=1", "ecco", "eta"),
        ("ecco_stable.eta=1", "", "ecco_stable.eta"),
        ("torch:adam.lr=1", "torch:Adam", "lr"),
        ("heavy_ball x heun [pi].pi.rtol=1", "heavy_ball x heun [pi]", "pi.rtol"),
        ("pi.rtol=1", "", "pi.rtol"),
        ("my.module:make.lr=1", "my.module:make", "lr"),
        ("my.module:make.two.lr=1", "my.module:make.two", "lr"),
        ("a = b.lr=1", "a = b", "lr"),
        (" problem.dim = 1 ", "problem", "dim"),
    ):
        assert parse_setting(text, owners) == (owner, key, 1), text
    for text in ("key", "=1", "ecco.=1", "ecco.", ".=1", "a..b=1"):
        with pytest.raises(BadValue, match="key=value"):
            parse_setting(text, owners)


def test_parameters_of_a_formula_go_by_part_and_name():
    keys = {"pi.rtol", "mu", "atol"}
    one = SimpleNamespace(settings={"pi.rtol": 1e-3, "mu": 0.9}, shares=True, accepts=keys.__contains__)
    takers = {"heavy_ball x heun [pi]": one, "other": one}
    texts = ["pi.rtol=1", "other.pi.rtol=2", "mu=3", "heavy_ball x heun [pi].atol=4"]
    assert assign(texts, takers, []).methods == {
        "heavy_ball x heun [pi]": {"pi.rtol": 1, "mu": 3, "atol": 4},
        "other": {"pi.rtol": 2, "mu": 3},
    }
    for text, message in (
        ("pi.rtoll=1", "did you mean 'pi.rtol'"),
        ("pid.rtol=1", "no method in this run named 'pid'"),
        ("other.mu.mu=1", "no parameter of other named 'mu.mu'"),
    ):
        with pytest.raises(UnknownName, match=message):
            assign([text], takers, [])


def test_formulas_and_their_parameters():
    pi, gd = "heavy_ball x heun [pi]", "gradient_flow x forward_euler [fixed]"
    texts = ["rtol=1e-4", "pi.atol=1e-5", f"{pi}.heavy_ball.friction=2", "fixed.h=0.1"]
    found = settings_of([pi, gd], texts).methods
    assert found == {pi: {"rtol": 1e-4, "pi.atol": 1e-5, "heavy_ball.friction": 2}, gd: {"fixed.h": 0.1}}
    with pytest.raises(UnknownName, match=r"no parameter of .* named 'pi.rtoll'; did you mean 'rtol'"):
        settings_of([pi, gd], ["pi.rtoll=1"])
    with pytest.raises(UnknownName, match="no method in this run named 'pid'"):
        settings_of([pi, gd], ["pid.rtol=1"])


def test_settings_go_to_those_that_have_them():
    texts = ["lr=0.1", "ecco.eta=2", "eta=3", "problem.dim=4", "torch:Adam.eps=1e-3", "h_max=0.5"]
    found = settings_of(["gd", "ecco", "torch:Adam", "scipy:BFGS"], texts)
    assert found.sections == {"problem": {"dim": 4}}
    assert found.methods == {
        "gd": {"lr": 0.1},
        "ecco": {"eta": 3, "h_max": 0.5},
        "torch:Adam": {"lr": 0.1, "eps": 1e-3},
        "scipy:BFGS": {},
    }
    assert settings_of(["scipy:BFGS"], ["xrtol=1e-3"]).methods == {"scipy:BFGS": {"xrtol": 1e-3}}
    assert settings_of(["gd", "scipy:BFGS"], ["scipy:bfgs.xrtol=1e-3"]).methods["scipy:BFGS"] == {"xrtol": 1e-3}
    with pytest.raises(BadValue, match=r"say so: scipy:BFGS\.xrtol="):
        settings_of(["gd", "scipy:BFGS"], ["xrtol=1e-3"])
    with pytest.raises(BadValue, match="gtol is not a parameter of a method but an option of the run"):
        settings_of(["gd"], ["gtol=1e-3"])
    with pytest.raises(UnknownName, match="did you mean 'eta'"):
        settings_of(["gd", "ecco"], ["etta=1"])
    with pytest.raises(UnknownName, match="parameter of gd named 'eta'"):
        settings_of(["gd", "ecco"], ["gd.eta=1"])
    with pytest.raises(UnknownName, match="method in this run named 'elra'"):
        settings_of(["gd"], ["elra.alpha0=1"])


def test_nothing_is_set_of_what_is_already_built(tmp_path, monkeypatch):
    (tmp_path / "finished.py").write_text("import flowopt\n\nmine = flowopt.method('gd', lr=0.1)\n")
    monkeypatch.chdir(tmp_path)
    with pytest.raises(BadValue, match="finished:mine: lr cannot be set: what is already built takes no parameters"):
        settings_of(["finished:mine"], ["lr=1"])


def test_starts_and_grids():
    assert parse_starts([]) is None
    np.testing.assert_array_equal(parse_starts(["-1.2,1", "0 .5"]), [[-1.2, 1.0], [0.0, 0.5]])
    with pytest.raises(BadValue, match="same number of coordinates"):
        parse_starts(["1,2", "1"])
    with pytest.raises(BadValue, match="numbers with commas"):
        parse_starts(["1;2"])
    with pytest.raises(BadValue, match="not an empty text"):
        parse_starts(["1,2", ""])
    problem = flowopt.problem("rosenbrock", dim=3)
    starts = grid(problem, 4)
    assert starts.shape == (64, 3)
    np.testing.assert_array_equal(starts[:2, :2], [[-2, starts[0, 1]]] * 2)
    np.testing.assert_allclose(np.ptp(starts, axis=0), np.ptp(np.array(problem.domain), axis=1))
    most = int(MOST_STARTS ** (1 / 3) + 1e-9)
    with pytest.raises(BadValue, match=rf"N is at most {most} here"):
        grid(problem, 1000)
    with pytest.raises(BadValue, match="too many"):
        grid(flowopt.problem("rosenbrock", dim=20), 2)
    with pytest.raises(BadValue, match="no domain"):
        grid(flowopt.Problem(name="own", value=lambda x: x.sum(-1), dim=2), 5)
    with pytest.raises(BadValue, match=r"\[2, inf\)"):
        grid(problem, 1)


def test_a_start_that_changes_the_problems_dimension_is_pointed_out(tmp_path):
    said = "rosenbrock in 3 coordinates, as many as a start has; without --x0 it has 2\n"
    for start, told in (("1,2,3", True), ("1,2", False)):
        done = flowopt_cli("explore", "rosenbrock", "-m", "gd", "--x0", start, "--steps", 1, folder=tmp_path)
        assert done.returncode == 0, done.stderr
        assert (said in done.stdout) == told
