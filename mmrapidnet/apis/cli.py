"""What the command lines share: one line for a mistake, common arguments."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path

from mmengine.config import Config, DictAction

from mmrapidnet.utils.errors import UserError

INTERRUPTED = 130
SHAPES_ROOT = 'data/shapes'


class _SettingsAction(DictAction):
    """mmengine's, with usage instead of a traceback for what is no key=value."""

    def __call__(
        self,
        parser: argparse.ArgumentParser,
        namespace: argparse.Namespace,
        values: list[str],
        option_string: str | None = None,
    ) -> None:
        try:
            super().__call__(parser, namespace, values, option_string)
        except (ValueError, AssertionError):
            parser.error(
                f'{option_string} {" ".join(values)}: give key=value, brackets in pairs'
            )


def main_guard(main: Callable[[], None]) -> None:
    """Run a command line, with one line instead of a traceback for a mistake.

    A `UserError` ends the process with status 1, an interruption with 130.  Of several
    processes each one says which it is.

    Args:
        main: The command, without arguments.
    """
    _hide_other_scripts()
    try:
        main()
    except UserError as error:
        print(f'error: {_which_rank()}{_in_one_line(str(error))}', file=sys.stderr)
        sys.exit(1)
    except KeyboardInterrupt:
        print('interrupted', file=sys.stderr)
        sys.exit(INTERRUPTED)
    except Exception as error:
        if _which_rank():
            line = _in_one_line(f'{type(error).__name__}: {error}')
            print(f'error: {_which_rank()}{line}', file=sys.stderr)
        raise


def _hide_other_scripts() -> None:
    """Import nothing from the folder of the script, which Python looks into first.

    There ``segment_anything.py`` would stand for the package of that name.
    """
    script = Path(sys.argv[0])
    if script.is_file() and Path(sys.path[0]) == script.resolve().parent:
        del sys.path[0]


def _which_rank() -> str:
    """Which of several processes this is; they know from torchrun or mmengine."""
    rank = os.environ.get('RANK')
    alone = rank is None or os.environ.get('WORLD_SIZE', '1') == '1'
    return '' if alone else f'rank {rank}: '


def _in_one_line(message: str) -> str:
    """Escape what a name in the message may bring: line ends, control characters."""
    return ''.join(c if c.isprintable() else ascii(c)[1:-1] for c in message)


def add_image_arguments(parser: argparse.ArgumentParser, out: str) -> None:
    """Add the arguments that say which images are looked at.

    Args:
        parser: The parser to add to.
        out: What ``--out`` is for.
    """
    parser.add_argument(
        'inputs',
        nargs='+',
        metavar='IMAGE_OR_FOLDER',
        help='what to look at; of a folder also what is in its sub folders',
    )
    parser.add_argument('--out', required=True, help=out)
    parser.add_argument('--device', help='such as cpu or cuda:0')


def add_config_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments that say what of a config changes.

    Args:
        parser: The parser to add to.
    """
    parser.add_argument(
        '--data-root',
        help='the folder of the data set: moves every path of the data sets and '
        'the evaluators there',
    )
    parser.add_argument(
        '--cfg-options',
        nargs='+',
        action=_SettingsAction,
        default={},
        help='settings to override, as key=value; lists as key="[a,b]" or key=a,b',
    )


def add_run_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments that training and testing share in OpenMMLab's tools.

    Args:
        parser: The parser to add to.
    """
    parser.add_argument('--work-dir', help='the folder for logs and models')
    add_config_arguments(parser)
    parser.add_argument(
        '--shapes',
        nargs='?',
        const=SHAPES_ROOT,
        metavar='DIR',
        help="the config's model on Shapes instead of its own data; DIR is what "
        f'tools/make_shapes.py wrote (default: {SHAPES_ROOT})',
    )
    parser.add_argument(
        '--launcher',
        choices=['none', 'pytorch', 'slurm', 'mpi'],
        default='none',
        help='job launcher',
    )
    parser.add_argument(
        '--timeout',
        type=int,
        metavar='SECONDS',
        help='how long processes wait for each other before the job ends (default: '
        "the config's env_cfg.dist_cfg.timeout, or 1800)",
    )
    parser.add_argument('--local_rank', '--local-rank', type=int, default=0)


def load_config(
    args: argparse.Namespace,
    work_dir: str | None = None,
    adapt: Callable[[Config], None] | None = None,
) -> Config:
    """Patch the libraries, then read the config that a command was called with.

    Args:
        args: What a parser with `add_config_arguments` and ``config`` gave.
        work_dir: Folder for logs and models. Defaults to None: as the config says.
        adapt: What else changes the config. Defaults to None: nothing.

    Returns:
        The config.

    Raises:
        UserError: If there is no such config.
    """
    from mmrapidnet import compat
    from mmrapidnet.config import load

    compat.apply()
    return load.load_config(
        args.config, args.cfg_options, args.data_root, work_dir, adapt
    )


def load_run_config(args: argparse.Namespace, configs: Path) -> Config:
    """Read the config that training or testing was called with.

    Args:
        args: What a parser with `add_run_arguments` and ``config`` gave.
        configs: The folder of the project's configs.

    Returns:
        The config.

    Raises:
        UserError: As `load_config`, if the data are asked for in two places, or
            if the launcher did not start this process.
    """
    from mmrapidnet.apis.shapes import point_at_shapes
    from mmrapidnet.engine.dist import check_launcher, set_timeout

    check_launcher(args.launcher)
    if args.shapes and args.data_root:
        raise UserError(
            f'--shapes {args.shapes} and --data-root {args.data_root} both say where '
            'the data are: give one of them'
        )
    # mmengine reads it; torchrun sets it, older launchers pass the argument.
    os.environ.setdefault('LOCAL_RANK', str(args.local_rank))
    adapt = None
    if args.shapes:
        adapt = partial(point_at_shapes, root=args.shapes, configs=configs)
    cfg = load_config(args, args.work_dir, adapt)
    cfg.launcher = args.launcher
    set_timeout(cfg, args.timeout)
    return cfg
