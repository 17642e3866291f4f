"""The set-up in dev/setup_env.py, without a network and without compiling."""

import contextlib
import fcntl
import functools
import os
import re
import shutil
import subprocess
import sys
from importlib import metadata
from pathlib import Path
from types import SimpleNamespace

import pytest

from dev import setup_env


def run_script(*arguments, **environ):
    return subprocess.run(
        [sys.executable, setup_env.__file__, *arguments],
        capture_output=True,
        text=True,
        env={**os.environ, **environ},
    )


class TestMachine:
    def test_all_that_is_missing_stands_in_one_line(self, monkeypatch):
        monkeypatch.setattr(setup_env.importlib.util, 'find_spec', lambda name: None)
        monkeypatch.setattr(
            setup_env.shutil, 'which', {'gcc': '/usr/bin/gcc', 'make': '/bin/make'}.get
        )
        monkeypatch.setattr(setup_env.sysconfig, 'get_path', lambda name: '/nowhere')
        with pytest.raises(setup_env.SetupError) as caught:
            setup_env.check_machine(compiling=True)
        assert str(caught.value) == (
            'venv, Python.h, g++ missing: install it with '
            '"apt-get install python3-venv python3-dev g++"'
        )

    def test_compilers_are_not_asked_for_without_need(self, monkeypatch):
        monkeypatch.setattr(setup_env.shutil, 'which', lambda name: None)
        setup_env.check_machine(compiling=False)
        with pytest.raises(setup_env.SetupError, match=r'gcc, g\+\+, make missing'):
            setup_env.check_machine(compiling=True)

    @pytest.mark.parametrize('version', [(3, 9, 2), (3, 13, 0)])
    def test_other_pythons_are_refused(self, monkeypatch, version):
        monkeypatch.setattr(setup_env.sys, 'version_info', version)
        with pytest.raises(setup_env.SetupError, match=r'Python 3\.10 to 3\.12 is'):
            setup_env.check_machine(compiling=False)


class TestKeysAndRequirements:
    def test_cache_follows_xdg_and_all_that_mmcv_depends_on(self, monkeypatch):
        monkeypatch.setattr(setup_env.sys, 'version_info', (3, 11, 2))
        monkeypatch.setattr(setup_env.sysconfig, 'get_platform', lambda: 'linux-x86_64')
        key = 'mmrapidnet/wheels/mmcv-2.1.0_torch-2.13.0+cpu_cp311_linux-x86_64'
        monkeypatch.setenv('XDG_CACHE_HOME', '/cache')
        assert setup_env.cache('mmcv', '2.13.0+cpu') == Path('/cache', key)
        with_cuda = setup_env.cache('mmcv', '2.13.0+cpu_cuda')
        assert with_cuda == Path('/cache', key.replace('+cpu', '+cpu_cuda'))
        monkeypatch.delenv('XDG_CACHE_HOME')
        monkeypatch.setenv('HOME', '/home/me')
        assert setup_env.cache('mmcv', '2.13.0+cpu') == Path('/home/me/.cache', key)

    def test_versions_come_from_the_constraints(self):
        assert setup_env.pinned('mmcv') == '2.1.0'
        assert setup_env.pinned('onedl-mmcv') == '2.3.6'
        assert setup_env.pinned('numpy').startswith('2.')

    def test_every_requirement_is_pinned(self):
        def names(file):
            lines = (setup_env.REQUIREMENTS / f'{file}.txt').read_text().splitlines()
            wanted = [line for line in lines if line and line[0] != '#']
            bare = (setup_env.re.split('[=<>]', line)[0] for line in wanted)
            return {name.lower().replace('_', '-') for name in bare}

        files = (
            'runtime det seg cls sam tests build stack stack_onedl dependencies formats'
        )
        wanted = set().union(*map(names, files.split()))
        assert wanted - names('constraints') == set()


class TestSteps:
    @pytest.fixture
    def env(self, tmp_path):
        env = setup_env.Environment(tmp_path)
        env.python.parent.mkdir()
        env.python.touch()
        return env

    @pytest.fixture
    def setup(self, env, monkeypatch):
        """Sets up; notes what is installed, where one thing may be interrupted."""
        done = []
        interrupted = None

        def install(name):
            done.append(name)
            if name == interrupted:
                raise KeyboardInterrupt

        def setup(*extras, state='first', interrupt=None):
            nonlocal interrupted
            interrupted = interrupt
            done.clear()
            monkeypatch.setattr(setup_env, 'digest', lambda folder, stack: state)
            with contextlib.suppress(KeyboardInterrupt):
                setup_env.setup(env.folder, extras, 'openmmlab', None)
            return ' '.join(done)

        def install_stack(env, stack, links):
            install('stack')

        monkeypatch.setattr(setup_env, 'install_stack', install_stack)
        patch = functools.partial(monkeypatch.setattr, setup_env.Environment)
        patch('require', lambda env, name: install(name))
        patch('run', lambda env, name, *command: install(name.split()[1]))
        return setup

    def test_a_finished_set_up_is_not_repeated(self, setup):
        assert setup('tests') == 'stack tests check'
        assert setup('tests') == ''
        assert setup() == ''

    @pytest.mark.parametrize('step', ['stack', 'tests', 'check'])
    def test_an_interrupted_set_up_is_done_again(self, setup, step):
        assert setup('tests', interrupt=step).endswith(step)
        # What is installed is passed over by pip.
        assert setup('tests') == 'stack tests check'
        assert setup('tests') == ''

    def test_one_more_extra_is_followed_by_the_check(self, setup):
        assert setup('tests') == 'stack tests check'
        assert setup('tests', 'onnx') == 'onnx check'
        assert setup('docs') == 'docs check'
        assert setup('onnx', 'tests') == ''

    def test_another_state_repeats_all_and_forgets_the_old_one(self, setup):
        setup('tests', 'onnx')
        assert setup('tests', state='another') == 'stack tests check'
        assert setup('onnx', state='another') == 'onnx check'
        assert setup('tests') == 'stack tests check'

    @pytest.mark.parametrize('loss', ['python', 'marker'])
    def test_what_is_lost_or_broken_is_done_again(self, setup, env, loss):
        setup()
        if loss == 'python':
            env.python.unlink()
        else:
            (env.folder / '.mmrapidnet-setup').write_text('fir')
        assert setup() == 'stack check'

    def test_state_changes_with_what_is_installed(self, tmp_path, monkeypatch):
        requirements = shutil.copytree(setup_env.REQUIREMENTS, tmp_path / 'files')
        monkeypatch.setattr(setup_env, 'REQUIREMENTS', requirements)
        states = [
            setup_env.digest(Path('a'), 'openmmlab'),
            setup_env.digest(Path('b'), 'openmmlab'),
            setup_env.digest(Path('a'), 'onedl'),
        ]
        assert setup_env.digest(Path('a'), 'openmmlab') == states[0]
        (requirements / 'tests.txt').write_text('pytest')
        states.append(setup_env.digest(Path('a'), 'openmmlab'))
        monkeypatch.setattr(setup_env.sys, 'version_info', (3, 12, 1))
        states.append(setup_env.digest(Path('a'), 'openmmlab'))
        assert len(set(states)) == 5

    @pytest.mark.parametrize(
        ('loss', 'options'),
        [(None, []), ('bin/python', ['--clear']), ('lib/python3.11', ['--clear'])],
    )
    def test_a_broken_environment_or_one_of_another_python_goes_first(
        self, env, monkeypatch, loss, options
    ):
        monkeypatch.setattr(setup_env.sys, 'version_info', (3, 11, 2))
        (env.folder / 'pyvenv.cfg').touch()
        (env.folder / 'lib' / 'python3.11').mkdir(parents=True)
        if loss:
            path = env.folder / loss
            path.rename(path.with_name('other'))
        commands = []

        @contextlib.contextmanager
        def running(command, log, environ):
            commands.append(command)
            yield SimpleNamespace(wait=lambda: 0)

        monkeypatch.setattr(setup_env, 'running', running)
        env.create()
        (command,) = commands
        assert [*command] == [sys.executable, '-m', 'venv', *options, env.folder]


class FakeEnvironment:
    """Has torch; its mmcv is whatever was installed last."""

    def __init__(self, folder):
        self.folder = folder
        self.python = folder / 'bin' / 'python'
        self.environ = {}
        self.torch = '2.13.0+cpu'
        self.mmcv = None

    def ask(self, code):
        if code == setup_env.TORCH_PROBE:
            return self.torch
        package = re.search(r"distribution\('(.*)'\)", code)[1]
        return setup_env.pinned(package) if self.mmcv == f'good {package}' else None

    def install(self, *arguments):
        """Takes the last place that has something."""
        places = [link.partition('--find-links=')[2] for link in arguments]
        for place in map(Path, filter(None, places)):
            for wheel in place.glob('*.whl'):
                self.mmcv = wheel.read_text()


class TestMmcv:
    @pytest.fixture(autouse=True)
    def machine(self, monkeypatch, tmp_path):
        """A compiler that writes good wheels and counts itself."""
        self.compiled = 0
        self.ended = 0
        self.result = 'good mmcv'
        self.links = tmp_path / 'prebuilt'
        self.links.mkdir()

        @contextlib.contextmanager
        def running(command, log, environ):
            *_, requirement, _, wheels = command
            assert requirement == f'mmcv=={setup_env.pinned("mmcv")}'
            self.compiled += 1
            if self.result:
                self.write(wheels, self.result)
            try:
                yield SimpleNamespace(wait=lambda: 0 if self.result else 1)
            finally:
                self.ended += 1

        monkeypatch.setenv('XDG_CACHE_HOME', str(tmp_path / 'cache'))
        monkeypatch.setattr(setup_env, 'running', running)
        monkeypatch.setattr(setup_env, 'check_machine', lambda compiling: None)

    @pytest.fixture
    def env(self, tmp_path):
        return FakeEnvironment(tmp_path / 'venv')

    def write(self, folder, content, package='mmcv'):
        folder.mkdir(parents=True, exist_ok=True)
        name = f'{package.replace("-", "_")}-{setup_env.pinned(package)}-cp311.whl'
        (folder / name).write_text(content)

    def bring(self, env, package='mmcv', links=None):
        """What the environment has in the end, and how often it was compiled."""
        with setup_env.bringing_mmcv(env, package, links and str(links)):
            pass
        return env.mmcv, self.compiled

    def test_what_is_installed_is_kept(self, env):
        env.mmcv = 'good mmcv'
        self.write(self.links, 'bad')
        assert self.bring(env, links=self.links) == ('good mmcv', 0)
        assert not setup_env.cache('mmcv', env.torch).exists()

    def test_a_cached_wheel_spares_compiling(self, env):
        self.write(setup_env.cache('mmcv', env.torch), 'good mmcv')
        assert self.bring(env) == ('good mmcv', 0)

    def test_the_forks_mmcv_is_another(self, env):
        # The wheel of the original will not do.
        env.mmcv = 'good mmcv'
        self.write(setup_env.cache('mmcv', env.torch), 'good mmcv')
        cached = setup_env.cache('onedl-mmcv', env.torch)
        self.write(cached, 'good onedl-mmcv', 'onedl-mmcv')
        assert self.bring(env, 'onedl-mmcv') == ('good onedl-mmcv', 0)

    def test_a_prebuilt_wheel_spares_compiling(self, env):
        self.write(self.links, 'good mmcv')
        assert self.bring(env, links=self.links) == ('good mmcv', 0)

    def test_a_useless_prebuilt_wheel_does_not_stop_us(self, env):
        self.write(self.links, 'bad')
        assert self.bring(env, links=self.links) == ('good mmcv', 1)

    def test_what_is_compiled_is_cached_and_compiled_once(self, env):
        assert self.bring(env) == ('good mmcv', 1)
        env.mmcv = None
        assert self.bring(env) == ('good mmcv', 1)

    def test_an_unusable_cached_wheel_is_replaced(self, env):
        cached = setup_env.cache('mmcv', env.torch)
        self.write(cached, 'bad')
        assert self.bring(env) == ('good mmcv', 1)
        assert [wheel.read_text() for wheel in cached.iterdir()] == ['good mmcv']

    def test_it_compiles_while_other_packages_are_installed(self, env):
        with setup_env.bringing_mmcv(env, 'mmcv', None):
            assert (env.mmcv, self.compiled, self.ended) == (None, 1, 0)
        assert (env.mmcv, self.compiled, self.ended) == ('good mmcv', 1, 1)

    def test_what_fails_or_is_interrupted_meanwhile_ends_the_compiler(self, env):
        bringing = setup_env.bringing_mmcv(env, 'mmcv', None)
        with pytest.raises(KeyboardInterrupt), bringing:
            raise KeyboardInterrupt
        assert (self.compiled, self.ended) == (1, 1)

    def test_it_compiles_only_once(self, env):
        self.result = 'bad'
        with pytest.raises(setup_env.SetupError, match='compiled but cannot be imp'):
            self.bring(env)
        assert self.compiled == 1

    def test_a_failed_compilation_names_its_log(self, env):
        self.result = None
        with pytest.raises(setup_env.SetupError, match=r'see .*/mmcv-build\.log$'):
            self.bring(env)

    def test_a_gpu_needs_its_compiler(self, env, monkeypatch):
        env.torch = '2.13.0+cu130_cuda'
        monkeypatch.setattr(setup_env.shutil, 'which', lambda name: None)
        monkeypatch.delenv('CUDA_HOME', raising=False)
        with pytest.raises(setup_env.SetupError, match='set MMCV_FIND_LINKS'):
            self.bring(env)
        assert self.compiled == 0
        monkeypatch.setenv('CUDA_HOME', '/cuda')
        assert self.bring(env) == ('good mmcv', 1)

    @pytest.mark.parametrize('package', ['mmcv', 'onedl-mmcv'])
    def test_the_operators_that_are_installed_are_found(self, package, capsys):
        try:
            version = metadata.version(package)
        except metadata.PackageNotFoundError:
            pytest.skip('the other stack')
        exec(setup_env.MMCV_PROBE.format(package), {})
        assert capsys.readouterr().out == f'{version}\n'


def test_a_second_set_up_waits_for_the_first(tmp_path, capsys, monkeypatch):
    asked = []

    def flock(handle, flags):
        asked.append(flags)
        if flags & fcntl.LOCK_NB:
            raise BlockingIOError

    monkeypatch.setattr(setup_env.fcntl, 'flock', flock)
    with setup_env.locked(tmp_path / 'venv'):
        assert asked == [fcntl.LOCK_EX | fcntl.LOCK_NB, fcntl.LOCK_EX]
    line = f'waiting for another set-up to leave {tmp_path}/venv ...\n'
    assert capsys.readouterr().out == line


class TestRun:
    @pytest.fixture
    def env(self, tmp_path):
        env = setup_env.Environment(tmp_path)
        env.python = sys.executable
        return env

    def test_output_goes_to_the_log(self, env, capsys):
        code = 'import sys; print("out"); sys.exit(3)'
        message = r'^it failed with status 3 .*setup\.log\): .* to resume'
        with pytest.raises(setup_env.SetupError, match=message):
            env.run('it', sys.executable, '-c', code)
        assert env.log.read_text() == 'out\n'
        assert capsys.readouterr() == ('', '    out\n')

    def test_an_interrupt_ends_the_command(self, env, monkeypatch):
        wait = subprocess.Popen.wait

        def interrupted(process):
            monkeypatch.undo()
            while not env.log.read_text():
                with pytest.raises(subprocess.TimeoutExpired):
                    wait(process, timeout=0.1)
            raise KeyboardInterrupt

        monkeypatch.setattr(subprocess.Popen, 'wait', interrupted)
        code = 'import os, time; print(os.getpid(), flush=True); time.sleep(60)'
        with pytest.raises(KeyboardInterrupt):
            env.run('it', sys.executable, '-c', code)
        with pytest.raises(ProcessLookupError):
            os.kill(int(env.log.read_text()), 0)


class TestCommandLine:
    def test_help(self):
        done = run_script('--help')
        assert done.returncode == 0
        assert '--mmcv-find-links' in done.stdout

    def test_no_compiler(self, tmp_path):
        done = run_script(
            '--venv', tmp_path / 'venv', PATH='', XDG_CACHE_HOME=str(tmp_path)
        )
        assert done.returncode == 1
        assert done.stdout == ''
        (line,) = done.stderr.splitlines()
        assert line.startswith('error: ')
        assert 'gcc, g++, make missing: install it with "apt-get install ' in line

    def test_unknown_extra(self, tmp_path):
        done = run_script('--venv', tmp_path / 'venv', '--extras', 'poems')
        assert done.returncode == 1
        assert done.stderr == (
            "error: no extra 'poems': there is no requirements/poems.txt\n"
        )
