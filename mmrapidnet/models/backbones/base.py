"""What every backbone here shares: taps, freezing, checkpointing, initialisation."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext
from itertools import islice
from typing import Any

import torch
from mmengine.model import BaseModule, PretrainedInit, update_init_info
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.utils.checkpoint import checkpoint

from mmrapidnet.checkpoints import load_pretrained
from mmrapidnet.utils.errors import UserError

NUM_STAGES = 4
# As ConvNeXt's layers have, with stages of 3, 3, 9 or 27, and 3 blocks.
BLOCKS_OF_A_LAYER = 3


class BaseBackbone(BaseModule):
    """A stem and up to four stages of strides 4, 8, 16 and 32.

    A subclass gives ``arch_settings`` and ``_build_stage``; its constructor makes the
    ``stem`` and ends with ``_build_stages``.

    Args:
        arch: A name in ``arch_settings`` or a dict with the same keys, one number per
            stage each.
        in_channels: Channels of the image. Defaults to 3.
        out_indices: The stages (0 to 3) whose outputs are returned, ascending.
            What comes after the last one is not built. Defaults to (0, 1, 2, 3).
        frozen_stages: 0 freezes the stem, i > 0 the stem and the first i stages,
            -1 nothing. Defaults to -1.
        norm_eval: Whether normalisation layers stay in evaluation mode while
            training (their running statistics are then used and kept).
            Defaults to False.
        with_cp: Whether activations are recomputed in the backward pass to save
            memory (gradient checkpointing). Defaults to False.
        norm_cfg: The normalisation. Defaults to ``dict(type='BN')``.
        act_cfg: The activation. Defaults to ``dict(type='GELU')``, the exact one.
        drop_path_rate: Stochastic depth: the last rate of a linear rule from 0
            over all blocks of the four stages, or a list with one rate per block.
            Defaults to 0.
        init_cfg: Initialisation. ``dict(type='Pretrained', checkpoint=...)`` is
            loaded last and checked tensor by tensor. Defaults to None: Kaiming
            normal (fan in) for convolutions, 1 and 0 for normalisations.

    Raises:
        UserError: If ``arch`` is unknown or incomplete, or ``out_indices``,
            ``frozen_stages`` or ``drop_path_rate`` do not fit it, naming what would.
    """

    arch_settings: dict[str, dict[str, Sequence[int]]] = {}
    # Weights are loaded into every tensor or it is an error.
    strictly_loaded = True
    # The least number of blocks of a stage.
    least_blocks = 0
    default_init_cfg = [
        dict(type='Kaiming', layer='Conv2d', mode='fan_in', nonlinearity='relu'),
        dict(type='Constant', layer='_BatchNorm', val=1, bias=0),
    ]

    def __init__(
        self,
        arch: str | dict[str, Sequence[int]],
        in_channels: int = 3,
        out_indices: int | Sequence[int] = (0, 1, 2, 3),
        frozen_stages: int = -1,
        norm_eval: bool = False,
        with_cp: bool = False,
        norm_cfg: dict[str, Any] | None = None,
        act_cfg: dict[str, Any] | None = None,
        drop_path_rate: float | Sequence[float] = 0.0,
        init_cfg: dict[str, Any] | list[dict[str, Any]] | None = None,
    ) -> None:
        super().__init__(init_cfg=self._with_default_init(init_cfg))
        self.arch = self._resolve_arch(arch)
        self.in_channels = in_channels
        self.out_indices = self._check_out_indices(out_indices)
        self.built_stages = range(self.out_indices[-1] + 1)
        self.frozen_stages = self._check_frozen_stages(frozen_stages)
        self.norm_eval = norm_eval
        self.with_cp = with_cp
        self.norm_cfg = norm_cfg or dict(type='BN')
        self.act_cfg = act_cfg or dict(type='GELU')
        self.drop_path_rate = drop_path_rate

    @property
    def out_channels(self) -> tuple[int, ...]:
        """Channels of each returned feature map."""
        return tuple(self.arch['channels'][i] for i in self.out_indices)

    @property
    def strides(self) -> tuple[int, ...]:
        """Stride of each returned feature map, in pixels of the input."""
        return tuple(4 * 2**i for i in self.out_indices)

    def forward(self, x: Tensor) -> tuple[Tensor, ...]:
        """Compute the feature pyramid.

        Args:
            x: Images, (N, in_channels, H, W), H and W at least 1.

        Returns:
            One (N, C_i, ceil(H / s_i), ceil(W / s_i)) for each of
            ``out_indices``, s = 4, 8, 16, 32.
        """
        x = self.stem(x)
        outs = []
        for i, stage in enumerate(self.stages):
            blocks = list(stage)
            tap = len(blocks) - self._blocks_after_tap(i)
            for block in blocks[:tap]:
                x = self._run_block(block, x)
            if i in self.out_indices:
                outs.append(x)
            for block in blocks[tap:]:
                x = self._run_block(block, x)
        return tuple(outs)

    def train(self, mode: bool = True) -> BaseBackbone:
        """Set training mode, keeping frozen stages (and norms) in evaluation."""
        super().train(mode)
        self._freeze_stages()
        if mode and self.norm_eval:
            for module in self.modules():
                if isinstance(module, _BatchNorm):
                    module.eval()
        return self

    def init_weights(self) -> None:
        """Initialise as ``init_cfg`` says, pretrained weights last and strictly.

        Raises:
            UserError: If a pretrained file matches nothing or leaves a tensor of
                the backbone without a value.
        """
        if self.is_init:
            return
        configured = self.init_cfg
        pretrained = [cfg for cfg in configured if _is_pretrained(cfg)]
        self.init_cfg = [cfg for cfg in configured if cfg not in pretrained]
        super().init_weights()
        self.init_cfg = configured
        for cfg in pretrained:
            load_pretrained(self, cfg['checkpoint'], prefix=cfg.get('prefix'))
            # What mmengine's log will say of each parameter of a whole model.
            if hasattr(self, '_params_init_info'):
                update_init_info(self, f'Pretrained: loaded from {cfg["checkpoint"]}')

    def get_layer_depth(self, param_name: str, prefix: str = '') -> tuple[int, int]:
        """Find the layer of a parameter, for rates that decay from layer to layer.

        The stem is layer 0.  Up to three blocks of one stage are a layer, a
        downsampling with those that follow it, and all that is not of the backbone is
        the last.  ConvNeXt is divided so by the libraries: one layer a block would
        leave nothing of the rate at the stem of a deep backbone.

        Args:
            param_name: Name of the parameter.
            prefix: What the names of the backbone's own parameters start with.
                Defaults to ''.

        Returns:
            The layer, and the number of layers.
        """
        lengths = [
            max(1, math.ceil((len(stage) - (number > 0)) / BLOCKS_OF_A_LAYER))
            for number, stage in enumerate(self.stages)
        ]
        count = 1 + sum(lengths) + 1
        stage, block = self._locate(param_name, prefix)
        if stage is None:
            return count - 1, count
        if stage < 0:
            return 0, count
        first = 1 + sum(lengths[:stage])
        return first + max(0, block - (stage > 0)) // BLOCKS_OF_A_LAYER, count

    def get_stage_depth(self, param_name: str, prefix: str = '') -> tuple[int, int]:
        """Find the stage of a parameter, for rates that decay from stage to stage.

        Args:
            param_name: Name of the parameter.
            prefix: As for `get_layer_depth`.

        Returns:
            0 for the stem, i + 1 for stage i, or one more than all of these for what
            is not of the backbone; and the number of these.
        """
        count = 1 + len(self.stages) + 1
        stage, _ = self._locate(param_name, prefix)
        return (count - 1 if stage is None else stage + 1), count

    def _build_stages(self, depths: Sequence[int]) -> None:
        """Build the stages that are tapped or lead to a tap, and freeze some."""
        rates = self._split_drop_path_rate(depths)
        self.stages = nn.ModuleList(
            self._build_stage(stage, rates[stage]) for stage in self.built_stages
        )
        self._freeze_stages()

    def _split_drop_path_rate(self, depths: Sequence[int]) -> list[list[float]]:
        """Give every block of every stage its rate of stochastic depth."""
        given, total = self.drop_path_rate, sum(depths)
        if isinstance(given, (int, float)):
            rates = [given * i / max(total - 1, 1) for i in range(total)]
        else:
            rates = [float(rate) for rate in given]
        if len(rates) != total or not all(0 <= rate < 1 for rate in rates):
            raise UserError(
                f'drop_path_rate={given} does not fit: give one number in '
                f'[0, 1) or a list of {total}, one for each block of all stages'
            )
        remaining = iter(rates)
        return [list(islice(remaining, depth)) for depth in depths]

    def _build_stage(self, stage: int, rates: Sequence[float]) -> nn.Sequential:
        """Build a stage whose blocks have these rates of stochastic depth."""
        raise NotImplementedError

    def _locate(self, param_name: str, prefix: str) -> tuple[int | None, int]:
        """The stage (-1 for the stem, None for none) and the block of a parameter."""
        own = param_name.removeprefix(prefix) if param_name.startswith(prefix) else ''
        part, *numbers = own.split('.')[:3]
        if part == 'stem':
            return -1, 0
        return (int(numbers[0]), int(numbers[1])) if part == 'stages' else (None, 0)

    def _blocks_after_tap(self, stage: int) -> int:
        """How many blocks of a stage come after the one whose output is returned."""
        return 0

    def _run_block(self, block: nn.Module, x: Tensor) -> Tensor:
        if not (self.with_cp and self.training and torch.is_grad_enabled()):
            return block(x)
        return checkpoint(
            block,
            x,
            use_reentrant=False,
            context_fn=lambda: (nullcontext(), _running_statistics_kept(block)),
        )

    def _freeze_stages(self) -> None:
        if self.frozen_stages < 0:
            return
        for module in (self.stem, *self.stages[: self.frozen_stages]):
            module.eval()
            module.requires_grad_(False)

    def _with_default_init(
        self, init_cfg: dict[str, Any] | list[dict[str, Any]] | None
    ) -> list[dict[str, Any]]:
        """Put the default initialisers under a config that only loads weights."""
        if init_cfg is None:
            init_cfg = []
        elif isinstance(init_cfg, dict):
            init_cfg = [init_cfg]
        if all(map(_is_pretrained, init_cfg)):
            init_cfg = [*self.default_init_cfg, *init_cfg]
        return list(init_cfg)

    @classmethod
    def _resolve_arch(
        cls, arch: str | dict[str, Sequence[int]]
    ) -> dict[str, tuple[int, ...]]:
        if isinstance(arch, str):
            if arch not in cls.arch_settings:
                raise UserError(
                    f"unknown arch '{arch}' of {cls.__name__}: choose one of "
                    f'{", ".join(cls.arch_settings)}, or give a dict'
                )
            arch = cls.arch_settings[arch]
        keys = next(iter(cls.arch_settings.values())).keys()
        if set(arch) != set(keys):
            raise UserError(
                f'an arch of {cls.__name__} has exactly the keys '
                f'{", ".join(keys)}, but got {", ".join(map(str, arch))}'
            )
        for key, values in arch.items():
            least = 1 if key == 'channels' else cls.least_blocks
            if len(values) != NUM_STAGES or any(
                not isinstance(v, int) or v < least for v in values
            ):
                raise UserError(
                    f"arch['{key}'] of {cls.__name__} needs {NUM_STAGES} whole numbers "
                    f'of at least {least}, one per stage, but got {tuple(values)}'
                )
        return {key: tuple(values) for key, values in arch.items()}

    @staticmethod
    def _check_out_indices(out_indices: int | Sequence[int]) -> tuple[int, ...]:
        if isinstance(out_indices, int):
            out_indices = (out_indices,)
        indices = tuple(out_indices)
        if (
            not indices
            or any(i not in range(NUM_STAGES) for i in indices)
            or list(indices) != sorted(set(indices))
        ):
            raise UserError(
                f'out_indices={indices} is not a choice of stages: give some of '
                f'0 to {NUM_STAGES - 1} in ascending order, each once'
            )
        return indices

    def _check_frozen_stages(self, frozen_stages: int) -> int:
        if frozen_stages not in range(-1, len(self.built_stages) + 1):
            raise UserError(
                f'frozen_stages={frozen_stages} is out of range: give -1 (none), '
                f'0 (the stem) or up to {len(self.built_stages)} stages'
            )
        return frozen_stages


def _is_pretrained(cfg: dict[str, Any]) -> bool:
    return cfg['type'] in ('Pretrained', PretrainedInit)


@contextmanager
def _running_statistics_kept(block: nn.Module) -> Iterator[None]:
    """Recompute without counting the batch into the running statistics twice."""
    norms = [
        module
        for module in block.modules()
        if isinstance(module, _BatchNorm)
        and module.training
        and module.track_running_stats
    ]
    before = [(norm.momentum, norm.num_batches_tracked.clone()) for norm in norms]
    for norm in norms:
        norm.momentum = 0.0
    try:
        yield
    finally:
        for norm, (momentum, count) in zip(norms, before, strict=True):
            norm.momentum = momentum
            norm.num_batches_tracked.copy_(count)
