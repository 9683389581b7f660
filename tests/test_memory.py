"""Records that do not fit: refused before the first step, written to disk, or cut off with what was done."""

import dataclasses
import errno
import subprocess
import sys
from types import SimpleNamespace

import numpy as np
import pytest
import torch

import flowopt
from flowopt.core import memory
from flowopt.functions._columns import COLUMNS
from flowopt.networks import tasks
from flowopt.training import fit
from flowopt.training.datasets.dataset import Dataset

LIMITED = """
import resource, sys
from unittest import mock
import numpy as np
import flowopt

starts = np.random.default_rng(0).normal(size=(50_000, 2))
flowopt.minimize("rosenbrock", starts, "gd", max_steps=10)  # what is imported when it is first used is in memory now
pages = int(open("/proc/self/statm").read().split()[0])
limit = pages * resource.getpagesize() + 300_000_000
resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
try:
    flowopt.minimize("rosenbrock", starts, "gd", max_steps=1000)
except flowopt.BadValue as refused:
    print(refused)
storage = "flowopt.functions._storage"
with mock.patch(f"{storage}.available", lambda: np.inf), mock.patch(f"{storage}.LONG", 8):
    run = flowopt.minimize("rosenbrock", starts, "gd", max_steps=1000)
done = int(run.steps.max())
again = flowopt.minimize("rosenbrock", starts, "gd", max_steps=done, record_every=0)
assert 8 < done < 100 and np.array_equal(run.attempt, np.arange(done + 1)), run.attempt
assert np.array_equal(run.final_x, again.final_x) and np.array_equal(run.best_f, again.best_f)
print(flowopt.Status(int(run.status.max())).words, run.message[int(run.status.argmax())])
"""


@pytest.fixture
def scarce(monkeypatch):
    """Sets the memory that is free, and asks about the smallest record."""

    def free(size):
        monkeypatch.setattr("flowopt.functions._storage.available", lambda: size)
        monkeypatch.setattr("flowopt.core.memory.NOT_WORTH_ASKING", 0)

    return free


def counted(calls):
    def bowl(x):
        calls.append(1)
        return (x**2).sum(-1)

    return bowl


def same(run, other):
    for name in (*COLUMNS, "attempt", "status", "steps", "best_f"):
        assert np.array_equal(getattr(run, name), getattr(other, name), equal_nan=name in COLUMNS), name
    assert list(run.message) == list(other.message)


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="limits the memory of a process as Linux does")
def test_a_run_that_memory_does_not_hold_is_refused_or_ends_with_what_was_done():
    done = subprocess.run([sys.executable, "-c", LIMITED], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    refused, ended = done.stdout.splitlines()
    assert "the record of this run (50000 row(s), 1002 records) may take 3.66 GB, and" in refused
    assert "record_every=" in refused
    assert ended.startswith("interrupted interrupted: memory ran out (Unable to allocate")


def test_what_the_refusal_names_does_run(scarce):
    scarce(20 * 73 * 10)  # 10 records of 20 rows in two dimensions, of which 8 may be used
    for method, more in (("gd", {}), ("ecco", {}), ("torch:SGD", {"lr": 1e-3}), ("scipy:BFGS", {})):
        calls = []
        options = {"x0": np.ones((20, 2)), "method": method, "max_steps": 100, "gtol": 0.0, **more}
        with pytest.raises(flowopt.BadValue, match=r"keep fewer records \(record_every=17\) or keep only the ends"):
            flowopt.minimize(counted(calls), **options)
        assert not calls
        assert len(flowopt.minimize(counted(calls), **options, record_every=17).f) <= 8
        assert len(flowopt.minimize(counted(calls), **options, record_every=0).f) == 2
    scarce(20 * 73)
    with pytest.raises(flowopt.BadValue, match="not even the ends of these rows would fit: run fewer rows at a time"):
        flowopt.minimize("rosenbrock", np.ones((20, 2)), "gd", record_every=0)


def test_a_run_that_stops_early_may_be_given_many_steps(scarce):
    scarce(10e6)
    run = flowopt.minimize("rosenbrock", method="newton", max_steps=10**9)
    assert run.converged.all()
    for name in COLUMNS:  # and gives back what it did not use
        array = getattr(run, name)
        assert array.base is None or array.base.nbytes <= 2 * array.nbytes


def test_memory_that_is_free_but_not_given_is_refused_too(monkeypatch, tmp_path):
    def nothing(*arguments):
        raise MemoryError("Unable to allocate")

    monkeypatch.setattr("flowopt.functions._storage.InMemory.column", nothing)
    monkeypatch.setattr("flowopt.functions._storage.OnDisk._mapped", nothing)
    for place in (None, tmp_path / "run"):
        with pytest.raises(flowopt.BadValue, match="no room for the record of this run: Unable to allocate; keep only"):
            flowopt.minimize("rosenbrock", method="gd", record_to=place)
    assert not (tmp_path / "run").exists()


def test_a_record_on_disk_is_the_record(tmp_path, monkeypatch):
    monkeypatch.setattr("flowopt.functions._storage.BLOCK", 4)
    starts = np.random.default_rng(0).normal(size=(7, 2))
    for number, more in enumerate(({}, {"record_every": 7}, {"record_every": 0}, {"dtype": torch.float32})):
        options = {"method": "ecco_stable", "max_steps": 300, **more}
        run = flowopt.minimize("rosenbrock", starts, **options)
        kept = flowopt.minimize("rosenbrock", starts, **options, record_to=tmp_path / str(number))
        assert isinstance(kept.x, np.memmap)
        same(kept, run)
        same(flowopt.Trajectory.load(tmp_path / str(number)), run)
        for row in (0, 6):
            same(kept.row(row), run.row(row))
        same(flowopt.Trajectory.load(kept.save(tmp_path / "copy")), run)


def test_no_half_record_is_taken_for_a_whole_one(tmp_path):
    folder = tmp_path / "run"

    def fail(progress):
        assert np.load(folder / "f.npy").shape == (0, 1)  # as a killed process leaves it
        with pytest.raises(flowopt.BadValue, match="is not a whole record"):
            flowopt.Trajectory.load(folder)
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        flowopt.minimize("rosenbrock", method="gd", record_to=folder, callback=fail)
    assert not folder.exists()
    folder.mkdir()  # one that the user has made stays the user's
    with pytest.raises(ZeroDivisionError):
        flowopt.minimize("rosenbrock", method="gd", record_to=folder, callback=fail)
    assert list(folder.iterdir()) == []
    flowopt.minimize("rosenbrock", method="gd", record_to=folder, max_steps=3)
    with pytest.raises(flowopt.BadValue, match="is not empty"):
        flowopt.minimize("rosenbrock", method="gd", record_to=folder)
    assert len(flowopt.Trajectory.load(folder).f) == 4


def test_a_full_disk_is_refused_before_or_ends_the_run(tmp_path, monkeypatch):
    monkeypatch.setattr("flowopt.functions._storage.BLOCK", 4)
    taken = []

    def full(handle, start, length):
        taken.append(length)
        if len(taken) > 2 * len(COLUMNS):
            raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("flowopt.functions._storage.os.posix_fallocate", full, raising=False)
    monkeypatch.setattr(
        "flowopt.functions._storage.np.memmap", lambda path, dtype, mode, offset, shape: np.empty(shape, dtype)
    )
    monkeypatch.setattr("flowopt.functions._storage.OnDisk.sealed", lambda self, columns: columns)
    run = flowopt.minimize("rosenbrock", method="gd", record_to=tmp_path / "run")
    assert run.status[0] == flowopt.Status.INTERRUPTED
    assert "No space left on device" in run.message[0]
    assert run.steps[0] == 7  # two times four records, one of them for the end


def test_the_disk_is_asked_before_the_first_step(tmp_path, monkeypatch):
    monkeypatch.setattr("flowopt.functions._storage.shutil.disk_usage", lambda path: SimpleNamespace(free=10**8))
    with pytest.raises(flowopt.BadValue, match=r"14.6 GB, and 100 MB on that disk are free; .*or make fewer steps"):
        flowopt.minimize("rosenbrock", np.zeros((200_000, 2)), "gd", record_to=tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_errors_that_say_that_memory_ran_out():
    for error in (
        MemoryError(),
        RuntimeError("[enforce fail at alloc_cpu.cpp:127] err == 0. DefaultCPUAllocator: can't allocate memory: you"),
        RuntimeError("CUDA out of memory. Tried to allocate 2.00 GiB"),
    ):
        done = []

        def objective(x, error=error, done=done):
            if len(done) == 4:
                raise error
            return (x**2).sum(-1)

        run = flowopt.minimize(objective, [1.0, 2.0], "gd", callback=done.append)
        assert (run.status[0], run.steps[0], len(run.f)) == (flowopt.Status.INTERRUPTED, 4, 5)
        assert "memory ran out" in run.message[0]


def test_the_least_of_all_bounds_is_available(tmp_path, monkeypatch):
    process, groups = tmp_path / "self", tmp_path / "cgroup"
    files = {
        tmp_path / "meminfo": "MemTotal: 9000 kB\nMemAvailable: 8000 kB\n",
        process / "statm": "1 1 1 1 1 1 0",
        process / "cgroup": "4:memory:/job/task\n2:cpu:/\n0::/pod/box\n",
        groups / "pod" / "memory.max": "5000000",
        groups / "pod" / "memory.current": "2000000",
        groups / "pod" / "memory.stat": "anon 5\ninactive_file 500000\n",
        groups / "pod" / "box" / "memory.max": "max",
        groups / "memory" / "job" / "memory.limit_in_bytes": str(2**63 - 4096),
    }
    for path, text in files.items():
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    for name, path in (("MACHINE", tmp_path / "meminfo"), ("PROCESS", process), ("GROUPS", groups)):
        monkeypatch.setattr(memory, name, path)
    assert memory.available() == 3_500_000
    (groups / "memory" / "job" / "memory.limit_in_bytes").write_text("4000000")
    (groups / "memory" / "job" / "memory.usage_in_bytes").write_text("1500000")
    (groups / "memory" / "job" / "memory.stat").write_text("total_inactive_file 0\n")
    assert memory.available() == 2_500_000
    for path in (process / "cgroup", groups / "memory" / "job" / "memory.stat"):
        path.unlink()
    assert memory.available() == 8_192_000


def test_the_record_of_an_ensemble_is_worked_out(monkeypatch):
    monkeypatch.setattr(memory, "NOT_WORTH_ASKING", 0)
    inputs, targets = torch.ones(10, 3), torch.arange(10) % 2
    ensemble = flowopt.Ensemble(lambda seed: torch.nn.Linear(3, 2), 4, "gd")
    monkeypatch.setattr("flowopt.networks.ensemble._ensemble.available", lambda: 5 * 8 * 4 * 10 / memory.SHARE)
    match = r"the record of 4 members over 20 steps may take 3.2 kB, .*record_every = 2, or 0 for none"
    with pytest.raises(flowopt.BadValue, match=match):
        ensemble.fit(inputs, targets, epochs=10, batch_size=5)
    assert ensemble.steps == 0
    for every in (2, 0):
        ensemble.record_every = every
        ensemble.fit(inputs, targets, epochs=10, batch_size=5)
    assert len(ensemble.record.loss) == 10


def test_training_ends_with_what_was_done(tmp_path):
    class Greedy(torch.nn.Linear):
        left = 7

        def forward(self, x):
            self.left -= self.training
            if self.left < 0:
                raise RuntimeError("CUDA out of memory. Tried to allocate 20.00 MiB")
            return super().forward(x.flatten(1))

    inputs, targets = torch.linspace(0, 1, 160).reshape(40, 1, 2, 2), torch.arange(40) % 2
    data = Dataset("points", "classification", inputs, targets, inputs, targets, 2)

    def train(left, resume=False, out=tmp_path / "run", epochs=3):
        torch.manual_seed(0)
        model = Greedy(4, 2)
        model.left = left
        optimizer = flowopt.FlowOptimizer(model.parameters(), "elra")
        return fit(model, data, optimizer, epochs=epochs, batch_size=10, out=out, resume=resume)

    history = train(7)
    assert (history.status, len(history.epochs), len(history.steps)) == ("interrupted", 1, 7)
    assert "memory ran out (CUDA out of memory. Tried to allocate 20.00 MiB); try a smaller" in history.message
    resumed, whole = train(100, resume=True), train(100, out=None)
    # the checkpoint was that of a whole epoch
    assert (resumed.status, str(resumed.steps)) == ("complete", str(whole.steps))
    with pytest.raises(RuntimeError, match="CUDA out of memory"):
        train(0, out=None)  # nothing was done
    with pytest.raises(flowopt.BadValue, match="resume=True needs the folder"):
        train(9, resume=True, out=None)


def test_an_ensemble_ends_with_what_was_done():
    inputs, targets = torch.ones(10, 3), torch.arange(10) % 2
    calls = []

    def loss(outputs, targets):
        calls.append(1)
        if len(calls) > 6:
            raise MemoryError("Unable to allocate")
        return torch.nn.functional.cross_entropy(outputs, targets)

    task = dataclasses.replace(tasks.task("classification"), loss=loss, loss_of_many=None)
    ensemble = flowopt.Ensemble(lambda seed: torch.nn.Linear(3, 2), 2, "gd", task=task)
    with pytest.warns(UserWarning, match=r"interrupted after [1-9]\d* steps: memory ran out \(Unable to allocate\)"):
        ensemble.fit(inputs, targets, epochs=100, batch_size=5)
    assert len(ensemble.record.loss) == ensemble.steps
    with pytest.raises(MemoryError):
        flowopt.Ensemble(lambda seed: torch.nn.Linear(3, 2), 2, "gd", task=task).fit(inputs, targets, epochs=1)
