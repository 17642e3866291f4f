"""Makes the project's environment, or does what is still to be done for it.

It runs on a bare Python, so it imports nothing but the standard library. A finished
environment is marked: a second run does nothing, and after an interruption pip passes
over what it has installed.

mmcv has no wheel for this torch. `build_mmcv.py` compiles it once, in the background
while other packages are installed; the wheel goes into ``~/.cache/mmrapidnet/wheels``
for the next environment. (pip's own cache would give it to another torch, too.)
"""

from __future__ import annotations

import argparse
import contextlib
import fcntl
import hashlib
import importlib.util
import os
import re
import shutil
import signal
import subprocess
import sys
import sysconfig
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
REQUIREMENTS = ROOT / 'requirements'
PINS = REQUIREMENTS / 'constraints.txt'
BUILD_MMCV = ROOT / 'dev' / 'build_mmcv.py'
# Whose builds of the OpenMMLab libraries: the requirements file of all but mmcv, and
# the package that brings mmcv.
STACKS = {
    'openmmlab': ('stack', 'mmcv'),
    # The maintained fork: other packages, which bring modules of the same names.
    'onedl': ('stack_onedl', 'onedl-mmcv'),
}
# These name all that they need: they are installed without dependencies.
COMPLETE = ('stack', 'stack_onedl', 'formats')

TORCH_PROBE = """
import torch
print(torch.__version__ + '_cuda' * torch.cuda.is_available())
"""
# Loads the operators alone: what mmcv itself imports is installed later.
MMCV_PROBE = """
import ctypes, importlib.metadata, torch
mmcv = importlib.metadata.distribution('{}')
(operators,) = [file for file in mmcv.files if file.match('mmcv/_ext*.so')]
ctypes.CDLL(str(operators.locate()))
print(mmcv.version)
"""
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


@contextlib.contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Keeps a second set-up out of a folder (made if absent) until this one ends."""
    folder.mkdir(parents=True, exist_ok=True)
    handle = os.open(folder, os.O_RDONLY)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        print(f'waiting for another set-up to leave {folder} ...', flush=True)
        fcntl.flock(handle, fcntl.LOCK_EX)
    try:
        yield
    finally:
        os.close(handle)


def pinned(package: str) -> str:
    """The version of a package that this project was tested with."""
    return re.search(rf'^{package}==(\S+)', PINS.read_text(), re.MULTILINE)[1]


def cache(package: str, torch: str) -> Path:
    """Where wheels of mmcv lie that were compiled for this Python and a torch."""
    base = os.environ.get('XDG_CACHE_HOME') or Path.home() / '.cache'
    python = 'cp{}{}'.format(*sys.version_info)
    key = f'{package}-{pinned(package)}_torch-{torch}_{python}'
    return Path(base, 'mmrapidnet', 'wheels', f'{key}_{sysconfig.get_platform()}')


@contextlib.contextmanager
def running(command: tuple, log: Path, environ: dict) -> Iterator[subprocess.Popen]:
    """Starts a command with its output in a log; in the end ends all it started."""
    with log.open('ab') as out:
        process = subprocess.Popen(
            command,
            env=environ,
            cwd=ROOT,
            stdin=subprocess.DEVNULL,
            stdout=out,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    try:
        yield process
    finally:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGTERM)
            process.wait()


class Environment:
    """A virtual environment and what is asked of its Python."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.python = folder / 'bin' / 'python'
        self.log = folder / 'setup.log'
        # With it, compilers find ninja.
        path = f'{folder / "bin"}{os.pathsep}{os.environ.get("PATH", "")}'
        self.environ = {**os.environ, 'PATH': path}

    def create(self) -> None:
        """Makes the environment; one of another Python, or a broken one, goes first."""
        print(f'Python environment {self.folder.name}', flush=True)
        packages = self.folder / 'lib/python{}.{}'.format(*sys.version_info)
        sound = self.python.exists() and packages.is_dir()
        stale = (self.folder / 'pyvenv.cfg').exists() and not sound
        clear = ['--clear'] if stale else []
        self.run('python -m venv', sys.executable, '-m', 'venv', *clear, self.folder)

    def install(self, *arguments: str | Path) -> None:
        """Installs packages. Python compiles them, when and if they are imported."""
        pip = (self.python, '-m', 'pip', 'install', '--no-compile', '-c', PINS)
        self.run('pip install', *pip, *arguments)

    def require(self, name: str) -> None:
        """Installs what a requirements file lists."""
        print(f'requirements/{name}.txt', flush=True)
        options = ['--no-deps'] if name in COMPLETE else []
        self.install(*options, '-r', REQUIREMENTS / f'{name}.txt')

    def ask(self, code: str) -> str | None:
        """What a piece of Python prints; None if it fails."""
        command = [self.python, '-c', code]
        done = subprocess.run(command, env=self.environ, capture_output=True, text=True)
        return None if done.returncode else done.stdout.strip()

    def run(self, name: str, *command: str | Path) -> None:
        """Runs a command; raises a `SetupError` with the end of its log if it fails."""
        with running(command, self.log, self.environ) as process:
            status = process.wait()
        if status:
            for line in self.log.read_text(errors='replace').splitlines()[-12:]:
                print(f'    {line}', file=sys.stderr)
            raise SetupError(
                f'{name} failed with status {status} (its last lines are above, all of '
                f'them in {self.log}): run the same command again to resume, or remove '
                f'{self.folder} to begin anew'
            )


def has_mmcv(env: Environment, package: str) -> bool:
    """Whether the pinned mmcv is installed and its operators fit the torch there."""
    return env.ask(MMCV_PROBE.format(package)) == pinned(package)


def take_mmcv(env: Environment, package: str, *places: str | Path) -> bool:
    """Installs a wheel from one of these folders or pages. Returns whether it works."""
    links = [f'--find-links={place}' for place in places]
    options = ('--no-deps', '--force-reinstall', '--only-binary', package)
    with contextlib.suppress(SetupError):
        env.install(*options, *links, package)
    return has_mmcv(env, package)


@contextlib.contextmanager
def bringing_mmcv(env: Environment, package: str, links: str | None) -> Iterator[None]:
    """Brings mmcv with its operators into an environment that has torch.

    It takes what is installed, cached or prebuilt, or compiles while the body of the
    ``with`` statement installs what else is needed.
    """
    torch = env.ask(TORCH_PROBE)
    wheels = cache(package, torch)
    places = [wheels] if wheels.is_dir() else []
    if links:
        places.append(links)
    if has_mmcv(env, package) or (places and take_mmcv(env, package, *places)):
        yield
        return
    check_machine(compiling=True)
    compiler = os.environ.get('CUDA_HOME') or shutil.which('nvcc')
    if torch.endswith('_cuda') and not compiler:
        raise SetupError(
            'torch sees a GPU but there is no CUDA compiler for mmcv: install the '
            'CUDA toolkit, set MMCV_FIND_LINKS to where prebuilt wheels are, or '
            'set CUDA_VISIBLE_DEVICES= (empty) to use the CPU'
        )
    requirement = f'{package}=={pinned(package)}'
    log = env.folder / 'mmcv-build.log'
    command = (env.python, BUILD_MMCV, requirement, env.folder / 'mmcv-build', wheels)
    with running(command, log, env.environ) as process:
        yield
        print(requirement, flush=True)
        status = process.wait()
    if status:
        raise SetupError(
            f'{requirement} could not be compiled (status {status}): see {log}'
        )
    if not take_mmcv(env, package, wheels):
        raise SetupError(
            f'{requirement} was compiled but cannot be imported: '
            f'see what {env.python} -c "import mmcv.ops" says'
        )


def digest(folder: Path, stack: str) -> str:
    """Changes with all that what is installed depends on, but for the extras."""
    files = [ROOT / 'setup.py', ROOT / 'mmrapidnet' / '__init__.py']
    contents = [file.read_bytes() for file in sorted(REQUIREMENTS.iterdir()) + files]
    depends = (sys.version_info[:2], ROOT, folder, stack, contents)
    return hashlib.sha256(repr(depends).encode()).hexdigest()


def install_stack(env: Environment, stack: str, links: str | None) -> None:
    """Makes the environment and installs all but the extras."""
    libraries, package = STACKS[stack]
    wheels = cache(package, pinned('torch') + '*')
    cached = wheels.parent.glob(f'{wheels.name}/*.whl')
    installed = env.folder.glob('lib/python*/site-packages/mmcv/_ext*')
    check_machine(compiling=not (links or any(cached) or any(installed)))
    env.create()
    env.require('build')
    with bringing_mmcv(env, package, links):
        env.require('dependencies')
        env.require(libraries)
    env.install('--no-deps', '--no-build-isolation', '-e', ROOT)


def setup(folder: Path, extras: list[str], stack: str, links: str | None) -> None:
    """Brings the environment in a folder up to date; it has one stack for good."""
    env = Environment(folder)
    marker = folder / '.mmrapidnet-setup'
    state = digest(folder, stack)
    # The state in which all was installed, and the extras.
    done = marker.read_text().split() if marker.exists() and env.python.exists() else []
    if state not in done:
        done = []
    if {state, *extras} <= {*done}:
        return
    marker.unlink(missing_ok=True)
    if not done:
        install_stack(env, stack, links)
    for name in extras:
        if name not in done:
            env.require(name)
    env.run('the check of the environment', env.python, '-c', STACK_PROBE)
    marker.write_text(' '.join({state, *extras, *done}))


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
    folder = args.venv.absolute()
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        for name in args.extras:
            if not (REQUIREMENTS / f'{name}.txt').is_file():
                raise SetupError(
                    f'no extra {name!r}: there is no requirements/{name}.txt'
                )
        with locked(folder):
            setup(folder, args.extras, args.stack, args.mmcv_find_links)
    except SetupError as error:
        sys.exit(f'error: {error}')
    except KeyboardInterrupt:
        sys.exit('error: interrupted; run the same command again to resume')


if __name__ == '__main__':
    main()
