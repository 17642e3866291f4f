"""How one kind of published file calls the tensors of our models."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass

BACKBONE = 'backbone.'
CLASSIFIER = 'head.classifier.'
_BLOCK = re.compile(r'stages\.(\d+)\.(\d+)\.(.+)')


@dataclass(frozen=True)
class KeyMap:
    """The names of one kind of published file, beside ours.

    The tables lead from the names of our modules (or of a parameter that stands
    alone) to the published ones.

    Attributes:
        backbone: Our backbone's class, which is the family's name, too.
        title: What the files are called in messages.
        signature: A regular expression that begins names of such files alone.
        stem: Names in the stem.
        downsample: Names in the block that opens a stage, but for the first stage.
        block: Names in all other blocks.
        place: Gives the published name of a block from its stage, its index in the
            stage and the number of blocks of every stage, all counted as ours.
        classifier: Names in the classifier.
        classifier_type: Our classifier's class.
        classifier_sizes: Its arguments that the file decides, each with the
            published tensor whose length is its value.
    """

    backbone: str
    title: str
    signature: str
    stem: Mapping[str, str]
    downsample: Mapping[str, str]
    block: Mapping[str, str]
    place: Callable[[int, int, list[int]], str]
    classifier: Mapping[str, str]
    classifier_type: str
    classifier_sizes: Mapping[str, str]

    @property
    def family(self) -> str:
        """What the names of the family's models begin with, such as 'rapidnet'."""
        return self.backbone.lower()

    def published_keys(self, names: Iterable[str], prefix: str = '') -> dict[str, str]:
        """Translate the names of one of our models.

        Args:
            names: The names of all tensors of a model: the backbone's under
                ``backbone.``, the classifier's under ``head.classifier.``; others
                are the same in both.
            prefix: What precedes the backbone's names in the file. Defaults to
                none, as in files of classifiers.

        Returns:
            The published name of each.

        Raises:
            KeyError: If the published network has no such tensor.
        """
        names = list(names)
        depths = _count_blocks(names)
        return {name: self._published_key(name, prefix, depths) for name in names}

    def _published_key(self, name: str, prefix: str, depths: list[int]) -> str:
        if name.startswith(CLASSIFIER):
            return _look_up(self.classifier, name.removeprefix(CLASSIFIER))
        if not name.startswith(BACKBONE):
            return name
        name = name.removeprefix(BACKBONE)
        block = _BLOCK.fullmatch(name)
        if block is None:
            return prefix + _look_up(self.stem, name)
        stage, index = int(block[1]), int(block[2])
        table = self.downsample if stage > 0 and index == 0 else self.block
        place = self.place(stage, index, depths)
        return f'{prefix}{place}.{_look_up(table, block[3])}'


def flat_index(stage: int, index: int, depths: list[int]) -> int:
    """Number the blocks of all stages from 0.

    Examples:
        >>> flat_index(1, 0, [2, 3])
        2
    """
    return sum(depths[:stage]) + index


def _count_blocks(names: Iterable[str]) -> list[int]:
    matches = (_BLOCK.fullmatch(name.removeprefix(BACKBONE)) for name in names)
    blocks = {(int(match[1]), int(match[2])) for match in matches if match}
    count = Counter(stage for stage, _ in blocks)
    return [count[stage] for stage in sorted(count)]


def _look_up(table: Mapping[str, str], name: str) -> str:
    module, _, tensor = name.rpartition('.')
    return f'{table[module]}.{tensor}' if module in table else table[name]
