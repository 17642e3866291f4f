"""Compiles mmcv with its operators, for the torch of the Python that runs this.

    python dev/build_mmcv.py mmcv==2.1.0 BUILD_FOLDER WHEEL_FOLDER

The wheel appears in its folder only as a whole. `setup_env.py` calls this as soon as
what `requirements/build.txt` lists is installed, and nothing else is needed.
"""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import sys
from pathlib import Path

# Files of mmcv that give different things the same names: no two may be joined.
APART = (
    'cpu/bezier_align.cpp',
    'cpu/roi_align.cpp',
    'cpu/roi_align_rotated.cpp',
    'cpu/rotated_feature_align.cpp',
)
# Its macros would change the files after it.
LAST = 'cpu/psamask.cpp'
# Python's own flags but for debug information, which doubles the time.
CFLAGS = '-DNDEBUG -fwrapv -O3'


def build_jobs() -> int:
    """One compiler per core, and no more than 2 GiB of memory each allow."""
    memory = os.sysconf('SC_PAGE_SIZE') * os.sysconf('SC_PHYS_PAGES')
    return max(1, min(len(os.sched_getaffinity(0)), memory // 2**31))


def join_sources(folder: Path) -> None:
    """Joins mmcv's C++ files into four; reading torch's headers is most of the work.

    The files become ``.inc``, which mmcv's ``setup.py`` does not look for.
    ``pybind.cpp`` reads more of the headers than others do, so it stays as it is, and
    comes first: the compilers are given the files by name.
    """
    files = {*folder.glob('*.cpp'), *folder.glob('cpu/*.cpp')} - {folder / 'pybind.cpp'}
    sizes = {str(file.relative_to(folder)): file.stat().st_size for file in files}
    groups = [[name] for name in APART]
    # The largest first, each to where there is least.
    for name in sorted(sizes.keys() - {*APART}, key=lambda name: (-sizes[name], name)):
        min(groups, key=lambda group: sum(map(sizes.get, group))).append(name)
    for number, group in enumerate(groups):
        lines = ['#include <torch/types.h>']
        for name in sorted(group, key=lambda name: name == LAST):
            included = Path(name).with_suffix('.inc')
            os.replace(folder / name, folder / included)
            lines.append(f'#include "{included}"')
        (folder / f'together_{number}.cpp').write_text('\n'.join(lines) + '\n')


def raise_standard(setup: Path) -> None:
    """Asks for C++20 in mmcv's ``setup.py``: the headers of torch 2.14 need it."""
    setup.write_text(setup.read_text().replace('-std=c++17', '-std=c++20'))


def run_pip(command: str, *arguments: str | Path, **environ: str) -> None:
    """Runs pip of this Python; ends with its status where that is not 0."""
    options = ('--no-deps', '--no-build-isolation')
    line = [sys.executable, '-m', 'pip', command, *options, *arguments]
    status = subprocess.call(line, env={**environ, **os.environ, 'MMCV_WITH_OPS': '1'})
    if status:
        sys.exit(status)


def build(requirement: str, folder: Path, wheels: Path) -> None:
    """Compiles a package that brings mmcv, such as ``mmcv==2.1.0``.

    Args:
        requirement: The package and its version.
        folder: Where to compile; emptied before, removed after.
        wheels: Where the wheel goes; made if absent.
    """
    import torch

    name, _ = requirement.split('==')
    shutil.rmtree(folder, ignore_errors=True)  # of an interrupted set-up
    run_pip('download', '--no-binary', name, '-d', folder, requirement)
    for archive in folder.glob('*.tar.gz'):
        shutil.unpack_archive(archive, folder)
    source = folder / requirement.replace('-', '_').replace('==', '-')
    if torch.torch_version.TorchVersion(torch.__version__) >= (2, 14):
        raise_standard(source / 'setup.py')
    environ = {'MAX_JOBS': str(build_jobs())}
    # The one source, for the one kind of device, that was seen to allow it.
    if name == 'mmcv' and not torch.cuda.is_available():
        join_sources(source / 'mmcv' / 'ops' / 'csrc' / 'pytorch')
        environ['CFLAGS'] = CFLAGS
    # pip would take what it compiled in this folder before, for whichever torch.
    run_pip('wheel', '--no-cache-dir', '-v', '-w', folder, source, **environ)
    wheels.mkdir(parents=True, exist_ok=True)
    for wheel in folder.glob('*.whl'):
        draft = shutil.copy(wheel, wheels / f'{os.getpid()}.new')
        os.replace(draft, wheels / wheel.name)
    shutil.rmtree(folder)


def main() -> None:
    """Compiles what the command line names."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument('requirement', help='mmcv==VERSION or onedl-mmcv==VERSION')
    parser.add_argument('folder', type=Path, help='where to compile')
    parser.add_argument('wheels', type=Path, help='where the wheel goes')
    args = parser.parse_args()
    build(args.requirement, args.folder, args.wheels)


if __name__ == '__main__':
    main()
