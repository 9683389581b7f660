"""Ensembles: many networks trained as the rows of one run."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Annotated, Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from flowopt.core._blocks import SCALAR, Blocks
from flowopt.core._interruption import interruption
from flowopt.core._numbers import number
from flowopt.core._progress import progress_bar
from flowopt.core.endings import Standing, standstill, why
from flowopt.core.errors import BadValue, check_count, check_range, shown
from flowopt.core.memory import LONG, available, check_fits, ran_out
from flowopt.core.method import Method
from flowopt.core.parameters import as_parameter
from flowopt.core.reasons import Reason
from flowopt.core.roles import Seed
from flowopt.core.state import Number, Status
from flowopt.methods import as_method
from flowopt.networks import tasks
from flowopt.networks._batches import batches, order
from flowopt.networks._calls import without_decay
from flowopt.networks._remarks import Remarks, warn
from flowopt.networks.ensemble._members import H_MIN, Batch, MemberReport, Members
from flowopt.networks.ensemble._stacked_model import ModelFn, StackedModel
from flowopt.networks.evaluation import AT_A_TIME

if TYPE_CHECKING:
    from rich.table import Table

NUMBERS = 2**19
"""Parameters of the members that are stepped together on a CPU, about: more would not stay in its caches."""


class Ending(NamedTuple):
    """How a member came to its end."""

    status: Status
    step: int
    """The step, from 1, at which its loss or gradient was not finite, or its flow had come to an end."""
    loss: float
    bad_parameter: str
    """The first parameter whose gradient was not finite; empty if there was none."""

    why: Reason
    """Why, and what to do about it."""

    def __str__(self) -> str:
        where = f", first in {self.bad_parameter}" if self.bad_parameter else ""
        cure = f"; {self.why.cure}" if self.why.cure else ""
        return f"{self.status.words} at step {self.step} (loss {self.loss:g}): {self.why.what}{where}{cure}"


class EnsembleRecord(NamedTuple):
    """The recorded steps of every member, ``(T, B)``; NaN (False) once a member has ended."""

    loss: NDArray[Any]
    """Loss of the batch at the trial."""
    h: NDArray[Any]
    """Step size that led to the trial; NaN at the first."""
    error: NDArray[Any]
    """Maximum norm of the estimated local error; NaN where the scheme has no estimate."""
    energy: NDArray[Any]
    accepted: NDArray[Any]
    """Whether the trial was accepted, bool."""

    def __repr__(self) -> str:
        records, members = self.loss.shape
        return f"<EnsembleRecord: {records} records of {members} members>"


class Ensemble:
    """B copies of a network, each with its own start, seed and hyperparameters, trained as the rows of one run.

        build = lambda seed: torch.nn.Sequential(torch.nn.Linear(64, 64), torch.nn.ReLU(), torch.nn.Linear(64, 10))
        ensemble = Ensemble(build, 30, "ecco", {"eta": torch.logspace(-3, 2, 30)})
        ensemble.fit(images, labels, epochs=10)
        print(ensemble.table(test_images, test_labels))

    model_fn         ``model_fn(seed)`` builds a member, with torch's random numbers seeded by `seed` while it does.
    members          how many, B.
    method           a name, a formula or ``"module:name"`` (see `flowopt.method`), or a Method; multi-stage ones
                     measure wherever they need to.
    hyperparameters  of the method, and ``weight_decay`` w, which adds w/2 |q|^2 to the loss: one value for all
                     members, or B numbers, one a member.
    seeds            B whole numbers, or the first of B successive ones (0 by default): the seed of a member's
                     initialisation, of its method's random numbers, of its dropout and of its own order of samples.
    task             a name of `flowopt.networks.tasks`, or a Task: the loss and the metrics.
    dtype            float32 or float64; None: as `model_fn` builds them.
    chunk            members that are stepped together, which bounds the memory of a step; None: as many as a CPU's
                     caches hold, on an accelerator all.
    record_every     keep every n-th step in `record`; 0 keeps none.

    A member moves as a `FlowOptimizer` of its own would, to rounding, with its own step size, accepted or sent back by
    itself. One whose loss or gradient is not finite ends, unless its method can send it back, and so does one whose
    system comes to an end (ECDSep below F0): see `status` and `endings`. The others go on, bit for bit as if it had not
    ended; for that it stays in its chunk, and costs as much as before until all of the chunk have ended.

    Raises BadValue or UnknownName for what cannot run, before any step: a parameter of another length than B, members
    that are not alike, modules that torch.vmap cannot run or seed (BatchNorm with running statistics, nn.LSTM).
    """

    def __init__(
        self,
        model_fn: ModelFn,
        members: int,
        method: str | Method,
        hyperparameters: Mapping[str, Any] | None = None,
        *,
        seeds: Annotated[int | Sequence[int] | Tensor, Seed()] = 0,
        task: str | tasks.Task = "classification",
        dtype: torch.dtype | None = None,
        chunk: int | None = None,
        record_every: int = 1,
    ) -> None:
        check_count("Ensemble", "members", members, 1)
        check_count("Ensemble", "record_every", record_every, 0)
        if chunk is not None:
            check_count("Ensemble", "chunk", chunk, 1)
        given = {name: _per_member(name, value, members) for name, value in (hyperparameters or {}).items()}
        seeds = _seeds(seeds, members)
        _network_method(method, given)
        self.task = task if isinstance(task, tasks.Task) else tasks.task(task)
        self.hyperparameters, self.seeds, self.record_every = given, seeds.tolist(), record_every
        self.model = StackedModel(model_fn, self.seeds, dtype)
        device = self.model.device
        given = {name: value.to(device) if isinstance(value, Tensor) else value for name, value in given.items()}
        self.method, decay = _network_method(method, given)
        everyone = Members(
            model=self.model,
            loss=self.task.loss_of_many or self.task.loss,
            numbers=torch.arange(members, device=device),
            method=self.method.for_rows(members, SCALAR),
            seeds=seeds.to(device),
            decay=None if decay is None else torch.as_tensor(decay, dtype=SCALAR, device=device).expand(members),
            constants=self.model.constants,
            q=Blocks(self.model.parameters),
        )
        size = sum(part.shape[1] for part in self.model.parameters)
        together = chunk or (max(1, NUMBERS // size) if device.type == "cpu" else members)
        chunks = everyone.numbers.tensor_split(math.ceil(members / together))
        self._members = [everyone.select(numbers) for numbers in chunks]
        self.endings: dict[int, Ending] = {}
        """How the members that have ended did, by their number."""
        self.steps = self.epochs = 0
        self._record: list[Tensor] = []
        self._remarks = Remarks()

    def __len__(self) -> int:
        return len(self.seeds)

    @property
    def status(self) -> list[Status]:
        """Of each member: RUNNING, or why it ended."""
        return [self.endings[row].status if row in self.endings else Status.RUNNING for row in range(len(self))]

    @property
    def record(self) -> EnsembleRecord:
        """Loss, step size, error, energy and acceptance, ``(T, B)``."""
        numbers = torch.stack(self._record) if self._record else torch.empty(0, 5, len(self))
        loss, h, error, energy, accepted = numbers.cpu().numpy().swapaxes(0, 1)
        return EnsembleRecord(loss, h, error, energy, accepted == 1)

    def step(self, inputs: Tensor, targets: Tensor, *, shared: bool = True) -> Tensor:
        """One step of every member on a batch ``(N, ...)``, or, not `shared`, on one each: ``(B, N, ...)``.

        Returns the losses of the batch ``(B,)`` at the parameters before the step, NaN of members that have ended.
        """
        inputs, targets = self._checked(inputs, targets, shared)
        if shared:
            return self._step(Batch(inputs, targets, None))
        samples = torch.arange(inputs.shape[0] * inputs.shape[1], device=inputs.device).view(len(self), -1)
        return self._step(Batch(inputs.flatten(0, 1), targets.flatten(0, 1), samples))

    def fit(
        self,
        inputs: Tensor,
        targets: Tensor,
        *,
        epochs: int,
        batch_size: int = 128,
        seed: Annotated[int | None, Seed()] = 0,
        progress: bool = False,
    ) -> None:
        """Train on samples ``(N, ...)`` for some more epochs, or until no member is left.

        `seed` orders the samples for all members, as `flowopt.training.fit` orders them; with None each member has the
        order of its own seed. The last batch of an epoch may be smaller. Ctrl-C ends it after the step under way, and
        memory that runs out before its end, with a warning. Raises BadValue for a record that memory would not hold.
        """
        check_count("fit", "epochs", epochs, 0)
        check_count("fit", "batch_size", batch_size, 1)
        inputs, targets = self._checked(inputs, targets, True)
        self._check_record(epochs * math.ceil(len(inputs) / batch_size))
        with progress_bar(progress, f"{self.method.name}, {len(self)} members", epochs) as bar, interruption() as asked:
            for done in range(epochs):
                for batch in self._batches(inputs, targets, batch_size, seed):
                    if asked() or len(self.endings) == len(self) or not self._step_fits(batch):
                        return
                self.epochs += 1
                bar(done + 1)

    @torch.no_grad()
    def evaluate(self, inputs: Tensor, targets: Tensor) -> dict[str, Tensor]:
        """Loss ("loss") and metrics of the task over samples ``(N, ...)``, ``(B,)`` each, in evaluation mode.

        At the last accepted parameters; of a member that has ended, those before its end.
        """
        inputs, targets = self._checked(inputs, targets, True)
        self._gather()
        means = [self.task.loss, *(metric.mean for metric in self.task.metrics.values())]
        total = torch.zeros(len(self), len(means), dtype=SCALAR, device=self.model.device)
        for x, y in zip(torch.split(inputs, AT_A_TIME), torch.split(targets, AT_A_TIME), strict=True):
            for members in self._members:
                total[members.numbers] += self.model.means(members.numbers, (x, y), means) * len(x)
        loss, *found = (total / len(inputs)).unbind(-1)
        metrics = zip(self.task.metrics.items(), found, strict=True)
        return {"loss": loss, **{name: metric.finish(value) for (name, metric), value in metrics}}

    def member(self, row: int) -> nn.Module:
        """A network of its own, with the last accepted parameters of that member."""
        if not -len(self) <= row < len(self):
            raise BadValue(f"there is no member {row}: the ensemble has {len(self)}")
        self._gather()
        return self.model.member(row)

    def results(self, inputs: Tensor, targets: Tensor) -> list[dict[str, Any]]:
        """For each member its number, seed, hyperparameters, status, and `evaluate` on these samples: plain values."""
        found = {name: column.tolist() for name, column in self.evaluate(inputs, targets).items()}
        return [
            {"member": row, "seed": self.seeds[row]}
            | {name: v[row].item() if isinstance(v, Tensor) else v for name, v in self.hyperparameters.items()}
            | {"status": status.words}
            | {name: column[row] for name, column in found.items()}
            for row, status in enumerate(self.status)
        ]

    def table(self, inputs: Tensor, targets: Tensor) -> Table:
        """`results` for people: mean and standard deviation over the members that share their hyperparameters."""
        from rich import box
        from rich.table import Table

        vary = [name for name, value in self.hyperparameters.items() if isinstance(value, Tensor)]
        groups: dict[tuple[float, ...], list[dict[str, Any]]] = {}
        for result in self.results(inputs, targets):
            groups.setdefault(tuple(result[name] for name in vary), []).append(result)
        table = Table(title=f"{self.method.name}, {self.steps} steps", title_justify="left", box=box.SIMPLE_HEAD)
        metrics = ["loss", *self.task.metrics]
        for head in (*vary, "members", "ended", *metrics):
            table.add_column(head, justify="right", no_wrap=True)
        for setting, group in groups.items():
            ended = sum(result["status"] != Status.RUNNING.words for result in group)
            columns = ([result[name] for result in group] for name in metrics)
            figures = [f"{number(np.mean(column))} ± {number(np.std(column))}" for column in columns]
            table.add_row(*map(number, setting), str(len(group)), str(ended), *figures)
        return table

    def _batches(self, inputs: Tensor, targets: Tensor, size: int, seed: int | None) -> Iterator[Batch]:
        if seed is not None:
            for samples in batches(len(inputs), size, seed=seed, epoch=self.epochs):
                shared = samples.to(inputs.device)
                yield Batch(inputs[shared], targets[shared], None)
        else:
            seeds = torch.tensor(self.seeds, device=inputs.device)
            for samples in torch.split(order(len(inputs), seeds, self.epochs), size, dim=1):
                yield Batch(inputs, targets, samples)

    def _check_record(self, steps: int) -> None:
        one, records = 5 * SCALAR.itemsize * len(self), steps // self.record_every if self.record_every else 0
        device = self.model.device
        check_fits(
            f"the record of {len(self)} members over {steps} steps",
            float(one * min(records, LONG)),
            lambda room: f"keep fewer records: record_every = {math.ceil(steps * one / max(room, one))}, or 0 for none",
            available if device.type == "cpu" else lambda: torch.cuda.mem_get_info(device)[0],
            "of memory",
        )

    def _step_fits(self, batch: Batch) -> bool:
        """Make a step; False where memory ran out after others had been made, which is said."""
        try:
            self._step(batch)
        except (MemoryError, RuntimeError) as error:
            if not ran_out(error) or not self.steps:
                raise
            reason = str(error).split("\n", 1)[0]
            warn(
                f"interrupted after {self.steps} steps: memory ran out ({reason}). Some members may have made the next "
                "step already; try a smaller chunk, or a larger record_every"
            )
            return False
        return True

    @torch.no_grad()
    def _step(self, batch: Batch) -> Tensor:
        recorded = self.record_every > 0 and self.steps % self.record_every == 0
        record = torch.full((5, len(self)), torch.nan, dtype=SCALAR, device=self.model.device)
        for place, members in enumerate(self._members):
            if bool(members.alive.any()):
                self._members[place], report = members.step(batch, self.steps, recorded)
                record[:, members.numbers] = report.record
                self._note_endings(self._members[place], report)
                self._warn_of_no_step(self._members[place])
                self._warn_of_repeats(self._members[place], report)
        self.steps += 1
        if recorded:
            self._record.append(record)
        return record[0]

    def _note_endings(self, members: Members, report: MemberReport) -> None:
        assert members.carry is not None
        for place in report.status.nonzero().squeeze(-1).tolist():
            status, loss, bad = (
                Status(int(report.status[place])),
                float(report.record[0, place]),
                int(report.bad[place]),
            )
            name = self.model.names[bad] if bad >= 0 else ""
            standing = Standing(float(members.carry.h[place]), loss, place, bool(report.again[place]))
            reason = why(status, members.method.controller, standing, H_MIN, self.steps)
            self.endings[int(members.numbers[place])] = Ending(status, self.steps + 1, loss, name, reason)

    def _warn_of_no_step(self, members: Members) -> None:
        """A member whose rule has a step of 0 and can say why; once, and where asking does not wait for a device."""
        carry, rule = members.carry, members.method.controller
        if "no step" in self._remarks.made or carry is None or not carry.h.is_cpu:
            return
        value, _, square = carry.point.evaluation
        for place in (carry.alive & (carry.h == 0) & (square > 0)).nonzero().squeeze(-1).tolist():
            if reason := standstill(rule, Standing(0.0, float(value[place]), place)):
                where = f"member {int(members.numbers[place])} of {len(self)}"
                message = f"{self.method.name}, {where}: {reason.what}; it does not move. {reason.cure}"
                return self._remarks.say("no step", message)

    def _warn_of_repeats(self, members: Members, report: MemberReport) -> None:
        """Say once that a step-size rule rejects at its own lower limit."""
        if "same again" in self._remarks.made or not bool(report.again.any()):
            return
        first = int(report.again.int().argmax())
        standing = Standing(float(report.record[1, first]), float(report.record[0, first]), first, again=True)
        if reason := standstill(members.method.controller, standing):
            who = f"{int(report.again.sum())} member(s), first {int(members.numbers[first])}"
            self._remarks.say("same again", f"{who}: {reason.what}; {reason.cure}")

    def _gather(self) -> None:
        """Bring the stacked parameters up to date."""
        for members in self._members:
            for stacked, part in zip(self.model.parameters, members.accepted.parts, strict=True):
                stacked[members.numbers] = part

    def _checked(self, inputs: Any, targets: Any, shared: bool) -> tuple[Tensor, Tensor]:
        """Samples where the parameters are and in their precision. Raises BadValue for shapes that do not fit."""
        data = [torch.as_tensor(tensor, device=self.model.device) for tensor in (inputs, targets)]
        shapes = [tuple(tensor.shape) for tensor in data]
        front = (len(self),) if not shared else ()
        alike = shapes[0][: len(front) + 1] == shapes[1][: len(front) + 1]
        if not alike or len(shapes[0]) <= len(front) or shapes[0][: len(front)] != front or 0 in shapes[0]:
            wanted = f"({len(self)}, N, ...): one batch a member" if front else "(N, ...)"
            raise BadValue(f"inputs {shapes[0]} and targets {shapes[1]} must be as many samples, both {wanted}")
        x, y = (tensor.to(self.model.dtype) if tensor.is_floating_point() else tensor for tensor in data)
        return x, y


def _per_member(name: str, value: Any, members: int) -> Any:
    """A hyperparameter: one value as it is, or one number a member, ``(B,)`` float64."""
    if not isinstance(value, (Tensor, np.ndarray, Sequence)) or isinstance(value, str):
        return value
    numbers = as_parameter("Ensemble", name, list(value) if isinstance(value, tuple) else value, "member")
    if not isinstance(numbers, Tensor) or numbers.ndim == 0:
        return numbers.item() if isinstance(numbers, Tensor) else numbers
    if numbers.shape != (members,):
        raise BadValue(
            f"Ensemble: {name} has shape {tuple(numbers.shape)}, but there are {members} members; give one value, or "
            f"one for each of them, ({members},)"
        )
    return numbers.to(torch.float64)


def _seeds(seeds: int | Sequence[int] | Tensor, members: int) -> Tensor:
    try:
        found = torch.as_tensor(seeds)
    except (TypeError, ValueError, RuntimeError) as error:
        raise BadValue(f"Ensemble: seeds = {shown(seeds)} must be whole numbers: {error}") from error
    if found.ndim == 0:
        found = found + torch.arange(members)
    if found.dtype != torch.int64 or found.shape != (members,) or bool((found < 0).any()):
        raise BadValue(f"Ensemble: seeds = {shown(seeds)} must be {members} whole numbers >= 0, or the first of them")
    return found


def _network_method(given: str | Method, hyperparameters: Mapping[str, Any]) -> tuple[Method, Number | None]:
    """The method, and the weight decay of the objective, if there is one."""
    overrides, decay = without_decay(given, hyperparameters)
    if decay is not None:
        check_range("Ensemble", "weight_decay", decay, 0.0)
    return as_method(given, overrides), decay
