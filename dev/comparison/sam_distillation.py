"""What a teacher's embeddings are worth to an encoder that segments anything.

RapidNet-Ti as the encoder learns Shapes with prompts, decoder and all, from scratch; or
it learns the embeddings of a model with RepViT-M0.6 and takes that one's decoder.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from dev.comparison.cost import median_seconds
from dev.comparison.data_sets import write_scenes
from dev.comparison.pairs import Pairs, report_pairs, run_pairs
from dev.comparison.runs import Run, check_distinct, check_iters, train_and_test
from dev.comparison.spread import Gain, Spread
from dev.comparison.training import Place
from dev.subprocess_steps import print_now
from mmrapidnet.checkpoints.state_dict import read_checkpoint
from mmrapidnet.utils.folders import make_folder

SEGMENTER = 'semfpn_repvit_m0_6_shapes.py'
TEACHER = 'sam_repvit_m0_6_shapes.py'
ALONE = 'sam_rapidnet_ti_shapes.py'
TAUGHT = 'sam_rapidnet_ti_shapes_distill.py'
SEEDS = (0, 1, 2)
WAYS = ('distilled', 'with prompts alone')
# The name of a prompt's IoU in metrics.json.
PROMPTS = {'a box': 'prompted_iou/box', 'one click': 'prompted_iou/1_click'}


def compare_sam_distillation(
    place: Place,
    seeds: Sequence[int] = SEEDS,
    teacher: Path | None = None,
    iters: int | None = None,
    command: str = '',
) -> dict[str, Gain]:
    """Train an encoder on a teacher's embeddings and, as long, with prompts alone.

    Args:
        place: Where things are.
        seeds: Of weights, order and augmentation; at least two.  Defaults to 0 to 2.
        teacher: Weights of ``sam_repvit_m0_6_shapes.py``. Defaults to None: it is
            trained before, from the backbone of a segmenter.
        iters: Iterations of every training.  Defaults to the configs' own.
        command: The command to name in the tables.

    Returns:
        What the teacher brings for each kind of prompt, in percent of mean IoU on the
        held-out images.

    Raises:
        UserError: If an argument does not fit, a step fails, or ``place.out_dir``
            holds runs of another length.
    """
    check_distinct('--seeds', seeds, 2)
    check_iters(iters)
    if teacher:
        read_checkpoint(str(teacher))
    write_scenes(place.dense_root)
    make_folder(place.out_dir)
    weights = teacher or _train_teacher(place, iters).checkpoint
    taught = (f'model.teacher.checkpoint={weights}',)
    pairs = Pairs(
        title='',
        metric='',
        ways=WAYS,
        runs={
            seed: (
                _run(
                    place,
                    TAUGHT,
                    'sam_distilled',
                    seed,
                    iters,
                    settings=taught,
                    learns_from=weights,
                ),
                _run(place, ALONE, 'sam_alone', seed, iters),
            )
            for seed in seeds
        },
        note='',
        scale=100.0,
    )
    run_pairs(pairs, place.repo)
    note = _describe_times(pairs)
    gains = {
        prompt: report_pairs(
            replace(
                pairs,
                title=f'Mean IoU, %, of the masks of {prompt}, RapidNet-Ti on Shapes',
                metric=metric,
                note=note,
            ),
            place.out_dir / f'sam_distillation_{metric.rpartition("/")[2]}',
            command,
            dict(teacher=str(weights)),
        )
        for prompt, metric in PROMPTS.items()
    }
    return {prompt: gain for prompt, (gain,) in gains.items()}


def _train_teacher(place: Place, iters: int | None) -> Run:
    """Train a segmenter, and from its backbone the teacher, unless they are there."""
    print_now('Semantic FPN with RepViT-M0.6, for its backbone')
    segmenter = _run(place, SEGMENTER, 'sam_segmenter', 0, iters, layout='ade')
    train_and_test(segmenter, place.repo)
    print_now('the teacher, with RepViT-M0.6')
    weights = segmenter.checkpoint
    teacher = _run(place, TEACHER, 'sam_teacher', 0, iters, pretrained=weights)
    train_and_test(teacher, place.repo)
    return teacher


def _run(
    place: Place,
    config: str,
    name: str,
    seed: int,
    iters: int | None,
    layout: str = 'coco',
    **options: object,
) -> Run:
    return Run(
        config=place.config(config),
        data_root=place.dense_root / layout,
        folder=place.out_dir / f'{name}_seed{seed}',
        seed=seed,
        iters=iters,
        **options,
    )


def _describe_times(pairs: Pairs) -> str:
    times = [
        Spread.of([median_seconds(run.folder) for run in runs])
        for runs in zip(*pairs.runs.values(), strict=True)
    ]
    said = ' and '.join(f'{time.show(3)} {way}' for way, time in zip(WAYS, times))
    return f'Seconds per iteration: {said}.'
