"""Measure contestants group by group and record what was measured on what."""

from __future__ import annotations

import os
import platform
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from itertools import groupby
from typing import Any

import torch

from dev.benchmark.cases import CALIBRATION_IMAGES, Contestant
from dev.benchmark.latency import (
    LEAST_ROUNDS,
    WARM_UP,
    Timing,
    interleave,
    multiply_matrices,
)
from dev.benchmark.memory import measure_peak
from dev.subprocess_steps import say
from mmrapidnet.apis.complexity import Complexity
from mmrapidnet.utils.env import has_bf16, list_versions, processor_name
from mmrapidnet.utils.errors import UserError

_MATMUL = 'matmul'


@dataclass(frozen=True)
class Row:
    """What was measured of a contestant.

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
        baseline: Name of the contestant that it is compared with.
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
    """Contestants that go into one table.

    Attributes:
        title: The table's title.
        contestants: Those that do the same stand together.
        baseline: What each is compared with, see `find_baseline`.
        memory: Whether peak memory is worth its minutes. Defaults to True.
    """

    title: str
    contestants: Sequence[Contestant]
    baseline: str
    memory: bool = True


@dataclass(frozen=True)
class Settings:
    """How to measure.

    Attributes:
        rounds: Timed calls of each contestant. Defaults to 30.
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
        The record: ``command``, ``machine``, ``versions``, ``settings``, ``rows``
        (`Row`).

    Raises:
        UserError: If a contestant has no baseline, or cannot be opened.
    """
    settings.check()
    for section in sections:
        for contestant in section.contestants:
            find_baseline(contestant, section.contestants, section.baseline)
    first = sections[0].contestants[0]
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
        rows=[],
    )
    groups = [
        (section, list(group))
        for section in sections
        for _, group in groupby(section.contestants, key=lambda c: c.group)
    ]
    for number, (section, group) in enumerate(groups, start=1):
        task, (height, width), batch = group[0].group
        say(f'[{number}/{len(groups)}] {task}, {height}x{width}, batch {batch}')
        record['rows'] += measure_group(section, group, settings)
        save(record)
    return record


def measure_group(
    section: Section, group: Sequence[Contestant], settings: Settings
) -> list[Row]:
    """Measure contestants that do the same in turns, a matrix product among them.

    Args:
        section: The table they go into.
        group: The contestants.
        settings: How to measure.

    Returns:
        A row for each, in their order.
    """
    memory = settings.memory and section.memory
    matmul, matmul_macs = multiply_matrices(group[0].device)
    calls, found = {}, {}
    for contestant in group:
        say(f'  {contestant.name}')
        call = contestant.open()
        found[contestant.name] = contestant.describe(call())
        calls[contestant.name] = call
    measured = interleave({**calls, _MATMUL: matmul}, settings.rounds, settings.warm_up)
    del calls, call
    torch._dynamo.reset()
    medians = {name: timing.median for name, timing in measured.timings.items()}
    peak = matmul_macs / medians[_MATMUL]
    # Runtimes of one model cost the same.
    models = {contestant.model: contestant for contestant in group}
    costs = {model: contestant.complexity() for model, contestant in models.items()}
    rows = []
    for contestant in group:
        baseline = find_baseline(contestant, group, section.baseline).name
        rows.append(
            make_row(
                section.title,
                contestant,
                measured.timings[contestant.name],
                baseline=baseline,
                baseline_seconds=medians[baseline],
                cost=costs[contestant.model],
                peak=peak,
                memory=_measure_memory(contestant) if memory else None,
                unsettled=measured.unsettled,
                found=found[contestant.name],
            )
        )
    return rows


def make_row(
    section: str,
    contestant: Contestant,
    timing: Timing,
    baseline: str,
    baseline_seconds: float,
    cost: Complexity,
    peak: float,
    memory: int | None = None,
    unsettled: int = 0,
    found: dict[str, Any] | None = None,
) -> Row:
    """Compute what a table says of a contestant.

    Args:
        section: Title of the table.
        contestant: The contestant.
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
        share = cost.macs * contestant.batch / timing.median / peak
    return Row(
        section=section,
        task=contestant.task,
        model=contestant.model,
        runtime=contestant.runtime.name,
        precision=contestant.runtime.precision,
        fused=contestant.runtime.fused,
        size=contestant.size,
        batch=contestant.batch,
        seconds=timing.seconds,
        median_ms=timing.median * 1e3,
        p10_ms=timing.p10 * 1e3,
        p90_ms=timing.p90 * 1e3,
        images_per_second=contestant.batch / timing.median,
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


def find_baseline(
    contestant: Contestant, others: Sequence[Contestant], baseline: str
) -> Contestant:
    """Find what a contestant is compared with.

    Args:
        contestant: The contestant.
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
        f'{contestant.model}/{baseline}',
        f'{baseline}/{contestant.runtime.name}',
    }
    for other in others:
        if other.group == contestant.group and other.name in meant:
            return other
    known = dict.fromkeys(other.name for other in others)
    raise UserError(
        f'--baseline {baseline}: {contestant.name} has nothing of that name beside '
        f'it; name a runtime, a model or both of {", ".join(known)}'
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


def _measure_memory(contestant: Contestant) -> int | None:
    say(f'  {contestant.name}, memory')
    return measure_peak(contestant.open, contestant.device)
