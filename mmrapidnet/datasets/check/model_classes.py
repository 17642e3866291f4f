"""Do the model and its data set agree on the classes?"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence

from mmrapidnet.config.type_names import type_name
from mmrapidnet.datasets.check.heads import Head
from mmrapidnet.datasets.check.label_maps import UNLABELLED
from mmrapidnet.datasets.check.problem import Problem
from mmrapidnet.datasets.check.source import Source

_NAMES = 4  # classes that are named


def check_model_classes(source: Source) -> Iterator[Problem]:
    """Hold the heads of the model to the classes of a data set.

    A head with fewer classes takes the last of them for the background, one with more
    predicts what has no name.

    Args:
        source: A data set, whose classes are known, with the model it is for.

    Yields:
        The heads with another number of classes, those that label maps are ignored in
        for another label, those of segmentation that cannot learn, and what fills label
        maps with a label that no head knows.
    """
    classes = source.classes
    if classes is None:
        return
    heads = [
        head for head in source.heads if not (source.evaluated and head.only_trains)
    ]
    wrong = [_told(head) for head in heads if not _fits(head, source)]
    if wrong:
        names = ', '.join(classes[:_NAMES]) + (', ...' if classes[_NAMES:] else '')
        is_are = 'class' if len(classes) == 1 else 'classes'
        detail = (
            f'{len(classes)} {is_are} ({names}), but {", ".join(wrong)}; give the '
            'model the number of the classes'
        )
        yield Problem('model of another number of classes', source.name, detail)
    if source.scope == 'mmseg':
        yield from _check_segmenter(source)


def check_same_order(sources: Iterable[Source]) -> Iterator[Problem]:
    """Hold the classes of data sets of one model to the numbers they have in the first.

    Args:
        sources: The data sets, that of training first if it is among them.

    Yields:
        Those in which a name has another number.
    """
    numbered = [s for s in sources if s.classes and s.heads]
    for source in numbered[1:]:
        moved = find_moved(numbered[0].classes, source.classes)
        if moved:
            name, there, here = moved
            detail = (
                f'{name!r} is class {here} of it, but class {there} of '
                f'{numbered[0].name}: give all data sets the same `classes`'
            )
            yield Problem('classes in another order', source.name, detail)


def find_moved(
    names: Sequence[str], others: Sequence[str]
) -> tuple[str, int, int] | None:
    """Find a name that has another number in a second list of classes.

    Args:
        names: Names of classes.
        others: As they are elsewhere, where some may be others.

    Returns:
        The name and its two numbers, of the first that moved; None if none has.

    Examples:
        >>> find_moved(['cat', 'dog', 'cow'], ['cat', 'cow', 'dog'])
        ('dog', 1, 2)
        >>> find_moved(['cat', 'dog'], ['cat', 'hound'])
    """
    places = []
    for classes in (names, others):
        # ImageNet's have two cranes.
        times = Counter(classes)
        places.append({n: i for i, n in enumerate(classes) if times[n] == 1})
    for name, number in places[0].items():
        if places[1].get(name, number) != number:
            return name, number, places[1][name]
    return None


def _fits(head: Head, source: Source) -> bool:
    meta = source.dataset.metainfo
    count = len(meta['classes'])
    if 'num_classes' not in head.counts:
        return sum(head.counts.values()) == count
    # Boxes and masks of a panoptic model are of things.
    wanted = {count, len(meta.get('thing_classes', meta['classes']))}
    if source.scope == 'mmseg' and count == 2 and head.one_channel:
        wanted.add(1)
    return head.counts['num_classes'] in wanted


def _told(head: Head) -> str:
    return ', '.join(
        f'{head.path}.{name}={count}' + ('' if name in head.config else ' by default')
        for name, count in head.counts.items()
    )


def _check_segmenter(source: Source) -> Iterator[Problem]:
    ignored = source.dataset.ignore_index
    known = {ignored, *range(len(source.dataset.metainfo['classes']))}
    for what, label in () if source.evaluated else _fillings(source):
        if label not in known:
            detail = f'{ignored}, but {what} is {label}; give both the same'
            yield Problem('other label around images', source.name, detail)
    for head in source.heads:
        own = head.config.get('ignore_index', UNLABELLED)
        if own != ignored and head.is_segmentation:
            detail = (
                f'{ignored}, but {head.path}.ignore_index={own}; give both the label '
                'that stands for no class'
            )
            yield Problem('other ignore_index than the model', source.name, detail)
        channels = head.config.get('out_channels') or head.counts.get('num_classes')
        if channels == 1 and 'channels' in head.config and head.by_softmax:
            detail = (
                f'{head.path} has one channel under a softmax, whose loss is 0 '
                'whatever it sees; for a foreground and a background, give num_classes='
                '2 and name both as classes'
            )
            yield Problem('nothing to learn', source.name, detail)


def _fillings(source: Source) -> Iterator[tuple[str, int]]:
    """The labels of pixels that are added to label maps, and where they are from."""
    whole = source.model or {}
    preprocessor = (whole.get('model') or {}).get('data_preprocessor')
    preprocessor = preprocessor or whole.get('data_preprocessor') or {}
    if preprocessor.get('size') or preprocessor.get('size_divisor'):
        label = preprocessor.get('seg_pad_val', UNLABELLED)
        yield 'seg_pad_val of data_preprocessor', label
    for step in source.steps:
        kind = type_name(step)
        if kind in ('RandomRotate', 'RandomMosaic'):
            yield f'seg_pad_val of {kind}', step.get('seg_pad_val', UNLABELLED)
        elif kind == 'Pad':
            filling = step.get('pad_val')
            known = filling if isinstance(filling, dict) else {}
            yield "pad_val['seg'] of Pad", known.get('seg', UNLABELLED)
        elif kind == 'RandomCutOut' and step.get('seg_fill_in') is not None:
            yield 'seg_fill_in of RandomCutOut', step['seg_fill_in']
