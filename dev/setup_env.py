"""Makes the project's environment, or does what is still to be done for it.

It runs on a bare Python, so it imports nothing but the standard library. Every step
is marked when it is done: a second run does nothing, an interrupted one resumes.

mmcv has no wheel for this torch. It is compiled once, in the background while other
packages are installed; the wheel goes into ``~/.cache/mmrapidnet/wheels`` for the next
environment.
"""

from __future__ import annotations

import argparse
import contextlib
import fcntl
import functools
import hashlib
import importlib.util
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import sysconfig
from collections.abc import Callable
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
REQUIREMENTS = ROOT / 'requirements'
PINS = REQUIREMENTS / 'constraints.txt'
# Whose builds of the OpenMMLab libraries: the requirements file of all but mmcv, and
# the package that brings mmcv.
STACKS = {
    'openmmlab': ('stack', 'mmcv'),
    # The maintained fork: other packages, which bring modules of the same names.
    'onedl': ('stack_onedl', 'onedl-mmcv'),
}
# Requirements that name all that they need: they are installed without dependencies.
COMPLETE = ('formats',)

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

TORCH_PROBE = 'import torch; print(torch.__version__, torch.cuda.is_available())'
MMCV_PROBE = 'import mmcv.ops; print(mmcv.__version__)'
STACK_PROBE = """
from mmrapidnet import compat
compat.apply()
import mmcv.ops, mmdet.apis, mmpretrain.apis, mmrapidnet, mmseg.apis
"""


class SetupError(Exception):
    """What is wrong and what to do, in one line."""


def check_machine(compiling: bool) -> None:
    """Raises a `SetupError` where something must be installed first."""
    # In Python 3.13 mmcv's setup.py no longer finds its version, which it takes from
    # locals() after exec().
    if not (3, 10) <= sys.version_info[:2] <= (3, 12):
        raise SetupError(
            f'Python 3.10 to 3.12 is needed and {sys.executable} is '
            f'{sys.version.split()[0]}: name another with "make PYTHON=python3.12"'
        )
    missing = {} if importlib.util.find_spec('ensurepip') else {'venv': 'python3-venv'}
    if compiling:
        if not Path(sysconfig.get_path('include'), 'Python.h').is_file():
            missing['Python.h'] = 'python3-dev'
        tools = ('gcc', 'g++', 'make')
        missing |= {tool: tool for tool in tools if not shutil.which(tool)}
    if missing:
        raise SetupError(
            f'{", ".join(missing)} missing: install it with '
            f'"apt-get install {" ".join(missing.values())}"'
        )


def build_jobs() -> int:
    """One compiler per core, and no more than 2 GiB of memory each allow."""
    memory = os.sysconf('SC_PAGE_SIZE') * os.sysconf('SC_PHYS_PAGES')
    return max(1, min(len(os.sched_getaffinity(0)), memory // 2**31))


def lock(folder: Path) -> None:
    """Keeps a second set-up out of a folder (made if absent) until this one ends."""
    folder.mkdir(parents=True, exist_ok=True)
    handle = os.open(folder, os.O_RDONLY)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        print(f'waiting for another set-up to leave {folder} ...', flush=True)
        fcntl.flock(handle, fcntl.LOCK_EX)


def pinned(package: str) -> str:
    """The version of a package that this project was tested with."""
    return re.search(rf'^{package}==(\S+)', PINS.read_text(), re.MULTILINE)[1]


def cache(package: str, torch: str, cuda: bool = False) -> Path:
    """Where wheels of mmcv lie that were compiled for this Python and a torch."""
    base = os.environ.get('XDG_CACHE_HOME') or Path.home() / '.cache'
    python = 'cp{}{}'.format(*sys.version_info)
    key = f'{package}-{pinned(package)}_torch-{torch}_{python}'
    key = f'{key}_{sysconfig.get_platform()}{"_cuda" * cuda}'
    return Path(base, 'mmrapidnet', 'wheels', key)


def start(command: list, log: Path, environ: dict | None = None) -> subprocess.Popen:
    """Starts a command with its output in a log, in a process group of its own."""
    with log.open('ab') as out:
        streams = dict(stdin=subprocess.DEVNULL, stdout=out, stderr=subprocess.STDOUT)
        return subprocess.Popen(
            command, env=environ, cwd=ROOT, start_new_session=True, **streams
        )


def stop(process: subprocess.Popen) -> None:
    """Ends a command and all that it started, unless it has ended."""
    if process.poll() is None:
        os.killpg(process.pid, signal.SIGTERM)
        process.wait()


class Environment:
    """A virtual environment and what is asked of its Python."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.python = folder / 'bin' / 'python'
        self.log = folder / 'setup.log'
        path = f'{folder / "bin"}{os.pathsep}{os.environ.get("PATH", "")}'
        self.environ = {**os.environ, 'PATH': path, 'VIRTUAL_ENV': str(folder)}

    def create(self) -> None:
        """Makes the environment; one of another Python, or a broken one, goes first."""
        packages = self.folder / 'lib/python{}.{}'.format(*sys.version_info)
        sound = self.python.exists() and packages.is_dir()
        stale = (self.folder / 'pyvenv.cfg').exists() and not sound
        clear = ['--clear'] if stale else []
        self._run('python -m venv', sys.executable, '-m', 'venv', *clear, self.folder)

    def pip(self, command: str, *arguments: str | Path) -> None:
        """Runs pip under the constraints; raises a `SetupError` where that fails."""
        line = (self.python, '-m', 'pip', command, '-c', PINS, *arguments)
        self._run(f'pip {command}', *line)

    def install(self, *arguments: str | Path) -> None:
        """Installs packages. Python compiles them, when and if they are imported."""
        self.pip('install', '--no-compile', *arguments)

    def check(self) -> None:
        """Raises a `SetupError` where the finished environment does not work."""
        self._run('the check of the environment', self.python, '-c', STACK_PROBE)

    def ask(self, code: str) -> str | None:
        """What a piece of Python prints; None if it fails."""
        command = [self.python, '-c', code]
        done = subprocess.run(command, env=self.environ, capture_output=True, text=True)
        return None if done.returncode else done.stdout.strip()

    def _run(self, name: str, *command: str | Path) -> None:
        process = start(command, self.log, self.environ)
        try:
            status = process.wait()
        finally:
            stop(process)
        if status:
            for line in self.log.read_text(errors='replace').splitlines()[-12:]:
                print(f'    {line}', file=sys.stderr)
            raise SetupError(
                f'{name} failed with status {status} (its last lines are above, all of '
                f'them in {self.log}): run the same command again to resume, or remove '
                f'{self.folder} to begin anew'
            )


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


class Mmcv:
    """Brings a stack's mmcv with its operators into an environment that has torch."""

    def __init__(
        self, env: Environment, package: str, links: str | None = None
    ) -> None:
        self.env = env
        self.package = package
        self.version = pinned(package)
        self.links = links  # where pip may look for prebuilt wheels, too
        self.build = env.folder / 'mmcv-build'
        self.log = env.folder / 'mmcv-build.log'
        self.compiler: subprocess.Popen | None = None

    def must_compile(self) -> bool:
        """Whether compilers will be needed, as far as that is known beforehand."""
        folder = cache(self.package, pinned('torch') + '*')
        cached = folder.parent.glob(f'{folder.name}*/*.whl')
        installed = self.env.folder.glob('lib/python*/site-packages/mmcv/_ext*')
        return not (self.links or any(cached) or any(installed))

    def prepare(self) -> None:
        """Starts to compile in the background, where that will be needed."""
        if self.must_compile():
            self._start()

    def install(self) -> None:
        """Takes what is installed, cached or prebuilt, in this order, or compiles."""
        for bring in (self._take_cached, self._take_prebuilt, self._compile):
            if self._is_installed():
                return
            bring()
        if not self._is_installed():
            raise SetupError(
                f'{self.package} {self.version} was compiled but cannot be imported: '
                f'see what {self.env.python} -c "import mmcv.ops" says'
            )

    def stop(self) -> None:
        """Stops compiling."""
        if self.compiler:
            stop(self.compiler)

    @functools.cached_property
    def _torch(self) -> tuple[str, bool]:
        version, cuda = self.env.ask(TORCH_PROBE).split()
        return version, cuda == 'True'

    @property
    def _cache(self) -> Path:
        return cache(self.package, *self._torch)

    def _is_installed(self) -> bool:
        return self.env.ask(MMCV_PROBE) == self.version

    def _take_cached(self) -> None:
        for wheel in self._cache.glob('*.whl'):
            self._try(wheel)

    def _take_prebuilt(self) -> None:
        if self.links:
            where = ('--find-links', self.links)
            self._try(*where, '--only-binary', self.package, self.package)

    def _try(self, *arguments: str | Path) -> None:
        with contextlib.suppress(SetupError):
            self.env.install('--no-deps', '--force-reinstall', *arguments)

    def _compile(self) -> None:
        if not self.compiler:
            self._start()
        status = self.compiler.wait()
        if status != 0:
            raise SetupError(
                f'{self.package} {self.version} could not be compiled '
                f'(status {status}): see {self.log}'
            )
        self._cache.mkdir(parents=True, exist_ok=True)
        for wheel in self.build.glob('*.whl'):
            draft = shutil.copy(wheel, self._cache / f'{os.getpid()}.new')
            os.replace(draft, self._cache / wheel.name)
        shutil.rmtree(self.build)
        self._take_cached()

    def _start(self) -> None:
        check_machine(compiling=True)
        _, cuda = self._torch
        if cuda and not (os.environ.get('CUDA_HOME') or shutil.which('nvcc')):
            raise SetupError(
                'torch sees a GPU but there is no CUDA compiler for mmcv: install the '
                'CUDA toolkit, set MMCV_FIND_LINKS to where prebuilt wheels are, or '
                'set CUDA_VISIBLE_DEVICES= (empty) to use the CPU'
            )
        source = self._unpack()
        environ = {**self.env.environ, 'MMCV_WITH_OPS': '1'}
        environ.setdefault('MAX_JOBS', str(build_jobs()))
        # The one source, for the one kind of device, that was seen to allow it.
        if self.package == 'mmcv' and not cuda:
            join_sources(source / 'mmcv' / 'ops' / 'csrc' / 'pytorch')
            environ.setdefault('CFLAGS', CFLAGS)
        options = ('--no-deps', '--no-build-isolation', '-v', '-w', self.build)
        wheel = [self.env.python, '-m', 'pip', 'wheel', *options, source]
        self.compiler = start(wheel, self.log, environ)

    def _unpack(self) -> Path:
        shutil.rmtree(self.build, ignore_errors=True)  # of an interrupted set-up
        options = ('--no-deps', '--no-build-isolation', '-d', self.build)
        self.env.pip('download', *options, '--no-binary', self.package, self.package)
        for archive in self.build.glob('*.tar.gz'):
            shutil.unpack_archive(archive, self.build)
        return self.build / f'{self.package.replace("-", "_")}-{self.version}'


def digest(folder: Path, stack: str) -> str:
    """Changes with all that what is installed depends on."""
    files = [ROOT / 'setup.py', ROOT / 'mmrapidnet' / '__init__.py']
    contents = [file.read_bytes() for file in sorted(REQUIREMENTS.iterdir()) + files]
    depends = (sys.version_info[:2], ROOT, folder, stack, contents)
    return hashlib.sha256(repr(depends).encode()).hexdigest()


def carry_out(
    steps: dict[str, Callable[[], None]], env: Environment, state: str
) -> None:
    """Does every step not marked as done in this state; after any, the last again."""
    markers = env.folder / '.mmrapidnet-setup.json'
    done = set()
    with contextlib.suppress(OSError, ValueError):
        if env.python.exists():
            done.update(json.loads(markers.read_text()).get(state, ()))

    def save() -> None:
        draft = markers.with_suffix('.new')
        draft.write_text(json.dumps({state: sorted(done)}))
        os.replace(draft, markers)

    for number, (title, action) in enumerate(steps.items(), 1):
        if title not in done:
            done.discard([*steps][-1])
            save()
            print(f'[{number}/{len(steps)}] {title}', flush=True)
            action()
            done.add(title)
            save()


def setup(folder: Path, extras: list[str], stack: str, links: str | None) -> None:
    """Brings the environment in a folder up to date; it has one stack for good."""
    for name in extras:
        if not (REQUIREMENTS / f'{name}.txt').is_file():
            raise SetupError(f'no extra {name!r}: there is no requirements/{name}.txt')
    env = Environment(folder)
    libraries, package = STACKS[stack]
    mmcv = Mmcv(env, package, links)
    check_machine(mmcv.must_compile())
    lock(folder)

    def install(name: str, *options: str) -> Callable[[], None]:
        return lambda: env.install(*options, '-r', REQUIREMENTS / f'{name}.txt')

    def install_project() -> None:
        env.install('--no-deps', '--no-build-isolation', '-e', ROOT)

    steps = {
        f'Python environment {folder.name}': env.create,
        'torch and build tools': install('build'),
        'source of mmcv': mmcv.prepare,
        'dependencies': install('dependencies'),
        'torchvision, OpenMMLab libraries': install(libraries, '--no-deps'),
        'mmcv': mmcv.install,
        'mmrapidnet': install_project,
        **{
            f'extra {name}': install(name, *['--no-deps'] * (name in COMPLETE))
            for name in extras
        },
        'check': env.check,
    }
    try:
        carry_out(steps, env, digest(folder, stack))
    finally:
        mmcv.stop()


def main() -> None:
    """Sets up the environment that the command line names."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument('--venv', type=Path, default=ROOT / '.venv')
    parser.add_argument(
        '--extras', nargs='*', default=[], help='requirement files to install, too'
    )
    parser.add_argument(
        '--stack',
        choices=list(STACKS),
        default='openmmlab',
        help='whose builds of the OpenMMLab libraries (default: %(default)s)',
    )
    parser.add_argument(
        '--mmcv-find-links',
        default=os.environ.get('MMCV_FIND_LINKS'),
        help='folder or page of prebuilt mmcv wheels (default: $MMCV_FIND_LINKS)',
    )
    args = parser.parse_args()
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        setup(args.venv.absolute(), args.extras, args.stack, args.mmcv_find_links)
    except SetupError as error:
        sys.exit(f'error: {error}')
    except KeyboardInterrupt:
        sys.exit('error: interrupted; run the same command again to resume')


if __name__ == '__main__':
    main()
