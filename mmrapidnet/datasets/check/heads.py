"""The heads of a model, as far as they must agree with the classes of its data."""

from __future__ import annotations

import inspect
from collections.abc import Iterator
from typing import Any, NamedTuple

from mmengine.registry import MODELS

from mmrapidnet.config.type_names import type_name

# Parts with classes of their own: objects or none, the classes of another data set,
# edges, persons.
_OWN_CLASSES = (
    'FusedSemanticHead',
    'SCNetSemanticHead',
    'STDCHead',
    'LinearReIDHead',
)
_OWN_KEYS = ('rpn_head', 'task_heads')
_ONLY_TRAIN = ('teacher', 'data_preprocessor', 'train_cfg')
_PANOPTIC = ('num_things_classes', 'num_stuff_classes')


class Head(NamedTuple):
    """A part of a model that knows how many classes there are.

    Args:
        path: Where it is in the config, such as 'model.roi_head.bbox_head'.
        config: Its config.
        counts: The numbers of classes by the names of the arguments, such as
            ``{'num_classes': 80}``; defaults of its class included.
    """

    path: str
    config: dict[str, Any]
    counts: dict[str, int]

    @property
    def only_trains(self) -> bool:
        """Whether tests do without it."""
        return not set(self.path.split('.')).isdisjoint(_ONLY_TRAIN)

    @property
    def is_segmentation(self) -> bool:
        """Whether it is one of mmseg's."""
        key = self.path.rpartition('.')[2]
        return key.startswith(('decode_head', 'auxiliary_head'))

    @property
    def one_channel(self) -> bool:
        """Whether it tells two classes apart by one channel and a threshold."""
        channels = self.config.get('out_channels') or self.counts.get('num_classes')
        return channels == 1 and not self.by_softmax

    @property
    def by_softmax(self) -> bool:
        """Whether a segmentation head learns by softmax alone, mmseg's default."""
        losses = self.config.get('loss_decode') or dict(type='CrossEntropyLoss')
        losses = losses if isinstance(losses, (list, tuple)) else [losses]
        return all(
            type_name(loss) == 'CrossEntropyLoss' and not loss.get('use_sigmoid')
            for loss in losses
        )


def heads_of(node: Any, scope: str, path: str = '') -> Iterator[Head]:
    """Find what knows the number of classes in the config of a model.

    Args:
        node: The config, or a part of it.
        scope: The library it is of: 'mmdet', 'mmseg' or 'mmpretrain'.
        path: Where the part is.  Defaults to '', for the whole.

    Yields:
        Heads, also in lists and wrappers, and what else is given the number; not
        backbones, unless they classify by themselves, nor proposals.
    """
    if isinstance(node, (list, tuple)):
        for number, item in enumerate(node):
            yield from heads_of(item, scope, f'{path}[{number}]')
    if not isinstance(node, dict) or type_name(node) in _OWN_CLASSES:
        return
    key = path.rpartition('.')[2]
    counts = _counts(node, scope, key)
    if counts:
        yield Head(path, node, counts)
    for name, item in node.items():
        if name in _OWN_KEYS or (name == 'backbone' and scope != 'mmpretrain'):
            continue
        yield from heads_of(item, scope, f'{path}.{name}' if path else name)


def _counts(node: dict[str, Any], scope: str, key: str) -> dict[str, int]:
    """What a part is told of the number of classes, or takes by default."""
    if 'num_classes' in node:
        # None or -1 stand for a backbone without a classifier.
        count = node['num_classes']
        return {'num_classes': count} if isinstance(count, int) and count > 0 else {}
    if 'head' not in key and not any(name in node for name in _PANOPTIC):
        return {}
    defaults = {name: _default(node, scope, name) for name in _PANOPTIC}
    counts = {name: node.get(name, default) for name, default in defaults.items()}
    if any(counts.values()):
        return {name: count or 0 for name, count in counts.items()}
    count = _default(node, scope, 'num_classes')
    return {'num_classes': count} if count else {}


def _default(node: dict[str, Any], scope: str, argument: str) -> int | None:
    """The default of an argument of the class that a config builds."""
    kind = node.get('type')
    if isinstance(kind, str):
        with MODELS.switch_scope_and_registry(scope) as registry:
            kind = registry.get(kind)
    for base in inspect.getmro(kind) if kind else ():
        if '__init__' not in vars(base):
            continue
        parameters = inspect.signature(base.__init__).parameters
        if argument in parameters:
            default = parameters[argument].default
            return default if isinstance(default, int) else None
        if all(p.kind is not p.VAR_KEYWORD for p in parameters.values()):
            break
    return None
