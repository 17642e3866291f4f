"""Measure cases group by group and record what was measured on what."""

from __future__ import annotations

import os
import platform
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from itertools import groupby
from typing import Any

import torch

from dev.benchmark.cases import CALIBRATION_IMAGES, Case
from dev.benchmark.memory import measure_peak
from dev.model_zoo.classifiers import Complexity
from dev.subprocess_steps import print_now
from mmrapidnet.apis.latency import WARM_UP, Call, Timing, interleave, wait_for
from mmrapidnet.utils.env import has_bf16, list_versions, processor_name
from mmrapidnet.utils.errors import UserError

# Fewer rounds are a trial, not a measurement.
LEAST_ROUNDS = 30
_MATMUL = 'matmul'


@dataclass(frozen=True)
class Row:
    """What was measured of a case.

    Attributes:
        section: What the table is about that it stands in.
        task: What a call does.
        model: The model.
        runtime: Its runtime.
        precision: The runtime's.
        fused: Whether the model is.
        size: Height and width of what the network sees.
        batch: Images a call.
        seconds: What each round's call took.
        median_ms: Their median in milliseconds.
        p10_ms: A tenth took less.
        p90_ms: Nine tenths took less.
        images_per_second: By the median.
        baseline: Name of the case that it is compared with.
        ratio: How many times less than the baseline it takes, by the medians.
        params: Parameters of the model as it comes out of training.
        macs: Its multiply-accumulates for an image; None if they were not counted.
        peak_share: The share of the machine's peak that they amount to.
        matmul_gmacs_per_second: That peak: a float32 matrix product in the same turns.
        memory: Bytes at the peak of a call; None if not measured.
        unsettled_turns: Turns of the group in which other threads still computed.
        found: What is worth noting of the result.
    """

    section: str
    task: str
    model: str
    runtime: str
    precision: str
    fused: bool
    size: tuple[int, int]
    batch: int
    seconds: tuple[float, ...]
    median_ms: float
    p10_ms: float
    p90_ms: float
    images_per_second: float
    baseline: str
    ratio: float
    params: int
    macs: int | None
    peak_share: float | None
    matmul_gmacs_per_second: float
    memory: int | None
    unsettled_turns: int
    found: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Section:
    """Cases that go into one table.

    Attributes:
        title: The table's title.
        cases: Those that do the same stand together.
        baseline: What each is compared with, see `find_baseline`.
        memory: Whether peak memory is worth its minutes. Defaults to True.
        together: Whether all are measured in turns, whatever their sizes. Defaults to
            False: those that do the same.
        missing: Name of a model that cannot be measured here to why. Defaults to none.
    """

    title: str
    cases: Sequence[Case]
    baseline: str
    memory: bool = True
    together: bool = False
    missing: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Settings:
    """How to measure.

    Attributes:
        rounds: Timed calls of each case. Defaults to 30.
        warm_up: Calls before them. Defaults to 5.
        trial: Whether fewer rounds than 30 are allowed, which says so everywhere.
        memory: Whether to measure peak memory as well. Defaults to True.
    """

    rounds: int = LEAST_ROUNDS
    warm_up: int = WARM_UP
    trial: bool = False
    memory: bool = True

    def check(self) -> None:
        """Raise a UserError if the rounds are too few to be reported."""
        if self.rounds < (1 if self.trial else LEAST_ROUNDS):
            raise UserError(
                f'--rounds {self.rounds}: a measurement has at least {LEAST_ROUNDS}; '
                'with --trial it may have less'
            )
        if self.warm_up < 0:
            raise UserError(f'--warm-up {self.warm_up}: give 0 or more')


def run(
    sections: Sequence[Section],
    settings: Settings,
    command: str,
    save: Callable[[dict[str, Any]], None] = lambda record: None,
) -> dict[str, Any]:
    """Measure sections, group by group.

    Args:
        sections: What to measure.
        settings: How.
        command: The command that asked for it, for the record.
        save: Called with the record after every group, so that what was measured is
            not lost if something later fails.

    Returns:
        The record: ``command``, ``machine``, ``versions``, ``settings``, ``missing``
        (title of a section to its own), ``rows`` (`Row`).

    Raises:
        UserError: If a case has no baseline, or cannot be opened.
    """
    settings.check()
    for section in sections:
        for case in section.cases:
            find_baseline(case, section.cases, section.baseline)
    first = sections[0].cases[0]
    torch.set_num_threads(first.threads)
    record = dict(
        command=command,
        machine=describe_machine(first.device, first.threads),
        versions=list_versions(),
        settings=dict(
            rounds=settings.rounds,
            warm_up=settings.warm_up,
            trial=settings.trial,
            int8_calibration=f'classifiers on {CALIBRATION_IMAGES} images of noise, '
            "others on images of the config's data set",
        ),
        missing={s.title: s.missing for s in sections if s.missing},
        rows=[],
    )
    groups = [(section, group) for section in sections for group in _group(section)]
    for number, (section, group) in enumerate(groups, start=1):
        sizes = dict.fromkeys('{}x{}'.format(*case.size) for case in group)
        print_now(
            f'[{number}/{len(groups)}] {group[0].task}, {", ".join(sizes)}, batch '
            f'{group[0].batch}'
        )
        record['rows'] += measure_group(section, group, settings)
        save(record)
    return record


def _group(section: Section) -> list[list[Case]]:
    """Cases that are measured in turns."""
    if section.together:
        return [list(section.cases)]
    return [list(group) for _, group in groupby(section.cases, key=lambda c: c.group)]


def measure_group(
    section: Section, group: Sequence[Case], settings: Settings
) -> list[Row]:
    """Measure cases that do the same in turns, a matrix product among them.

    Args:
        section: The table they go into.
        group: The cases.
        settings: How to measure.

    Returns:
        A row for each, in their order.
    """
    memory = settings.memory and section.memory
    matmul, matmul_macs = multiply_matrices(group[0].device)
    calls, found = {}, {}
    for case in group:
        print_now(f'  {case.name}')
        call = case.open()
        found[case.name] = case.describe(call())
        calls[case.name] = call
    measured = interleave({**calls, _MATMUL: matmul}, settings.rounds, settings.warm_up)
    del calls, call
    torch._dynamo.reset()
    medians = {name: timing.median for name, timing in measured.timings.items()}
    peak = matmul_macs / medians[_MATMUL]
    # Runtimes of one model cost the same.
    models = {case.model: case for case in group}
    costs = {model: case.complexity() for model, case in models.items()}
    rows = []
    for case in group:
        baseline = find_baseline(case, group, section.baseline).name
        rows.append(
            make_row(
                section.title,
                case,
                measured.timings[case.name],
                baseline=baseline,
                baseline_seconds=medians[baseline],
                cost=costs[case.model],
                peak=peak,
                memory=_measure_memory(case) if memory else None,
                unsettled=measured.unsettled,
                found=found[case.name],
            )
        )
    return rows


def make_row(
    section: str,
    case: Case,
    timing: Timing,
    baseline: str,
    baseline_seconds: float,
    cost: Complexity,
    peak: float,
    memory: int | None = None,
    unsettled: int = 0,
    found: dict[str, Any] | None = None,
) -> Row:
    """Compute what a table says of a case.

    Args:
        section: Title of the table.
        case: The case.
        timing: What its calls took.
        baseline: What it is compared with.
        baseline_seconds: The median of that one.
        cost: What the model costs.
        peak: Multiply-accumulates a second of a matrix product.
        memory: Bytes at the peak.
        unsettled: Turns in which other threads still computed.
        found: What is worth noting of the result.

    Returns:
        The row.
    """
    share = None
    if cost.macs is not None:
        share = cost.macs * case.batch / timing.median / peak
    return Row(
        section=section,
        task=case.task,
        model=case.model,
        runtime=case.runtime.name,
        precision=case.runtime.precision,
        fused=case.runtime.fused,
        size=case.size,
        batch=case.batch,
        seconds=timing.seconds,
        median_ms=timing.median * 1e3,
        p10_ms=timing.p10 * 1e3,
        p90_ms=timing.p90 * 1e3,
        images_per_second=case.batch / timing.median,
        baseline=baseline,
        ratio=baseline_seconds / timing.median,
        params=cost.params,
        macs=cost.macs,
        peak_share=share,
        matmul_gmacs_per_second=peak / 1e9,
        memory=memory,
        unsettled_turns=unsettled,
        found=found or {},
    )


def find_baseline(case: Case, others: Sequence[Case], baseline: str) -> Case:
    """Find what a case is compared with.

    Args:
        case: The case.
        others: Those it is measured with, itself among them.
        baseline: A runtime ('eager': the same model in it), a model (the same
            runtime), or both ('rapidnet_ti/eager').

    Returns:
        The one that does the same and has that name.

    Raises:
        UserError: If there is none.
    """
    meant = {
        baseline,
        f'{case.model}/{baseline}',
        f'{baseline}/{case.runtime.name}',
    }
    for other in others:
        if other.group == case.group and other.name in meant:
            return other
    known = dict.fromkeys(other.name for other in others)
    raise UserError(
        f'--baseline {baseline}: {case.name} has nothing of that name beside '
        f'it; name per runtime, a model or both of {", ".join(known)}'
    )


def describe_machine(device: str, threads: int) -> dict[str, Any]:
    """Say what is measured on.

    Args:
        device: 'cpu' or 'cuda'.
        threads: Number of threads on the CPU.

    Returns:
        Names and numbers, with the load of the last minute before the measurement.
    """
    machine = dict(
        device=device,
        name=processor_name(device),
        threads=threads,
        cores=os.cpu_count(),
        bf16=has_bf16(device),
        system=platform.system(),
        python=platform.python_version(),
        load=os.getloadavg()[0],
    )
    if device != 'cpu':
        machine.update(
            cuda=torch.version.cuda,
            cudnn=torch.backends.cudnn.version(),
            tf32_convolutions=torch.backends.cudnn.allow_tf32,
            tf32_matmul=torch.backends.cuda.matmul.allow_tf32,
        )
    return machine


def multiply_matrices(device: str = 'cpu', edge: int | None = None) -> tuple[Call, int]:
    """Make the call that a machine's peak is measured with.

    Args:
        device: Such as 'cpu' or 'cuda'. Defaults to 'cpu'.
        edge: Rows and columns of both matrices. Defaults to 2048, on a GPU 8192.

    Returns:
        A product of two square float32 matrices, and its multiply-accumulates.
    """
    edge = edge or (2048 if device == 'cpu' else 8192)
    left, right = torch.rand(2, edge, edge, device=device)
    product = torch.empty_like(left)

    def multiply() -> None:
        torch.mm(left, right, out=product)
        wait_for(device)

    return multiply, edge**3


def _measure_memory(case: Case) -> int | None:
    print_now(f'  {case.name}, memory')
    return measure_peak(case.open, case.device)
