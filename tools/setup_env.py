"""Makes the project's environment, or does what is still to be done for it.

It runs on a bare Python, so it imports nothing but the standard library. Every step
is stamped when it is complete: a second run does nothing, an interrupted one resumes.

The longest step is mmcv, which has no wheel for this torch and is compiled once; the
wheel goes into ``~/.cache/mmrapidnet/wheels`` for the next environment.
"""

from __future__ import annotations

import argparse
import contextlib
import fcntl
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
import tarfile
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
REQUIREMENTS = ROOT / 'requirements'
EXTRAS = ('det', 'seg', 'cls', 'onnx', 'openvino', 'coreml', 'ncnn', 'tests')
# In Python 3.13 mmcv's setup.py no longer finds its version, which it takes from
# locals() after exec().
SUPPORTED = ((3, 10), (3, 12))
TAIL_LINES = 12

# Files of mmcv whose names or macros clash with those of the others.
SEPARATE = (
    'cpu/psamask.cpp',
    'cpu/roi_align_rotated.cpp',
    'cpu/rotated_feature_align.cpp',
)
JOINED = (
    4  # more compile in parallel on more cores, and read torch's headers more often
)

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


@dataclass(frozen=True)
class Stack:
    """Whose builds of the OpenMMLab libraries an environment has.

    Attributes:
        packages: Requirements file of the libraries but mmcv.
        mmcv: The package that brings mmcv.
        accepted: File with the versions of it that will do.
    """

    packages: str
    mmcv: str
    accepted: str


STACKS = {
    'openmmlab': Stack('stack', 'mmcv', 'runtime.txt'),
    # The maintained fork: other packages, which bring modules of the same names.
    'onedl': Stack('stack_onedl', 'onedl-mmcv', 'constraints.txt'),
}


class SetupError(Exception):
    """Something the user has to see to.

    Args:
        message: One line that says what is wrong and what to do.
        log: A log whose last lines help to understand it.
    """

    def __init__(self, message: str, log: Path | None = None) -> None:
        super().__init__(message)
        self.log = log

    def tail(self) -> str:
        """The log's last lines, indented."""
        if self.log is None:
            return ''
        lines = self.log.read_text(errors='replace').splitlines()[-TAIL_LINES:]
        return ''.join(f'    {line}\n' for line in lines)


# ---------------------------------------------------------------- the machine


def missing_packages(compiling: bool) -> dict[str, str]:
    """What the machine lacks, and the Debian package that brings each."""
    found = {'python3-venv': importlib.util.find_spec('ensurepip')}
    if compiling:
        headers = Path(sysconfig.get_path('include'), 'Python.h')
        found['python3-dev'] = headers.is_file()
        for tool in ('gcc', 'g++', 'make'):
            found[tool] = shutil.which(tool)
    names = {'python3-venv': 'venv', 'python3-dev': 'Python.h'}
    return {names.get(key, key): key for key, value in found.items() if not value}


def check_machine(compiling: bool) -> None:
    """Stops early, with one line, where something must be installed first.

    Raises:
        SetupError: The Python version is not supported, or packages are missing.
    """
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
    """One compiler a core, and no more than 2 GiB of memory each allow."""
    memory = os.sysconf('SC_PAGE_SIZE') * os.sysconf('SC_PHYS_PAGES')
    return max(1, min(len(os.sched_getaffinity(0)), memory // 2**31))


@contextlib.contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Keeps a second set-up out of a folder (made if absent) until this one is done."""
    folder.mkdir(parents=True, exist_ok=True)
    handle = os.open(folder, os.O_RDONLY)
    try:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            print(f'waiting for another set-up to leave {folder} ...', flush=True)
            fcntl.flock(handle, fcntl.LOCK_EX)
        yield
    finally:
        os.close(handle)


# --------------------------------------------------------------- requirements


def requirement(file: str, name: str) -> str:
    """The version specifier that a requirements file gives a package."""
    text = (REQUIREMENTS / file).read_text(encoding='utf-8')
    return re.search(rf'^{name}([=<>!~][^\s;]*)', text, re.MULTILINE).group(1)


def cache_root() -> Path:
    """The folder of compiled wheels, shared by all of a user's environments."""
    base = os.environ.get('XDG_CACHE_HOME') or Path.home() / '.cache'
    return Path(base, 'mmrapidnet', 'wheels')


def cache_key(package: str, mmcv: str, torch: str, cuda: bool = False) -> str:
    """Names all that a compiled mmcv depends on.

    Args:
        package: That brings mmcv.
        mmcv: Version of it.
        torch: Version of torch with its local part, which tells the builds apart.
        cuda: Whether the operators are compiled for a GPU, too.
    """
    python = 'cp{}{}'.format(*sys.version_info)
    key = f'{package}-{mmcv}_torch-{torch}_{python}_{sysconfig.get_platform()}'
    return key + '_cuda' * cuda


# ------------------------------------------------------------------- progress


def ninja_progress(text: str) -> tuple[int, int] | None:
    """The last ``[finished/all]`` that ninja printed, if there is one."""
    counts = re.findall(r'^\s*\[(\d+)/(\d+)\] ', text, re.MULTILINE)
    return tuple(map(int, counts[-1])) if counts else None


def duration(seconds: float) -> str:
    """Seconds as people say them: ``41 s``, ``3 min 05 s``."""
    minutes, seconds = divmod(round(seconds), 60)
    return f'{minutes} min {seconds:02} s' if minutes else f'{seconds} s'


class Progress:
    """One line a step, brought up to date in place on a terminal.

    Elsewhere a long step adds a line every ``interval`` seconds.
    """

    def __init__(self, title: str, interval: float = 30.0) -> None:
        self.title = title
        self.terminal = sys.stdout.isatty()
        self.interval = 1.0 if self.terminal else interval
        self.start = self.shown = time.monotonic()
        self.compiling_since = None
        self.detail = ''

    @property
    def elapsed(self) -> float:
        return time.monotonic() - self.start

    def tick(self, output: str) -> None:
        """Takes what the running command has printed since the last call."""
        counts = ninja_progress(output)
        if counts:
            self.detail = self._compiled(*counts)
        if time.monotonic() - self.shown >= self.interval:
            self.shown = time.monotonic()
            self._print(f'{self.detail}{duration(self.elapsed)} so far')

    def __enter__(self) -> Progress:
        return self

    def __exit__(self, error: type[BaseException] | None, *_) -> None:
        stopped = 'stopped after ' if error else ''
        self._print(f'{stopped}{duration(self.elapsed)}', end='\n')

    def _compiled(self, done: int, total: int) -> str:
        now = time.monotonic()
        if self.compiling_since is None:
            self.compiling_since = (now, done)
        since, before = self.compiling_since
        line = f'{done} of {total} files compiled, '
        if done - before >= 4:  # the first few tell too little
            left = (now - since) / (done - before) * (total - done)
            line += f'about {duration(left)} left, '
        return line

    def _print(self, text: str, end: str | None = None) -> None:
        line = f'{self.title} ... {text}'
        if self.terminal:
            print(f'\r\033[K{line}', end=end or '', flush=True)
        else:
            print(line, flush=True)


# ------------------------------------------------------------------- commands


def run(
    command: list, log: Path, progress: Progress, environ: dict | None = None
) -> int:
    """Runs a command with its output in a log; stops all of it if we are stopped.

    Returns:
        The command's exit status.
    """
    with log.open('ab') as out, log.open('rb') as seen:
        seen.seek(0, os.SEEK_END)
        process = subprocess.Popen(
            list(map(str, command)),
            stdin=subprocess.DEVNULL,
            stdout=out,
            stderr=subprocess.STDOUT,
            env=environ,
            cwd=ROOT,
            start_new_session=True,
        )
        try:
            while True:
                try:
                    return process.wait(timeout=0.5)
                except subprocess.TimeoutExpired:
                    progress.tick(seen.read().decode(errors='replace'))
        except BaseException:
            os.killpg(process.pid, signal.SIGTERM)
            process.wait()
            raise


class Environment:
    """A virtual environment and what is asked of its Python."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.python = folder / 'bin' / 'python'
        self.log = folder / 'setup.log'
        self.environ = {
            **os.environ,
            'PATH': f'{folder / "bin"}{os.pathsep}{os.environ.get("PATH", "")}',
            'VIRTUAL_ENV': str(folder),
        }

    def create(self, progress: Progress) -> None:
        """Makes the environment; one of another Python, or a broken one, goes first."""
        command = [sys.executable, '-m', 'venv', self.folder]
        if (self.folder / 'pyvenv.cfg').exists() and not self._runs_our_python():
            command.insert(3, '--clear')
        self._require(run(command, self.log, progress), 'python -m venv')

    def pip(self, progress: Progress, *arguments: str | Path) -> None:
        """Runs pip under the constraints.

        Raises:
            SetupError: pip failed.
        """
        command, *rest = arguments
        constraints = ('-c', REQUIREMENTS / 'constraints.txt')
        line = [self.python, '-m', 'pip', command, *constraints, *rest]
        self._require(run(line, self.log, progress, self.environ), f'pip {command}')

    def succeeds(self, code: str, progress: Progress, *arguments: str) -> bool:
        """Whether a piece of Python runs without an error."""
        command = [self.python, '-c', code, *arguments]
        return run(command, self.log, progress, self.environ) == 0

    def output(self, code: str) -> str:
        """What a piece of Python prints."""
        return subprocess.run(
            [self.python, '-c', code],
            check=True,
            capture_output=True,
            text=True,
            env=self.environ,
        ).stdout.strip()

    def _runs_our_python(self) -> bool:
        with contextlib.suppress(OSError, subprocess.CalledProcessError):
            code = 'import sys; print(*sys.version_info[:2])'
            return self.output(code) == '{} {}'.format(*sys.version_info)
        return False

    def _require(self, status: int, what: str) -> None:
        if status != 0:
            raise SetupError(
                f'{what} failed with status {status} (its last lines are above, all '
                f'of them in {self.log}): run the same command again to resume',
                self.log,
            )


# ----------------------------------------------------------------------- mmcv


def join_sources(source: Path) -> None:
    """Joins mmcv's C++ files, 77 of which would each read torch's headers.

    That takes 7 to 8 seconds a file, and nearly all of the time of most.  The files
    become ``.inc``, which mmcv's ``setup.py`` does not look for.
    """
    folder = source / 'mmcv' / 'ops' / 'csrc' / 'pytorch'
    found = sorted([*folder.glob('*.cpp'), *folder.glob('cpu/*.cpp')])
    names = [str(file.relative_to(folder)) for file in found]
    names = [name for name in names if name not in SEPARATE]
    ends = [len(names) * number // JOINED for number in range(JOINED + 1)]
    for number in range(JOINED):
        lines = ['#include <torch/extension.h>']
        for name in names[ends[number] : ends[number + 1]]:
            included = Path(name).with_suffix('.inc')
            os.replace(folder / name, folder / included)
            lines.append(f'#include "{included}"')
        (folder / f'joined_{number}.cpp').write_text('\n'.join(lines) + '\n')


class Mmcv:
    """Brings mmcv with its operators into an environment, compiled only if it must.

    Args:
        env: The environment; torch is installed there when `install` is called.
        find_links: Where pip may look for prebuilt wheels, too.
        stack: Whose mmcv.
    """

    def __init__(
        self,
        env: Environment,
        find_links: str | None = None,
        stack: Stack = STACKS['openmmlab'],
    ) -> None:
        self.env = env
        self.find_links = find_links
        self.package = stack.mmcv
        # As files of it are called.
        self.stem = stack.mmcv.replace('-', '_')
        self.accepted = requirement(stack.accepted, stack.mmcv)
        self.version = requirement('constraints.txt', stack.mmcv)[2:]
        self.log = env.folder / 'mmcv-build.log'

    def must_compile(self) -> bool:
        """Whether compilers will be needed, as far as that is known beforehand."""
        torch = requirement('constraints.txt', 'torch')[2:]
        cached = cache_root().glob(f'{self._key(torch + "*")}*/*.whl')
        installed = self.env.folder.glob('lib/python*/site-packages/mmcv/_ext*')
        return not (self.find_links or any(cached) or any(installed))

    def install(self, progress: Progress) -> None:
        """Takes what is installed, cached or prebuilt, in this order, or compiles.

        Raises:
            SetupError: It could not be compiled.
        """
        if self._usable(progress):
            return
        torch, cuda = self.env.output(TORCH_PROBE).split()
        key = self._key(torch, cuda == 'True')
        with locked(cache_root() / key):
            if self._install_cached(cache_root() / key, progress):
                return
            if self._install_prebuilt(progress):
                return
            self._compile(cache_root() / key, progress, cuda == 'True')
            if not self._install_cached(cache_root() / key, progress):
                raise SetupError(
                    f'{self.package} {self.version} was compiled but cannot be '
                    f'imported: see {self.env.log}'
                )

    def _key(self, torch: str, cuda: bool = False) -> str:
        return cache_key(self.package, self.version, torch, cuda)

    def _usable(self, progress: Progress) -> bool:
        return self.env.succeeds(MMCV_PROBE, progress, self.accepted)

    def _install_cached(self, folder: Path, progress: Progress) -> bool:
        for wheel in folder.glob(f'{self.stem}-*.whl'):
            with contextlib.suppress(SetupError):
                self.env.pip(
                    progress, 'install', '--no-deps', '--force-reinstall', wheel
                )
                if self._usable(progress):
                    return True
            wheel.unlink()
        return False

    def _install_prebuilt(self, progress: Progress) -> bool:
        if not self.find_links:
            return False
        options = ('--no-deps', '--force-reinstall', '--only-binary', self.package)
        links = ('--find-links', self.find_links)
        with contextlib.suppress(SetupError):
            self.env.pip(progress, 'install', *options, *links, self.package)
            return self._usable(progress)
        return False

    def _compile(self, folder: Path, progress: Progress, cuda: bool) -> None:
        check_machine(compiling=True)
        if cuda and not (os.environ.get('CUDA_HOME') or shutil.which('nvcc')):
            raise SetupError(
                'torch sees a GPU but there is no CUDA compiler for mmcv: install the '
                'CUDA toolkit, set MMCV_FIND_LINKS to where prebuilt wheels are, or '
                'set CUDA_VISIBLE_DEVICES= (empty) to use the CPU'
            )
        # The one source, for the one kind of device, that was seen to allow it.
        join = self.package == 'mmcv' and not cuda
        build = self.env.folder / 'mmcv-build' / folder.name
        source = self._unpack(build, progress, join)
        environ = {
            'MAX_JOBS': str(build_jobs()),
            **self.env.environ,
            'MMCV_WITH_OPS': '1',
        }
        options = ('--no-deps', '--no-build-isolation', '-v')
        with tempfile.TemporaryDirectory(dir=folder) as out:
            wheel = [self.env.python, '-m', 'pip', 'wheel', *options, '-w', out, source]
            status = run(wheel, self.log, progress, environ)
            if status != 0:
                raise SetupError(
                    f'{self.package} {self.version} could not be compiled '
                    f'(status {status}): see {self.log}'
                )
            for built in Path(out).glob(f'{self.stem}-*.whl'):
                os.replace(built, folder / built.name)
        shutil.rmtree(source.parent)

    def _unpack(self, folder: Path, progress: Progress, join: bool) -> Path:
        """Unpacks the source where an interrupted compilation finds its objects."""
        source = folder / f'{self.stem}-{self.version}'
        if not source.is_dir():
            folder.mkdir(parents=True, exist_ok=True)
            with tempfile.TemporaryDirectory(dir=folder) as download:
                options = (
                    '--no-deps',
                    '--no-build-isolation',
                    '--no-binary',
                    self.package,
                )
                self.env.pip(
                    progress, 'download', *options, '-d', download, self.package
                )
                for archive in Path(download).glob('*.tar.gz'):
                    with tarfile.open(archive) as tar:
                        tar.extractall(download)
                if join:
                    join_sources(Path(download, source.name))
                os.replace(Path(download, source.name), source)
        return source


# ---------------------------------------------------------------------- steps


@dataclass(frozen=True)
class Step:
    """A part of the set-up that is done as a whole or not at all.

    Attributes:
        name: What the stamp is filed under.
        title: What the progress line calls it.
        action: Does it.
        files: It is done again when one of these files of the project changes.
        version: It is done again when this is raised.
    """

    name: str
    title: str
    action: Callable[[Progress], None]
    files: tuple[str, ...] = ()
    version: int = 1

    def digest(self, env: Environment) -> str:
        """Changes with all that the step's result depends on."""
        where = (self.version, sys.version_info[:2], str(ROOT), str(env.folder))
        digest = hashlib.sha256(repr(where).encode())
        for name in self.files:
            digest.update((ROOT / name).read_bytes())
        return digest.hexdigest()


class Stamps:
    """Which steps are done, kept in a file in the environment."""

    def __init__(self, file: Path) -> None:
        self.file = file
        try:
            self.done = json.loads(file.read_text())
        except (OSError, ValueError):
            self.done = {}

    def record(self, name: str, digest: str) -> None:
        self.done[name] = digest
        self._write()

    def forget(self, *names: str) -> None:
        for name in names:
            self.done.pop(name, None)
        self._write()

    def _write(self) -> None:
        draft = self.file.with_suffix('.new')
        draft.write_text(json.dumps(self.done, indent=1))
        os.replace(draft, self.file)


def make_steps(
    env: Environment, mmcv: Mmcv, extras: list[str], stack: Stack
) -> list[Step]:
    """All steps in their order."""

    def listed(*names: str) -> tuple[str, ...]:
        return tuple(f'requirements/{name}.txt' for name in (*names, 'constraints'))

    def install(name: str, *options: str) -> Callable[[Progress], None]:
        file = REQUIREMENTS / f'{name}.txt'
        return lambda progress: env.pip(progress, 'install', *options, '-r', file)

    def check(progress: Progress) -> None:
        if not env.succeeds(STACK_PROBE, progress):
            raise SetupError(
                f'the finished environment does not work (the reason is above, more '
                f'of it in {env.log}): remove {env.folder} and run this again',
                env.log,
            )

    editable = ('install', '--no-deps', '--no-build-isolation', '-e', ROOT)
    sources = ('setup.py', 'mmrapidnet/__init__.py')
    return [
        Step('venv', f'Python environment {env.folder.name}', env.create),
        Step('build', 'torch and build tools', install('build'), listed('build')),
        Step(
            'dependencies',
            'dependencies',
            install('dependencies'),
            listed('dependencies'),
        ),
        Step(
            'stack',
            'torchvision, mmengine, mmdet, mmsegmentation, mmpretrain',
            install(stack.packages, '--no-deps'),
            listed(stack.packages),
        ),
        Step('mmcv', 'mmcv', mmcv.install, listed('build', 'runtime')),
        Step(
            'project',
            'mmrapidnet',
            lambda progress: env.pip(progress, *editable),
            (*sources, *listed('runtime', *EXTRAS)),
        ),
        *(
            Step(f'extra {name}', f'extra {name}', install(name), listed(name))
            for name in extras
        ),
        Step('check', 'check', check),
    ]


def carry_out(steps: list[Step], env: Environment, stamps: Stamps) -> None:
    """Does every step that is not stamped; whatever is done, the last is done, too."""
    last = steps[-1].name
    for number, step in enumerate(steps, 1):
        digest = step.digest(env)
        if stamps.done.get(step.name) == digest:
            continue
        stamps.forget(step.name, last)
        with Progress(f'[{number}/{len(steps)}] {step.title}') as progress:
            step.action(progress)
        stamps.record(step.name, digest)


def setup(
    folder: Path, extras: list[str], find_links: str | None, stack: str = 'openmmlab'
) -> None:
    """Brings the environment in ``folder`` up to date.

    Args:
        folder: The virtual environment, made if absent.
        extras: Names of requirement files to install, too.
        find_links: Where pip may look for prebuilt mmcv wheels, too.
        stack: One of `STACKS`; an environment has one for good.

    Raises:
        SetupError: The user has to do something first.
    """
    env = Environment(folder)
    mmcv = Mmcv(env, find_links, STACKS[stack])
    for name in extras:
        if not (REQUIREMENTS / f'{name}.txt').is_file():
            raise SetupError(f'no extra {name!r}: there is no requirements/{name}.txt')
    with locked(folder):
        stamps = Stamps(folder / '.mmrapidnet-setup.json')
        if not env.python.exists():
            stamps.forget(*list(stamps.done))
        check_machine('mmcv' not in stamps.done and mmcv.must_compile())
        carry_out(make_steps(env, mmcv, extras, STACKS[stack]), env, stamps)


def main() -> None:
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
        sys.exit(f'{error.tail()}error: {error}')
    except KeyboardInterrupt:
        sys.exit('error: interrupted; run the same command again to resume')


if __name__ == '__main__':
    main()
