"""The set-up in dev/setup_env.py, without a network and without compiling."""

import importlib.util
import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

SCRIPT = Path(__file__).resolve().parents[2] / 'dev' / 'setup_env.py'


@pytest.fixture(scope='module')
def setup_env():
    spec = importlib.util.spec_from_file_location('setup_env', SCRIPT)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def run_script(*arguments, **environ):
    return subprocess.run(
        [sys.executable, SCRIPT, *arguments],
        capture_output=True,
        text=True,
        env={**os.environ, **environ},
    )


class TestMachine:
    def test_all_that_is_missing_stands_in_one_line(self, setup_env, monkeypatch):
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

    def test_compilers_are_not_asked_for_without_need(self, setup_env, monkeypatch):
        monkeypatch.setattr(setup_env.shutil, 'which', lambda name: None)
        assert setup_env.missing_packages(compiling=False) == {}
        missing = setup_env.missing_packages(compiling=True)
        assert {'gcc', 'g++', 'make'} <= set(missing.values())

    @pytest.mark.parametrize('version', [(3, 9, 2), (3, 13, 0)])
    def test_other_pythons_are_refused(self, setup_env, monkeypatch, version):
        monkeypatch.setattr(setup_env.sys, 'version_info', version)
        with pytest.raises(setup_env.SetupError, match=r'Python 3\.10 to 3\.12 is'):
            setup_env.check_machine(compiling=False)

    @pytest.mark.parametrize(
        ('memory', 'cores', 'jobs'), [(3, 8, 1), (64, 2, 2), (8, 16, 4)]
    )
    def test_jobs_fit_cores_and_memory(
        self, setup_env, monkeypatch, memory, cores, jobs
    ):
        pages = {'SC_PAGE_SIZE': 2**12, 'SC_PHYS_PAGES': memory * 2**18}
        monkeypatch.setattr(setup_env.os, 'sysconf', pages.get)
        monkeypatch.setattr(
            setup_env.os, 'sched_getaffinity', lambda pid: set(range(cores))
        )
        assert setup_env.build_jobs() == jobs


class TestKeysAndRequirements:
    def test_cache_key(self, setup_env, monkeypatch):
        monkeypatch.setattr(setup_env.sys, 'version_info', (3, 11, 2))
        monkeypatch.setattr(setup_env.sysconfig, 'get_platform', lambda: 'linux-x86_64')
        key = 'mmcv-2.1.0_torch-2.13.0+cpu_cp311_linux-x86_64'
        assert setup_env.cache_key('mmcv', '2.1.0', '2.13.0+cpu') == key
        assert (
            setup_env.cache_key('mmcv', '2.1.0', '2.13.0+cpu', cuda=True)
            == f'{key}_cuda'
        )

    def test_cache_follows_xdg(self, setup_env, monkeypatch):
        monkeypatch.setenv('XDG_CACHE_HOME', '/cache')
        assert setup_env.cache_root() == Path('/cache/mmrapidnet/wheels')
        monkeypatch.delenv('XDG_CACHE_HOME')
        monkeypatch.setenv('HOME', '/home/me')
        assert setup_env.cache_root() == Path('/home/me/.cache/mmrapidnet/wheels')

    def test_versions_come_from_the_requirement_files(self, setup_env):
        assert setup_env.requirement('runtime.txt', 'mmcv') == '>=2.0.0rc4,<2.2.0'
        assert setup_env.requirement('constraints.txt', 'mmcv') == '==2.1.0'
        assert setup_env.requirement('constraints.txt', 'numpy').startswith('==2.')

    def test_every_requirement_is_pinned(self, setup_env):
        def names(file):
            lines = (setup_env.REQUIREMENTS / f'{file}.txt').read_text().splitlines()
            wanted = [line for line in lines if line and line[0] != '#']
            bare = (setup_env.re.split('[=<>]', line)[0] for line in wanted)
            return {name.lower().replace('_', '-') for name in bare}

        files = (
            'runtime',
            'det',
            'seg',
            'cls',
            'sam',
            'tests',
            'build',
            'stack',
            'stack_onedl',
        )
        wanted = set().union(*map(names, (*files, 'dependencies')))
        assert wanted - names('constraints') == set()


class TestTimed:
    @pytest.mark.parametrize(
        ('seconds', 'text'),
        [(0.4, '0 s'), (59.4, '59 s'), (59.6, '1 min 00 s'), (605, '10 min 05 s')],
    )
    def test_durations(self, setup_env, seconds, text):
        assert setup_env.duration(seconds) == text

    def test_a_step_stands_in_one_line(self, setup_env, monkeypatch, capsys):
        monkeypatch.setattr(setup_env.time, 'monotonic', iter([0, 75]).__next__)
        with setup_env.timed('[5/7] mmcv'):
            assert capsys.readouterr().out == '[5/7] mmcv ... '
        assert capsys.readouterr().out == '1 min 15 s\n'

    def test_a_stopped_step_says_so(self, setup_env, monkeypatch, capsys):
        monkeypatch.setattr(setup_env.time, 'monotonic', iter([0, 3]).__next__)
        with pytest.raises(KeyboardInterrupt), setup_env.timed('[1/7] venv'):
            raise KeyboardInterrupt
        assert capsys.readouterr().out == '[1/7] venv ... stopped after 3 s\n'


class TestSteps:
    @pytest.fixture
    def env(self, setup_env, tmp_path):
        env = setup_env.Environment(tmp_path)
        env.python.parent.mkdir()
        env.python.touch()
        return env

    def marked(self, env):
        return list(json.loads((env.folder / '.mmrapidnet-setup.json').read_text()))

    def test_an_interrupted_set_up_resumes(self, setup_env, env):
        done = []
        fail = [True]

        def second():
            done.append('second')
            if fail.pop():
                raise setup_env.SetupError('no network')

        steps = [
            setup_env.Step('first', lambda: done.append('first')),
            setup_env.Step('second', second),
            setup_env.Step('check', lambda: done.append('check')),
        ]
        with pytest.raises(setup_env.SetupError, match='no network'):
            setup_env.carry_out(steps, env)
        assert done == ['first', 'second']
        assert self.marked(env) == ['first']

        fail.append(False)
        setup_env.carry_out(steps, env)
        assert done == ['first', 'second', 'second', 'check']
        setup_env.carry_out(steps, env)
        assert len(done) == 4

    def test_a_changed_file_repeats_its_step_and_the_check(
        self, setup_env, env, tmp_path
    ):
        files = [tmp_path / 'a.txt', tmp_path / 'b.txt']
        for file in files:
            file.write_text('one')
        done = []
        steps = [
            setup_env.Step('a', lambda: done.append('a'), (files[0],)),
            setup_env.Step('b', lambda: done.append('b'), (files[1],)),
            setup_env.Step('check', lambda: done.append('check')),
        ]
        setup_env.carry_out(steps, env)
        files[1].write_text('two')
        setup_env.carry_out(steps, env)
        assert done == ['a', 'b', 'check', 'b', 'check']

    def test_a_repeated_step_loses_its_marker_first(self, setup_env, env, tmp_path):
        def interrupted():
            raise KeyboardInterrupt

        (tmp_path / 'a.txt').write_text('one')
        check = setup_env.Step('check', lambda: None)
        good = setup_env.Step('a', lambda: None, (tmp_path / 'a.txt',))
        setup_env.carry_out([good, check], env)
        assert self.marked(env) == ['a', 'check']
        (tmp_path / 'a.txt').write_text('two')
        with pytest.raises(KeyboardInterrupt):
            setup_env.carry_out([good._replace(action=interrupted), check], env)
        assert self.marked(env) == []

    @pytest.mark.parametrize('loss', ['python', 'markers'])
    def test_what_is_lost_or_broken_is_done_again(self, setup_env, env, loss):
        done = []
        steps = [setup_env.Step('check', lambda: done.append('check'))]
        setup_env.carry_out(steps, env)
        if loss == 'python':
            env.python.unlink()
        else:
            (env.folder / '.mmrapidnet-setup.json').write_text('{"check": ')
        setup_env.carry_out(steps, env)
        assert done == ['check', 'check']


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

    def __init__(self, setup_env, folder, installed=None):
        self.setup_env = setup_env
        self.folder = folder
        self.python = folder / 'bin' / 'python'
        self.log = folder / 'setup.log'
        self.environ = {}
        self.mmcv = installed

    def output(self, code):
        return '2.13.0+cpu False'

    def succeeds(self, code, *arguments):
        return self.mmcv == 'good'

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
    def machine(self, setup_env, monkeypatch, tmp_path):
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
    def env(self, setup_env, tmp_path):
        return FakeEnvironment(setup_env, tmp_path / 'venv')

    def cached(self, setup_env, content=None):
        key = setup_env.cache_key('mmcv', '2.1.0', '2.13.0+cpu')
        wheel = setup_env.cache_root() / key / 'mmcv-2.1.0-cp311-cp311-linux_x86_64.whl'
        if content:
            wheel.parent.mkdir(parents=True)
            wheel.write_text(content)
        return wheel

    def test_what_is_installed_is_kept(self, setup_env, env):
        env.mmcv = 'good'
        setup_env.Mmcv(env, 'bad').install()
        assert (env.mmcv, self.compiled) == ('good', 0)
        assert not setup_env.cache_root().exists()

    def test_a_cached_wheel_spares_compiling(self, setup_env, env):
        mmcv = setup_env.Mmcv(env)
        assert mmcv.must_compile()
        self.cached(setup_env, 'good')
        assert not mmcv.must_compile()
        mmcv.install()
        assert (env.mmcv, self.compiled) == ('good', 0)

    def test_the_forks_mmcv_is_another(self, setup_env, env):
        self.cached(setup_env, 'good')
        mmcv = setup_env.Mmcv(env, stack='onedl')
        # The wheel of the original will not do.
        assert mmcv.must_compile()
        version = setup_env.requirement('constraints.txt', 'onedl-mmcv')
        assert mmcv.accepted == version == f'=={mmcv.version}'
        key = setup_env.cache_key('onedl-mmcv', mmcv.version, '2.13.0+cpu')
        name = f'onedl_mmcv-{mmcv.version}-cp311-cp311-linux_x86_64.whl'
        wheel = setup_env.cache_root() / key / name
        wheel.parent.mkdir(parents=True)
        wheel.write_text('good')
        mmcv.install()
        assert (env.mmcv, self.compiled) == ('good', 0)

    def test_a_prebuilt_wheel_spares_compiling(self, setup_env, env):
        mmcv = setup_env.Mmcv(env, links='good')
        assert not mmcv.must_compile()
        mmcv.install()
        assert (env.mmcv, self.compiled) == ('good', 0)

    def test_a_useless_prebuilt_wheel_does_not_stop_us(self, setup_env, env):
        setup_env.Mmcv(env, links='bad').install()
        assert (env.mmcv, self.compiled) == ('good', 1)

    def test_what_is_compiled_is_cached(self, setup_env, env):
        setup_env.Mmcv(env).install()
        assert (env.mmcv, self.compiled) == ('good', 1)
        wheel = self.cached(setup_env)
        assert list(wheel.parent.iterdir()) == [wheel]
        assert wheel.read_text() == 'good'

        env.mmcv = None
        setup_env.Mmcv(env).install()
        assert (env.mmcv, self.compiled) == ('good', 1)

    def test_it_compiles_while_other_packages_are_installed(self, setup_env, env):
        mmcv = setup_env.Mmcv(env)
        mmcv.prepare()
        assert (env.mmcv, self.compiled) == (None, 1)
        mmcv.install()
        assert (env.mmcv, self.compiled) == ('good', 1)

        setup_env.Mmcv(env).prepare()
        assert self.compiled == 1

    def test_an_unusable_cached_wheel_is_replaced(self, setup_env, env):
        wheel = self.cached(setup_env, 'bad')
        setup_env.Mmcv(env).install()
        assert (env.mmcv, self.compiled) == ('good', 1)
        assert wheel.read_text() == 'good'

    def test_it_compiles_only_once(self, setup_env, env):
        self.result = 'bad'
        with pytest.raises(setup_env.SetupError, match='compiled but cannot be imp'):
            setup_env.Mmcv(env).install()
        assert self.compiled == 1
        assert not self.cached(setup_env).exists()

    def test_a_failed_compilation_names_its_log(self, setup_env, env):
        self.result = None
        with pytest.raises(setup_env.SetupError, match=r'see .*/mmcv-build\.log$'):
            setup_env.Mmcv(env).install()
        key = setup_env.cache_key('mmcv', '2.1.0', '2.13.0+cpu')
        assert not (setup_env.cache_root() / key).exists()
        kept = env.folder / 'mmcv-build' / key / 'mmcv-2.1.0'
        assert kept.is_dir(), 'the next run resumes from the objects in there'

    def sources(self, setup_env, env, **options):
        """The folder of the sources that a failing compiler leaves."""
        self.result = None
        with pytest.raises(setup_env.SetupError):
            setup_env.Mmcv(env, **options).install()
        (folder,) = env.folder.glob('mmcv-build/*/mmcv-2.1.0/mmcv/ops/csrc/pytorch')
        return folder

    def test_sources_are_joined_but_for_those_that_clash(self, setup_env, env):
        folder = self.sources(setup_env, env)
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

    def test_sources_for_a_gpu_stay_as_they_are(self, setup_env, env, monkeypatch):
        monkeypatch.setattr(env, 'output', lambda code: '2.13.0+cu130 True')
        monkeypatch.setenv('CUDA_HOME', '/cuda')
        folder = self.sources(setup_env, env)
        for name, size in SOURCES.items():
            assert (folder / name).read_text() == f'// {name}'.ljust(size)
        assert not list(folder.glob('together_*'))
        assert 'CFLAGS' not in self.environ

    def test_the_users_own_flags_count(self, setup_env, env):
        env.environ = {'CFLAGS': '-O1', 'MAX_JOBS': '7'}
        self.sources(setup_env, env)
        assert (self.environ['CFLAGS'], self.environ['MAX_JOBS']) == ('-O1', '7')

    def test_a_gpu_without_its_compiler(self, setup_env, env, monkeypatch):
        monkeypatch.setattr(env, 'output', lambda code: '2.13.0+cu130 True')
        monkeypatch.setattr(setup_env.shutil, 'which', lambda name: None)
        monkeypatch.delenv('CUDA_HOME', raising=False)
        with pytest.raises(setup_env.SetupError, match='set MMCV_FIND_LINKS'):
            setup_env.Mmcv(env).install()
        assert self.compiled == 0


class TestRun:
    def test_output_goes_to_the_log(self, setup_env, tmp_path):
        log = tmp_path / 'log'
        code = 'import sys; print("out"); sys.exit(3)'
        assert setup_env.run([sys.executable, '-c', code], log) == 3
        assert log.read_text() == 'out\n'

    def test_an_interrupt_ends_the_command(self, setup_env, tmp_path, monkeypatch):
        log = tmp_path / 'log'
        wait = subprocess.Popen.wait

        def interrupted(process):
            monkeypatch.undo()
            while not log.read_text():
                with pytest.raises(subprocess.TimeoutExpired):
                    wait(process, timeout=0.1)
            raise KeyboardInterrupt

        monkeypatch.setattr(subprocess.Popen, 'wait', interrupted)
        code = 'import os, time; print(os.getpid(), flush=True); time.sleep(60)'
        with pytest.raises(KeyboardInterrupt):
            setup_env.run([sys.executable, '-c', code], log)
        with pytest.raises(ProcessLookupError):
            os.kill(int(log.read_text()), 0)

    def test_an_interrupt_ends_the_compiler(self, setup_env, tmp_path):
        mmcv = setup_env.Mmcv(setup_env.Environment(tmp_path))
        mmcv.stop()
        command = [sys.executable, '-c', 'import time; time.sleep(60)']
        mmcv.compiler = setup_env.start(command, mmcv.log)
        mmcv.stop()
        assert mmcv.compiler.returncode == -signal.SIGTERM
        mmcv.stop()

    def test_a_failing_pip_shows_its_last_lines(self, setup_env, tmp_path):
        env = setup_env.Environment(tmp_path)
        env.python = sys.executable
        with pytest.raises(setup_env.SetupError, match='pip install failed') as caught:
            env.install('--no-index', 'no-such-package-anywhere')
        assert 'No matching distribution found for no-such-pa' in caught.value.tail


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
