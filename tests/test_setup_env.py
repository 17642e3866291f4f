"""The bootstrap in tools/setup_env.py, without a network and without compiling."""

import importlib.util
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

SCRIPT = Path(__file__).resolve().parents[1] / 'tools' / 'setup_env.py'

NINJA_OUTPUT = """\
  running build_ext
  building 'mmcv._ext' extension
  [1/77] c++ -MMD -MF build/temp/bbox.o.d -O2 -c bbox.cpp -o bbox.o
  In file included from bbox.cpp:1:
     89 |   bool view_replay_enabled_[3/4] : 1 = false;
  [2/77] c++ -MMD -MF build/temp/border.o.d -O2 -c border.cpp -o border.o
"""


@pytest.fixture(scope='module')
def setup_env():
    spec = importlib.util.spec_from_file_location('setup_env', SCRIPT)
    module = importlib.util.module_from_spec(spec)
    sys.modules['setup_env'] = module  # dataclasses look their module up
    spec.loader.exec_module(module)
    yield module
    del sys.modules['setup_env']


@pytest.fixture
def progress(setup_env):
    return setup_env.Progress('[1/1] step')


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
            'tests',
            'build',
            'stack',
            'stack_onedl',
        )
        wanted = set().union(*map(names, (*files, 'dependencies')))
        assert wanted - names('constraints') == set()


class TestProgress:
    def test_reads_ninja(self, setup_env):
        assert setup_env.ninja_progress(NINJA_OUTPUT) == (2, 77)
        assert setup_env.ninja_progress('  running build_ext\n') is None

    @pytest.mark.parametrize(
        ('seconds', 'text'),
        [(0.4, '0 s'), (59.4, '59 s'), (59.6, '1 min 00 s'), (605, '10 min 05 s')],
    )
    def test_durations(self, setup_env, seconds, text):
        assert setup_env.duration(seconds) == text

    def test_a_long_step_adds_lines(self, setup_env, monkeypatch, capsys):
        clock = iter([0, 10, 10, 40, 40, 40, 40, 75])
        monkeypatch.setattr(setup_env.time, 'monotonic', lambda: next(clock))
        with setup_env.Progress('[5/7] mmcv') as progress:
            progress.tick('[2/10] c++ -c a.cpp\n')
            progress.tick('[7/10] c++ -c b.cpp\n')
        assert capsys.readouterr().out.splitlines() == [
            '[5/7] mmcv ... 7 of 10 files compiled, about 18 s left, 40 s so far',
            '[5/7] mmcv ... 1 min 15 s',
        ]

    def test_a_stopped_step_says_so(self, setup_env, monkeypatch, capsys):
        monkeypatch.setattr(setup_env.time, 'monotonic', iter([0, 3]).__next__)
        with pytest.raises(KeyboardInterrupt), setup_env.Progress('[1/7] venv'):
            raise KeyboardInterrupt
        assert capsys.readouterr().out == '[1/7] venv ... stopped after 3 s\n'


class TestSteps:
    @pytest.fixture
    def env(self, setup_env, tmp_path):
        return setup_env.Environment(tmp_path)

    def carry_out(self, setup_env, env, steps):
        stamps = setup_env.Stamps(env.folder / 'stamps.json')
        setup_env.carry_out(steps, env, stamps)

    def test_an_interrupted_set_up_resumes(self, setup_env, env):
        done = []
        fail = [True]

        def second(progress):
            done.append('second')
            if fail.pop():
                raise setup_env.SetupError('no network')

        steps = [
            setup_env.Step('first', 'first', lambda progress: done.append('first')),
            setup_env.Step('second', 'second', second),
            setup_env.Step('check', 'check', lambda progress: done.append('check')),
        ]
        with pytest.raises(setup_env.SetupError, match='no network'):
            self.carry_out(setup_env, env, steps)
        assert done == ['first', 'second']
        assert list(json.loads((env.folder / 'stamps.json').read_text())) == ['first']

        fail.append(False)
        self.carry_out(setup_env, env, steps)
        assert done == ['first', 'second', 'second', 'check']
        self.carry_out(setup_env, env, steps)
        assert len(done) == 4

    def test_a_changed_file_repeats_its_step_and_the_check(
        self, setup_env, env, tmp_path, monkeypatch
    ):
        monkeypatch.setattr(setup_env, 'ROOT', tmp_path)
        (tmp_path / 'a.txt').write_text('one')
        (tmp_path / 'b.txt').write_text('one')
        done = []
        steps = [
            setup_env.Step(
                name, name, lambda progress, name=name: done.append(name), files
            )
            for name, files in (('a', ['a.txt']), ('b', ['b.txt']), ('check', []))
        ]
        self.carry_out(setup_env, env, steps)
        (tmp_path / 'b.txt').write_text('two')
        self.carry_out(setup_env, env, steps)
        assert done == ['a', 'b', 'check', 'b', 'check']

    def test_a_repeated_step_loses_its_stamp_first(self, setup_env, env):
        def interrupted(progress):
            raise KeyboardInterrupt

        check = setup_env.Step('check', 'check', lambda progress: None)
        good = setup_env.Step('a', 'a', lambda progress: None)
        self.carry_out(setup_env, env, [good, check])
        newer = setup_env.Step('a', 'a', interrupted, version=2)
        with pytest.raises(KeyboardInterrupt):
            self.carry_out(setup_env, env, [newer, check])
        assert json.loads((env.folder / 'stamps.json').read_text()) == {}

    def test_broken_stamps_count_as_none(self, setup_env, tmp_path):
        (tmp_path / 'stamps.json').write_text('{"venv": ')
        assert setup_env.Stamps(tmp_path / 'stamps.json').done == {}


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

    def succeeds(self, code, progress, *arguments):
        return self.mmcv == 'good'

    def pip(self, progress, command, *arguments):
        if command == 'download':
            folder = Path(arguments[arguments.index('-d') + 1])
            sources = (
                folder / 'mmcv-2.1.0' / 'mmcv' / 'ops' / 'csrc' / 'pytorch' / 'cpu'
            )
            sources.mkdir(parents=True)
            for name in ('../nms.cpp', 'nms.cpp', 'psamask.cpp'):
                (sources / name).write_text(f'// {name}')
        elif '--find-links' in arguments:
            self.mmcv = arguments[arguments.index('--find-links') + 1]
        else:
            self.mmcv = arguments[-1].read_text()


class TestMmcv:
    @pytest.fixture(autouse=True)
    def machine(self, setup_env, monkeypatch, tmp_path):
        """A compiler that writes good wheels and counts itself."""
        self.compiled = 0
        self.result = 'good'

        def run(command, log, progress, environ=None):
            assert environ['MMCV_WITH_OPS'] == '1'
            self.compiled += 1
            out = Path(command[command.index('-w') + 1])
            if self.result is None:
                return 1
            (out / 'mmcv-2.1.0-cp311-cp311-linux_x86_64.whl').write_text(self.result)
            return 0

        monkeypatch.setenv('XDG_CACHE_HOME', str(tmp_path / 'cache'))
        monkeypatch.setattr(setup_env, 'run', run)
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

    def test_what_is_installed_is_kept(self, setup_env, env, progress):
        env.mmcv = 'good'
        setup_env.Mmcv(env, 'bad').install(progress)
        assert (env.mmcv, self.compiled) == ('good', 0)
        assert not setup_env.cache_root().exists()

    def test_a_cached_wheel_spares_compiling(self, setup_env, env, progress):
        mmcv = setup_env.Mmcv(env)
        assert mmcv.must_compile()
        self.cached(setup_env, 'good')
        assert not mmcv.must_compile()
        mmcv.install(progress)
        assert (env.mmcv, self.compiled) == ('good', 0)

    def test_the_forks_mmcv_is_another(self, setup_env, env, progress):
        self.cached(setup_env, 'good')
        mmcv = setup_env.Mmcv(env, stack=setup_env.STACKS['onedl'])
        # The wheel of the original will not do.
        assert mmcv.must_compile()
        version = setup_env.requirement('constraints.txt', 'onedl-mmcv')
        assert mmcv.accepted == version == f'=={mmcv.version}'
        key = setup_env.cache_key('onedl-mmcv', mmcv.version, '2.13.0+cpu')
        name = f'onedl_mmcv-{mmcv.version}-cp311-cp311-linux_x86_64.whl'
        wheel = setup_env.cache_root() / key / name
        wheel.parent.mkdir(parents=True)
        wheel.write_text('good')
        mmcv.install(progress)
        assert (env.mmcv, self.compiled) == ('good', 0)

    def test_a_prebuilt_wheel_spares_compiling(self, setup_env, env, progress):
        mmcv = setup_env.Mmcv(env, find_links='good')
        assert not mmcv.must_compile()
        mmcv.install(progress)
        assert (env.mmcv, self.compiled) == ('good', 0)

    def test_a_useless_prebuilt_wheel_does_not_stop_us(self, setup_env, env, progress):
        setup_env.Mmcv(env, find_links='bad').install(progress)
        assert (env.mmcv, self.compiled) == ('good', 1)

    def test_what_is_compiled_is_cached(self, setup_env, env, progress):
        setup_env.Mmcv(env).install(progress)
        assert (env.mmcv, self.compiled) == ('good', 1)
        wheel = self.cached(setup_env)
        assert list(wheel.parent.iterdir()) == [wheel]
        assert wheel.read_text() == 'good'

        env.mmcv = None
        setup_env.Mmcv(env).install(progress)
        assert (env.mmcv, self.compiled) == ('good', 1)

    def test_an_unusable_cached_wheel_is_replaced(self, setup_env, env, progress):
        wheel = self.cached(setup_env, 'bad')
        setup_env.Mmcv(env).install(progress)
        assert (env.mmcv, self.compiled) == ('good', 1)
        assert wheel.read_text() == 'good'

    def test_it_compiles_only_once(self, setup_env, env, progress):
        self.result = 'bad'
        with pytest.raises(setup_env.SetupError, match='compiled but cannot be imp'):
            setup_env.Mmcv(env).install(progress)
        assert self.compiled == 1
        assert not self.cached(setup_env).exists()

    def test_a_failed_compilation_names_its_log(self, setup_env, env, progress):
        self.result = None
        with pytest.raises(setup_env.SetupError, match=r'see .*/mmcv-build\.log$'):
            setup_env.Mmcv(env).install(progress)
        key = setup_env.cache_key('mmcv', '2.1.0', '2.13.0+cpu')
        assert list((setup_env.cache_root() / key).iterdir()) == []
        kept = env.folder / 'mmcv-build' / key / 'mmcv-2.1.0'
        assert kept.is_dir(), 'the next run resumes from the objects in there'

    def test_sources_are_joined_but_for_those_that_clash(
        self, setup_env, env, progress
    ):
        self.result = None
        with pytest.raises(setup_env.SetupError):
            setup_env.Mmcv(env).install(progress)
        (folder,) = env.folder.glob('mmcv-build/*/mmcv-2.1.0/mmcv/ops/csrc/pytorch')
        compiled = [*folder.glob('*.cpp'), *folder.glob('cpu/*.cpp')]
        joined = [folder / f'joined_{number}.cpp' for number in range(4)]
        assert sorted(compiled) == sorted([folder / 'cpu' / 'psamask.cpp', *joined])
        included = [file.read_text().splitlines() for file in joined]
        assert {lines[0] for lines in included} == {'#include <torch/extension.h>'}
        assert sorted(line for lines in included for line in lines[1:]) == [
            '#include "cpu/nms.inc"',
            '#include "nms.inc"',
        ]
        assert (folder / 'cpu' / 'nms.inc').read_text() == '// nms.cpp'

    def test_a_gpu_without_its_compiler(self, setup_env, env, progress, monkeypatch):
        monkeypatch.setattr(env, 'output', lambda code: '2.13.0+cu130 True')
        monkeypatch.setattr(setup_env.shutil, 'which', lambda name: None)
        monkeypatch.delenv('CUDA_HOME', raising=False)
        with pytest.raises(setup_env.SetupError, match='set MMCV_FIND_LINKS'):
            setup_env.Mmcv(env).install(progress)
        assert self.compiled == 0


class TestRun:
    def test_output_goes_to_the_log(self, setup_env, tmp_path, progress):
        log = tmp_path / 'log'
        code = 'import sys; print("out"); sys.exit(3)'
        assert setup_env.run([sys.executable, '-c', code], log, progress) == 3
        assert log.read_text() == 'out\n'

    def test_an_interrupt_ends_the_command(self, setup_env, tmp_path):
        class Interrupting:
            def tick(self, output):
                if output:
                    raise KeyboardInterrupt

        log = tmp_path / 'log'
        code = 'import os, time; print(os.getpid(), flush=True); time.sleep(60)'
        with pytest.raises(KeyboardInterrupt):
            setup_env.run([sys.executable, '-c', code], log, Interrupting())
        with pytest.raises(ProcessLookupError):
            os.kill(int(log.read_text()), 0)

    def test_a_failing_pip_shows_its_last_lines(self, setup_env, tmp_path, progress):
        env = setup_env.Environment(tmp_path)
        env.python = sys.executable
        with pytest.raises(setup_env.SetupError, match='pip install failed') as caught:
            env.pip(progress, 'install', '--no-index', 'no-such-package-anywhere')
        assert 'No matching distribution found for no-such-pa' in caught.value.tail()


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
        done = run_script('--venv', tmp_path / 'venv', '--extras', 'docs')
        assert done.returncode == 1
        assert done.stderr == (
            "error: no extra 'docs': there is no requirements/docs.txt\n"
        )
