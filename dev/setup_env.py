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
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).resolve().parents[1]
REQUIREMENTS = ROOT / 'requirements'
# In Python 3.13 mmcv's setup.py no longer finds its version, which it takes from
# locals() after exec().
SUPPORTED = ((3, 10), (3, 12))

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

MMCV_PROBE = """
import sys
import mmcv, mmcv.ops
from packaging.specifiers import SpecifierSet
sys.exit(mmcv.__version__ not in SpecifierSet(sys.argv[1], prereleases=True))
"""

STACK_PROBE = """
from mmrapidnet import compat
compat.apply()
import mmcv.ops, mmdet.apis, mmpretrain.apis, mmrapidnet, mmseg.apis
"""


# Whose builds of the OpenMMLab libraries: the requirements file of all but mmcv, the
# package that brings mmcv, and the file with the versions of it that will do.
STACKS = {
    'openmmlab': ('stack', 'mmcv', 'runtime.txt'),
    # The maintained fork: other packages, which bring modules of the same names.
    'onedl': ('stack_onedl', 'onedl-mmcv', 'constraints.txt'),
}


class SetupError(Exception):
    """What is wrong and what to do, in one line; a log may help to understand it."""

    def __init__(self, message: str, log: Path | None = None) -> None:
        lines = log.read_text(errors='replace').splitlines()[-12:] if log else []
        self.tail = ''.join(f'    {line}\n' for line in lines)
        super().__init__(message)


def missing_packages(compiling: bool) -> dict[str, str]:
    """What the machine lacks, and the Debian package that brings each."""
    found = {'venv': ('python3-venv', importlib.util.find_spec('ensurepip'))}
    if compiling:
        header = Path(sysconfig.get_path('include'), 'Python.h')
        found['Python.h'] = ('python3-dev', header.is_file())
        found |= {tool: (tool, shutil.which(tool)) for tool in ('gcc', 'g++', 'make')}
    return {name: package for name, (package, there) in found.items() if not there}


def check_machine(compiling: bool) -> None:
    """Raises a `SetupError` where something must be installed first."""
    oldest, newest = ('{}.{}'.format(*version) for version in SUPPORTED)
    if not SUPPORTED[0] <= sys.version_info[:2] <= SUPPORTED[1]:
        raise SetupError(
            f'Python {oldest} to {newest} is needed and {sys.executable} is '
            f'{sys.version.split()[0]}: name another with "make PYTHON=python{newest}"'
        )
    missing = missing_packages(compiling)
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


def requirement(file: str, name: str) -> str:
    """The version specifier that a requirements file gives a package."""
    text = (REQUIREMENTS / file).read_text(encoding='utf-8')
    return re.search(rf'^{name}([=<>!~][^\s;]*)', text, re.MULTILINE).group(1)


def cache_root() -> Path:
    """The folder of compiled wheels, shared by all of a user's environments."""
    base = os.environ.get('XDG_CACHE_HOME') or Path.home() / '.cache'
    return Path(base, 'mmrapidnet', 'wheels')


def cache_key(package: str, mmcv: str, torch: str, cuda: bool = False) -> str:
    """Names all that a compiled mmcv depends on; torch's local version is a part."""
    python = 'cp{}{}'.format(*sys.version_info)
    key = f'{package}-{mmcv}_torch-{torch}_{python}_{sysconfig.get_platform()}'
    return key + '_cuda' * cuda


def start(command: list, log: Path, environ: dict | None = None) -> subprocess.Popen:
    """Starts a command with its output in a log, in a process group of its own."""
    with log.open('ab') as out:
        return subprocess.Popen(
            list(map(str, command)),
            stdin=subprocess.DEVNULL,
            stdout=out,
            stderr=subprocess.STDOUT,
            env=environ,
            cwd=ROOT,
            start_new_session=True,
        )


def stop(process: subprocess.Popen) -> None:
    """Ends a command and all that it started, unless it has ended."""
    if process.poll() is None:
        os.killpg(process.pid, signal.SIGTERM)
        process.wait()


def run(command: list, log: Path, environ: dict | None = None) -> int:
    """Runs a command to its end, or to ours; returns its exit status."""
    process = start(command, log, environ)
    try:
        return process.wait()
    finally:
        stop(process)


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
        command = [sys.executable, '-m', 'venv', self.folder]
        if (self.folder / 'pyvenv.cfg').exists() and not self._runs_our_python():
            command.insert(3, '--clear')
        self._run('python -m venv', command)

    def pip(self, command: str, *arguments: str | Path) -> None:
        """Runs pip under the constraints; raises a `SetupError` where that fails."""
        constraints = ('-c', REQUIREMENTS / 'constraints.txt')
        line = [self.python, '-m', 'pip', command, *constraints, *arguments]
        self._run(f'pip {command}', line)

    def install(self, *arguments: str | Path) -> None:
        """Installs packages. Python compiles them, when and if they are imported."""
        self.pip('install', '--no-compile', *arguments)

    def succeeds(self, code: str, *arguments: str) -> bool:
        """Whether a piece of Python runs without an error."""
        return run([self.python, '-c', code, *arguments], self.log, self.environ) == 0

    def output(self, code: str) -> str:
        """What a piece of Python prints."""
        command = [self.python, '-c', code]
        return subprocess.run(
            command, check=True, capture_output=True, text=True, env=self.environ
        ).stdout.strip()

    def check(self) -> None:
        """Raises a `SetupError` where the finished environment does not work."""
        if not self.succeeds(STACK_PROBE):
            raise SetupError(
                f'the finished environment does not work (the reason is above, more '
                f'of it in {self.log}): remove {self.folder} and run this again',
                self.log,
            )

    def _runs_our_python(self) -> bool:
        with contextlib.suppress(OSError, subprocess.CalledProcessError):
            code = 'import sys; print(*sys.version_info[:2])'
            return self.output(code) == '{} {}'.format(*sys.version_info)
        return False

    def _run(self, name: str, command: list) -> None:
        status = run(command, self.log, self.environ)
        if status != 0:
            raise SetupError(
                f'{name} failed with status {status} (its last lines are above, all '
                f'of them in {self.log}): run the same command again to resume',
                self.log,
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
        self, env: Environment, links: str | None = None, stack: str = 'openmmlab'
    ) -> None:
        self.env = env
        self.links = links  # where pip may look for prebuilt wheels, too
        _, self.package, accepted = STACKS[stack]
        self.accepted = requirement(accepted, self.package)
        self.version = requirement('constraints.txt', self.package)[2:]
        self.log = env.folder / 'mmcv-build.log'
        self.compiler: subprocess.Popen | None = None

    def must_compile(self) -> bool:
        """Whether compilers will be needed, as far as that is known beforehand."""
        torch = requirement('constraints.txt', 'torch')[2:]
        key = cache_key(self.package, self.version, torch + '*')
        cached = cache_root().glob(f'{key}*/*.whl')
        installed = self.env.folder.glob('lib/python*/site-packages/mmcv/_ext*')
        return not (self.links or any(cached) or any(installed))

    def prepare(self) -> None:
        """Starts to compile in the background, where that will be needed."""
        if self.must_compile():
            self._start()

    def install(self) -> None:
        """Takes what is installed, cached or prebuilt, in this order, or compiles."""
        if self._usable() or self._install_cached() or self._install_prebuilt():
            return
        self._compile()
        if not self._install_cached():
            raise SetupError(
                f'{self.package} {self.version} was compiled but cannot be '
                f'imported: see {self.env.log}'
            )

    def stop(self) -> None:
        """Stops compiling; what is compiled by then stays for the next time."""
        if self.compiler:
            stop(self.compiler)

    @functools.cached_property
    def _torch(self) -> tuple[str, bool]:
        version, cuda = self.env.output(TORCH_PROBE).split()
        return version, cuda == 'True'

    @property
    def _cache(self) -> Path:
        return cache_root() / cache_key(self.package, self.version, *self._torch)

    @property
    def _build(self) -> Path:
        return self.env.folder / 'mmcv-build' / self._cache.name

    def _usable(self) -> bool:
        return self.env.succeeds(MMCV_PROBE, self.accepted)

    def _install_cached(self) -> bool:
        for wheel in self._cache.glob('*.whl'):
            with contextlib.suppress(SetupError):
                self.env.install('--no-deps', '--force-reinstall', wheel)
                if self._usable():
                    return True
            wheel.unlink()
        return False

    def _install_prebuilt(self) -> bool:
        if not self.links:
            return False
        options = ('--no-deps', '--force-reinstall', '--find-links', self.links)
        with contextlib.suppress(SetupError):
            self.env.install(*options, '--only-binary', self.package, self.package)
        return self._usable()

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
        for wheel in self._build.glob('*.whl'):
            draft = shutil.copy(wheel, self._cache / f'{os.getpid()}.new')
            os.replace(draft, self._cache / wheel.name)
        shutil.rmtree(self._build)

    def _start(self) -> None:
        check_machine(compiling=True)
        _, cuda = self._torch
        if cuda and not (os.environ.get('CUDA_HOME') or shutil.which('nvcc')):
            raise SetupError(
                'torch sees a GPU but there is no CUDA compiler for mmcv: install the '
                'CUDA toolkit, set MMCV_FIND_LINKS to where prebuilt wheels are, or '
                'set CUDA_VISIBLE_DEVICES= (empty) to use the CPU'
            )
        # The one source, for the one kind of device, that was seen to allow it.
        join = self.package == 'mmcv' and not cuda
        source = self._unpack(join)
        environ = {**self.env.environ, 'MMCV_WITH_OPS': '1'}
        environ.setdefault('MAX_JOBS', str(build_jobs()))
        if join:
            environ.setdefault('CFLAGS', CFLAGS)
        options = ('--no-deps', '--no-build-isolation', '-v', '-w', self._build)
        wheel = [self.env.python, '-m', 'pip', 'wheel', *options, source]
        self.compiler = start(wheel, self.log, environ)

    def _unpack(self, join: bool) -> Path:
        """Unpacks the source where an interrupted compilation finds its objects."""
        source = self._build / f'{self.package.replace("-", "_")}-{self.version}'
        if not source.is_dir():
            self._build.mkdir(parents=True, exist_ok=True)
            with tempfile.TemporaryDirectory(dir=self._build) as folder:
                options = ('--no-deps', '--no-build-isolation', '-d', folder)
                named = ('--no-binary', self.package, self.package)
                self.env.pip('download', *options, *named)
                for archive in Path(folder).glob('*.tar.gz'):
                    shutil.unpack_archive(archive, folder)
                unpacked = Path(folder, source.name)
                if join:
                    join_sources(unpacked / 'mmcv' / 'ops' / 'csrc' / 'pytorch')
                os.replace(unpacked, source)
        return source


def duration(seconds: float) -> str:
    """Seconds as people say them: ``41 s``, ``3 min 05 s``."""
    minutes, seconds = divmod(round(seconds), 60)
    return f'{minutes} min {seconds:02} s' if minutes else f'{seconds} s'


@contextlib.contextmanager
def timed(title: str) -> Iterator[None]:
    """Prints what is being done and, when it ends, how long it took."""
    print(title, end=' ... ', flush=True)
    begin, outcome = time.monotonic(), 'stopped after '
    try:
        yield
        outcome = ''
    finally:
        print(f'{outcome}{duration(time.monotonic() - begin)}', flush=True)


class Step(NamedTuple):
    """A part of the set-up that is done as a whole or not at all."""

    title: str
    action: Callable[[], None]
    files: tuple[Path, ...] = ()  # it is done again when one of them changes

    def digest(self, env: Environment) -> str:
        """Changes with all that the step's result depends on."""
        contents = [file.read_bytes() for file in self.files]
        depends = (sys.version_info[:2], ROOT, env.folder, contents)
        return hashlib.sha256(repr(depends).encode()).hexdigest()


def carry_out(steps: list[Step], env: Environment) -> None:
    """Does every step that is not marked as done; after any, the last one as well."""
    markers = env.folder / '.mmrapidnet-setup.json'
    done = {}
    with contextlib.suppress(OSError, ValueError):
        if env.python.exists():
            done = json.loads(markers.read_text())

    def save() -> None:
        draft = markers.with_suffix('.new')
        draft.write_text(json.dumps(done, indent=1))
        os.replace(draft, markers)

    for number, step in enumerate(steps, 1):
        digest = step.digest(env)
        if done.get(step.title) == digest:
            continue
        done.pop(step.title, None)
        done.pop(steps[-1].title, None)
        save()
        with timed(f'[{number}/{len(steps)}] {step.title}'):
            step.action()
        done[step.title] = digest
        save()


def setup(
    folder: Path, extras: list[str], find_links: str | None, stack: str = 'openmmlab'
) -> None:
    """Brings the environment in a folder up to date; it has one stack for good."""
    for name in extras:
        if not (REQUIREMENTS / f'{name}.txt').is_file():
            raise SetupError(f'no extra {name!r}: there is no requirements/{name}.txt')
    env = Environment(folder)
    mmcv = Mmcv(env, find_links, stack)
    check_machine(mmcv.must_compile())
    lock(folder)
    pins = REQUIREMENTS / 'constraints.txt'

    def install(title: str, name: str, *options: str) -> Step:
        file = REQUIREMENTS / f'{name}.txt'
        return Step(title, lambda: env.install(*options, '-r', file), (file, pins))

    def install_project() -> None:
        env.install('--no-deps', '--no-build-isolation', '-e', ROOT)

    accepted = (REQUIREMENTS / 'runtime.txt', pins)
    sources = (ROOT / 'setup.py', ROOT / 'mmrapidnet' / '__init__.py')
    libraries = 'torchvision, mmengine, mmdet, mmsegmentation, mmpretrain'
    steps = [
        Step(f'Python environment {folder.name}', env.create),
        install('torch and build tools', 'build'),
        Step('source of mmcv', mmcv.prepare, accepted),
        install('dependencies', 'dependencies'),
        install(libraries, STACKS[stack][0], '--no-deps'),
        Step('mmcv', mmcv.install, accepted),
        Step(
            'mmrapidnet',
            install_project,
            (*sources, *sorted(REQUIREMENTS.glob('*.txt'))),
        ),
        *(install(f'extra {name}', name) for name in extras),
        Step('check', env.check),
    ]
    try:
        carry_out(steps, env)
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
        setup(args.venv.absolute(), args.extras, args.mmcv_find_links, args.stack)
    except SetupError as error:
        sys.exit(f'{error.tail}error: {error}')
    except KeyboardInterrupt:
        sys.exit('error: interrupted; run the same command again to resume')


if __name__ == '__main__':
    main()
