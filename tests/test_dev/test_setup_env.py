"""The set-up in dev/setup_env.py, without a network and without compiling."""

import contextlib
import functools
import os
import shutil
import signal
import subprocess
import sys
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

    @pytest.mark.parametrize(
        ('memory', 'cores', 'jobs'), [(3, 8, 1), (64, 2, 2), (8, 16, 4)]
    )
    def test_jobs_fit_cores_and_memory(self, monkeypatch, memory, cores, jobs):
        pages = {'SC_PAGE_SIZE': 2**12, 'SC_PHYS_PAGES': memory * 2**18}
        monkeypatch.setattr(setup_env.os, 'sysconf', pages.get)
        monkeypatch.setattr(
            setup_env.os, 'sched_getaffinity', lambda pid: set(range(cores))
        )
        assert setup_env.build_jobs() == jobs


class TestKeysAndRequirements:
    def test_cache_follows_xdg_and_all_that_mmcv_depends_on(self, monkeypatch):
        monkeypatch.setattr(setup_env.sys, 'version_info', (3, 11, 2))
        monkeypatch.setattr(setup_env.sysconfig, 'get_platform', lambda: 'linux-x86_64')
        key = 'mmrapidnet/wheels/mmcv-2.1.0_torch-2.13.0+cpu_cp311_linux-x86_64'
        monkeypatch.setenv('XDG_CACHE_HOME', '/cache')
        assert setup_env.cache('mmcv', '2.13.0+cpu') == Path('/cache', key)
        with_cuda = setup_env.cache('mmcv', '2.13.0+cpu', cuda=True)
        assert with_cuda == Path(f'/cache/{key}_cuda')
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
    def carry_out(self, env):
        """Carries out steps that note their names; some of them are interrupted."""
        done = []

        def carry_out(names, state='a state', interrupted=()):
            def step(name):
                done.append(name)
                if name in interrupted:
                    raise KeyboardInterrupt

            done.clear()
            steps = {name: functools.partial(step, name) for name in names}
            with contextlib.suppress(KeyboardInterrupt):
                setup_env.carry_out(steps, env, state)
            return ' '.join(done)

        return carry_out

    def test_an_interrupted_set_up_resumes(self, carry_out, capsys):
        steps = ('first', 'second', 'check')
        assert carry_out(steps, interrupted=['second']) == 'first second'
        assert carry_out(steps) == 'second check'
        assert carry_out(steps) == ''
        lines = ['[1/3] first', '[2/3] second', '[2/3] second', '[3/3] check']
        assert capsys.readouterr().out.splitlines() == lines

    def test_one_more_step_is_followed_by_the_check(self, carry_out):
        assert carry_out(('first', 'check')) == 'first check'
        assert carry_out(('first', 'extra', 'check')) == 'extra check'
        assert carry_out(('first', 'check')) == ''

    def test_a_failed_check_is_repeated(self, carry_out):
        assert carry_out(('first', 'check'), interrupted=['check']) == 'first check'
        assert carry_out(('first', 'check')) == 'check'

    def test_another_state_repeats_all_and_forgets_the_old_one(self, carry_out):
        steps = ('first', 'second', 'check')
        carry_out(steps)
        assert carry_out(steps, 'another', interrupted=['second']) == 'first second'
        assert carry_out(steps, 'another') == 'second check'
        assert carry_out(steps) == 'first second check'

    @pytest.mark.parametrize('loss', ['python', 'markers'])
    def test_what_is_lost_or_broken_is_done_again(self, carry_out, env, loss):
        carry_out(['check'])
        if loss == 'python':
            env.python.unlink()
        else:
            (env.folder / '.mmrapidnet-setup.json').write_text('{"check": ')
        assert carry_out(['check']) == 'check'

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

        def start(command, log, environ):
            commands.append(command)
            return SimpleNamespace(wait=lambda: 0, poll=lambda: 0)

        monkeypatch.setattr(setup_env, 'start', start)
        env.create()
        (command,) = commands
        assert [*command] == [sys.executable, '-m', 'venv', *options, env.folder]


# C++ files of mmcv and the sizes that they have here.
SOURCES = {
    'pybind.cpp': 900,
    'cpu/bezier_align.cpp': 60,
    'cpu/roi_align.cpp': 20,
    'cpu/roi_align_rotated.cpp': 30,
    'cpu/rotated_feature_align.cpp': 40,
    'cpu/psamask.cpp': 35,
    'cpu/nms.cpp': 24,
    'nms.cpp': 23,
}


class FakeEnvironment:
    """Has torch; its mmcv is whatever was installed last."""

    def __init__(self, folder):
        self.folder = folder
        self.python = folder / 'bin' / 'python'
        self.log = folder / 'setup.log'
        self.environ = {}
        self.torch = '2.13.0+cpu False'
        self.mmcv = None

    def ask(self, code):
        if 'torch' in code:
            return self.torch
        return {'good': '2.1.0', 'fork': '2.3.6'}.get(self.mmcv)

    def pip(self, command, *arguments):
        assert command == 'download'
        folder = Path(arguments[arguments.index('-d') + 1])
        sources = folder / 'mmcv-2.1.0' / 'mmcv' / 'ops' / 'csrc' / 'pytorch'
        (sources / 'cpu').mkdir(parents=True)
        for name, size in SOURCES.items():
            (sources / name).write_text(f'// {name}'.ljust(size))

    def install(self, *arguments):
        if '--find-links' in arguments:
            self.mmcv = arguments[arguments.index('--find-links') + 1]
        else:
            self.mmcv = arguments[-1].read_text()


class TestMmcv:
    @pytest.fixture(autouse=True)
    def machine(self, monkeypatch, tmp_path):
        """A compiler that writes good wheels and counts itself."""
        self.compiled = 0
        self.result = 'good'

        def start(command, log, environ):
            self.environ = environ
            self.compiled += 1
            if self.result is None:
                return SimpleNamespace(wait=lambda: 1)
            out = Path(command[command.index('-w') + 1])
            (out / 'mmcv-2.1.0-cp311-cp311-linux_x86_64.whl').write_text(self.result)
            return SimpleNamespace(wait=lambda: 0)

        monkeypatch.setenv('XDG_CACHE_HOME', str(tmp_path / 'cache'))
        monkeypatch.setattr(setup_env, 'start', start)
        monkeypatch.setattr(setup_env, 'check_machine', lambda compiling: None)

    @pytest.fixture
    def env(self, tmp_path):
        return FakeEnvironment(tmp_path / 'venv')

    def cached(self, content=None, package='mmcv', version='2.1.0'):
        """The file of a cached wheel; written, if it is given what is in it."""
        name = f'{package.replace("-", "_")}-{version}-cp311-cp311-linux_x86_64.whl'
        wheel = setup_env.cache(package, '2.13.0+cpu') / name
        if content:
            wheel.parent.mkdir(parents=True)
            wheel.write_text(content)
        return wheel

    def test_what_is_installed_is_kept(self, env):
        env.mmcv = 'good'
        setup_env.Mmcv(env, 'mmcv', 'bad').install()
        assert (env.mmcv, self.compiled) == ('good', 0)
        assert not self.cached().parent.exists()

    def test_a_cached_wheel_spares_compiling(self, env):
        mmcv = setup_env.Mmcv(env, 'mmcv')
        assert mmcv.must_compile()
        self.cached('good')
        assert not mmcv.must_compile()
        mmcv.install()
        assert (env.mmcv, self.compiled) == ('good', 0)

    def test_the_forks_mmcv_is_another(self, env):
        self.cached('good')
        mmcv = setup_env.Mmcv(env, 'onedl-mmcv')
        # The wheel of the original will not do.
        assert mmcv.must_compile()
        self.cached('fork', 'onedl-mmcv', '2.3.6')
        mmcv.install()
        assert (env.mmcv, self.compiled) == ('fork', 0)

    def test_a_prebuilt_wheel_spares_compiling(self, env):
        mmcv = setup_env.Mmcv(env, 'mmcv', 'good')
        assert not mmcv.must_compile()
        mmcv.install()
        assert (env.mmcv, self.compiled) == ('good', 0)

    def test_a_useless_prebuilt_wheel_does_not_stop_us(self, env):
        setup_env.Mmcv(env, 'mmcv', 'bad').install()
        assert (env.mmcv, self.compiled) == ('good', 1)

    def test_what_is_compiled_is_cached(self, env):
        setup_env.Mmcv(env, 'mmcv').install()
        assert (env.mmcv, self.compiled) == ('good', 1)
        wheel = self.cached()
        assert list(wheel.parent.iterdir()) == [wheel]
        assert wheel.read_text() == 'good'

        env.mmcv = None
        setup_env.Mmcv(env, 'mmcv').install()
        assert (env.mmcv, self.compiled) == ('good', 1)

    def test_it_compiles_while_other_packages_are_installed(self, env):
        mmcv = setup_env.Mmcv(env, 'mmcv')
        mmcv.prepare()
        assert (env.mmcv, self.compiled) == (None, 1)
        mmcv.install()
        assert (env.mmcv, self.compiled) == ('good', 1)

        setup_env.Mmcv(env, 'mmcv').prepare()
        assert self.compiled == 1

    def test_an_unusable_cached_wheel_is_replaced(self, env):
        wheel = self.cached('bad')
        setup_env.Mmcv(env, 'mmcv').install()
        assert (env.mmcv, self.compiled) == ('good', 1)
        assert wheel.read_text() == 'good'

    def test_it_compiles_only_once(self, env):
        self.result = 'bad'
        with pytest.raises(setup_env.SetupError, match='compiled but cannot be imp'):
            setup_env.Mmcv(env, 'mmcv').install()
        assert self.compiled == 1

    def test_a_failed_compilation_names_its_log_and_begins_anew(self, env):
        self.result = None
        for _ in range(2):
            with pytest.raises(setup_env.SetupError, match=r'see .*/mmcv-build\.log$'):
                setup_env.Mmcv(env, 'mmcv').install()
            assert not self.cached().parent.exists()
            left = env.folder / 'mmcv-build' / 'left'
            assert not left.exists()
            left.touch()

    def sources(self, env):
        """The folder of the sources that a failing compiler leaves."""
        self.result = None
        with pytest.raises(setup_env.SetupError):
            setup_env.Mmcv(env, 'mmcv').install()
        return env.folder / 'mmcv-build/mmcv-2.1.0/mmcv/ops/csrc/pytorch'

    def test_sources_are_joined_but_for_those_that_clash(self, env):
        folder = self.sources(env)
        compiled = [*folder.glob('*.cpp'), *folder.glob('cpu/*.cpp')]
        joined = [folder / f'together_{number}.cpp' for number in range(4)]
        assert sorted(compiled) == [folder / 'pybind.cpp', *joined]
        include = '#include <torch/types.h>\n#include "cpu/'
        assert [file.read_text() for file in joined] == [
            f'{include}bezier_align.inc"\n',
            f'{include}roi_align.inc"\n#include "cpu/psamask.inc"\n',
            f'{include}roi_align_rotated.inc"\n#include "cpu/nms.inc"\n',
            f'{include}rotated_feature_align.inc"\n#include "nms.inc"\n',
        ]
        for name, size in SOURCES.items():
            file = folder / name
            if name != 'pybind.cpp':
                file = file.with_suffix('.inc')
            assert file.read_text() == f'// {name}'.ljust(size)
        assert self.environ['CFLAGS'].split()[-1] == '-O3'
        assert self.environ['MMCV_WITH_OPS'] == '1'

    def test_sources_for_a_gpu_stay_as_they_are(self, env, monkeypatch):
        env.torch = '2.13.0+cu130 True'
        monkeypatch.setenv('CUDA_HOME', '/cuda')
        folder = self.sources(env)
        for name, size in SOURCES.items():
            assert (folder / name).read_text() == f'// {name}'.ljust(size)
        assert not list(folder.glob('together_*'))
        assert 'CFLAGS' not in self.environ

    def test_the_users_own_flags_count(self, env):
        env.environ = {'CFLAGS': '-O1', 'MAX_JOBS': '7'}
        self.sources(env)
        assert (self.environ['CFLAGS'], self.environ['MAX_JOBS']) == ('-O1', '7')

    def test_a_gpu_without_its_compiler(self, env, monkeypatch):
        env.torch = '2.13.0+cu130 True'
        monkeypatch.setattr(setup_env.shutil, 'which', lambda name: None)
        monkeypatch.delenv('CUDA_HOME', raising=False)
        with pytest.raises(setup_env.SetupError, match='set MMCV_FIND_LINKS'):
            setup_env.Mmcv(env, 'mmcv').install()
        assert self.compiled == 0


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
            env._run('it', sys.executable, '-c', code)
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
            env._run('it', sys.executable, '-c', code)
        with pytest.raises(ProcessLookupError):
            os.kill(int(env.log.read_text()), 0)

    def test_an_interrupt_ends_the_compiler(self, env):
        mmcv = setup_env.Mmcv(env, 'mmcv')
        mmcv.stop()
        command = [sys.executable, '-c', 'import time; time.sleep(60)']
        mmcv.compiler = setup_env.start(command, mmcv.log)
        mmcv.stop()
        assert mmcv.compiler.returncode == -signal.SIGTERM
        mmcv.stop()


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
