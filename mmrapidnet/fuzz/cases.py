"""Commands at random, each the same for the same seed and number."""

from __future__ import annotations

import random
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from mmrapidnet.fuzz.damage import DAMAGES
from mmrapidnet.fuzz.samples import EXPORTED, Samples

_WEIGHTS = ('checkpoint', 'fused', 'safetensors')
_NUMBERS = ('0', '-1', '1', '2', '64', '100000000000', '1e9', 'nan', '0.5', 'x', '')
_WORDS = ('', 'x', 'auto', '--', 'rapidnet_ti', 'cpu', 'cuda:9', '\x1b[2J', 'ä/ö', '*')
_SETTINGS = (
    *('model.backbone.arch=xl', 'model.backbone.out_indices=(3,1)'),
    *('model.backbone.drop_path_rate=0.1', 'work_dir=elsewhere', 'randomness.seed=3'),
    *('model.neck.out_channels=8', 'default_scope=mmnothing', 'train_cfg.max_iters=1'),
)


@dataclass(frozen=True)
class Case:
    """A command.

    Attributes:
        tool: Name of the script.
        arguments: Its arguments, of which paths are in the folder of the case.
        damaged: What was done to which files.
    """

    tool: str
    arguments: list[str]
    damaged: list[str]


def draw_case(seed: int, number: int, samples: Samples, folder: Path) -> Case:
    """Draw a command and put the files that it reads into a folder.

    Args:
        seed: The seed of the session.
        number: The number of the case in it.
        samples: Good files.
        folder: An empty folder.

    Returns:
        The command.
    """
    hand = _Hand(random.Random(f'{seed}/{number}'), samples, folder)
    (tool,) = hand.draw.choices(list(_TOOLS), [weight for weight, _ in _TOOLS.values()])
    return Case(tool, _TOOLS[tool][1](hand), hand.damaged)


class _Hand:
    """Draws arguments; remembers what was damaged."""

    def __init__(self, draw: random.Random, samples: Samples, folder: Path) -> None:
        self.draw, self.samples, self.folder = draw, samples, folder
        self.damaged: list[str] = []

    def file(self, *kinds: str) -> str:
        """A file, mostly of one of some kinds and often damaged."""
        chance = self.draw.random()
        if chance < 0.03:
            return str(self.folder / 'nowhere.pth')
        if chance < 0.05:
            return str(self.folder)
        there = [kind for kind in kinds if kind in self.samples.files]
        if chance < 0.1 or not there:
            there = list(self.samples.files)
        kind = self.draw.choice(there)
        copies = [self._copy(path) for path in self.samples.files[kind]]
        # A config is a program: spoilt, it is another one.
        if kind != 'config' and self.draw.random() < 0.6:
            self._spoil(self.draw.choice(copies))
        return str(copies[0])

    def _copy(self, path: Path) -> Path:
        copy = self.folder / path.name
        if not copy.exists():
            shutil.copyfile(path, copy)
        return copy

    def _spoil(self, path: Path) -> None:
        damage = self.draw.choice(DAMAGES)
        others = [file.read_bytes() for (file, *_) in self.samples.files.values()]
        path.write_bytes(damage(path.read_bytes(), self.draw, others))
        self.damaged.append(f'{damage.__name__} of {path.name}')

    def some(self, **options: Callable[[], list[str]]) -> list[str]:
        """A few options, in any order."""
        chosen = [name for name in options if self.draw.random() < 0.25]
        self.draw.shuffle(chosen)
        return [
            part
            for name in chosen
            for part in (f'--{name.replace("_", "-")}', *options[name]())
        ]

    def number(self) -> list[str]:
        return [self.draw.choice(_NUMBERS)]

    def word(self) -> list[str]:
        return [self.draw.choice(_WORDS)]

    def setting(self) -> list[str]:
        return [self.draw.choice(_SETTINGS)]

    def out(self, *names: str) -> str:
        """A place to write to, not always one that can be."""
        chance = self.draw.random()
        if chance < 0.03:
            return str(self.folder)
        if chance < 0.06:
            return '/proc/nowhere/out'
        return str(self.folder / self.draw.choice(names))

    def data(self) -> list[str]:
        """Where the data set is."""
        nowhere = self.draw.random() < 0.03
        return ['--data-root', str(self.folder if nowhere else self.samples.data)]


def _nothing() -> list[str]:
    return []


def _convert(hand: _Hand) -> list[str]:
    return [
        hand.file(*_WEIGHTS),
        hand.out('out.pth', 'out.safetensors', 'new/out.pth'),
        *hand.some(model=hand.word, ema=_nothing, no_ema=_nothing),
    ]


def _fuse(hand: _Hand) -> list[str]:
    return [
        hand.file('checkpoint'),
        hand.out('out.pth', 'out.safetensors', 'new/out.pth'),
        *hand.some(config=lambda: [hand.file('config')]),
    ]


def _train(hand: _Hand) -> list[str]:
    return [
        hand.file('config'),
        *hand.data(),
        *('--work-dir', hand.out('work')),
        *hand.some(
            pretrained=lambda: [hand.file(*_WEIGHTS)],
            resume=lambda: [hand.file('checkpoint')],
            amp=_nothing,
            fast=_nothing,
            auto_scale_lr=_nothing,
            cfg_options=hand.setting,
        ),
        *(
            ['--cfg-options', f'load_from={hand.file("checkpoint")}']
            if hand.draw.random() < 0.3
            else []
        ),
    ]


def _test(hand: _Hand) -> list[str]:
    return [
        hand.file('config'),
        hand.file(*_WEIGHTS, *EXPORTED),
        *hand.data(),
        *('--work-dir', hand.out('work')),
        *hand.some(
            fuse=_nothing,
            tta=_nothing,
            out=lambda: [hand.out('found', 'found.pkl')],
            show_dir=lambda: [hand.out('pictures')],
            cfg_options=hand.setting,
        ),
    ]


def _infer(hand: _Hand) -> list[str]:
    return [
        hand.file('image'),
        *('--config', hand.file('config')),
        *('--checkpoint', hand.file(*_WEIGHTS, *EXPORTED)),
        *('--out', hand.out('pictures')),
        *hand.some(device=hand.word, score_thr=hand.number, shapes=_nothing),
    ]


def _export(hand: _Hand) -> list[str]:
    names = {'onnx': 'a.onnx', 'openvino': 'a.xml', 'ncnn': 'a.ncnn.param', 'x': 'a.x'}
    name = hand.draw.choice(list(names))
    return [
        hand.file('config'),
        hand.file(*_WEIGHTS),
        *hand.data(),
        *('--format', name),
        *('--out', hand.out(names[name], 'a.onnx')),
        *hand.some(
            part=lambda: [hand.draw.choice(['backbone', 'dense', 'x'])],
            precision=lambda: [hand.draw.choice(['fp16', 'int8', 'x'])],
            size=lambda: hand.number() + hand.number(),
            image=lambda: [hand.file('image')],
            calibration_images=hand.number,
        ),
    ]


def _make_shapes(hand: _Hand) -> list[str]:
    return [
        hand.out('shapes'),
        *('--train', hand.draw.choice(['0', '1', '2', '-1', 'x'])),
        *('--val', hand.draw.choice(['0', '1', '2', '-1', 'x'])),
        *hand.some(
            layout=lambda: [hand.draw.choice(['dense', 'imagenet', 'x'])],
            size=lambda: [hand.draw.choice(['0', '63', '64', '65', '-1', 'x'])],
            seed=hand.number,
            overwrite=_nothing,
        ),
    ]


def _benchmark(hand: _Hand) -> list[str]:
    if hand.draw.random() < 0.5:
        return ['tables', hand.file('results')]
    return [
        'plot',
        hand.file('results'),
        *('--out', hand.out('plot.png', 'plot.x')),
        *hand.some(runtime=hand.word, size=hand.number),
    ]


def _reproduce(hand: _Hand) -> list[str]:
    return [
        hand.draw.choice(['semfpn_rapidnet_s_ade20k', 'rapidnet_ti_in1k', 'x', '']),
        *('--file', hand.file(*_WEIGHTS)),
        *hand.data(),
        *('--work-dir', hand.out('work')),
        *('--results', hand.out('results.yml')),
    ]


def _ablations(hand: _Hand) -> list[str]:
    return ['--folder', hand.out('nothing')]


def _model_cards(hand: _Hand) -> list[str]:
    return ['--check', '--root', hand.out('nothing')]


def _parity(hand: _Hand) -> list[str]:
    return [
        hand.file('config'),
        *(hand.file(*_WEIGHTS) for _ in range(hand.draw.choice([0, 2]))),
        *('--out', hand.out('parity')),
        *hand.some(formats=hand.word),
    ]


# With how often each is drawn.
_TOOLS: dict[str, tuple[int, Callable[[_Hand], list[str]]]] = {
    'convert_checkpoint.py': (3, _convert),
    'fuse.py': (4, _fuse),
    'train.py': (6, _train),
    'test.py': (6, _test),
    'infer.py': (6, _infer),
    'export.py': (3, _export),
    'make_shapes.py': (2, _make_shapes),
    'benchmark.py': (2, _benchmark),
    'reproduce.py': (2, _reproduce),
    'ablations.py': (1, _ablations),
    'model_cards.py': (1, _model_cards),
    'parity.py': (1, _parity),
}
