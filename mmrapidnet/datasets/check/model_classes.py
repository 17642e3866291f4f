"""Do the model and its data set agree on the classes?"""

from __future__ import annotations

from collections.abc import Iterator

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
        for another label, and those of segmentation that cannot learn.
    """
    classes = source.dataset.metainfo.get('classes')
    # Texts instead of classes.
    if classes is None or source.config.get('return_classes'):
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
