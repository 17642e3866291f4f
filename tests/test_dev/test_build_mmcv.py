"""Compiling mmcv by dev/build_mmcv.py, without a network and without a compiler."""

from pathlib import Path

import pytest
import torch

from dev import build_mmcv

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
WHEEL = 'mmcv-2.1.0-cp311-cp311-linux_x86_64.whl'


@pytest.mark.parametrize(
    ('memory', 'cores', 'jobs'), [(3, 8, 1), (64, 2, 2), (8, 16, 4)]
)
def test_jobs_fit_cores_and_memory(monkeypatch, memory, cores, jobs):
    pages = {'SC_PAGE_SIZE': 2**12, 'SC_PHYS_PAGES': memory * 2**18}
    monkeypatch.setattr(build_mmcv.os, 'sysconf', pages.get)
    monkeypatch.setattr(
        build_mmcv.os, 'sched_getaffinity', lambda pid: set(range(cores))
    )
    assert build_mmcv.build_jobs() == jobs


class TestBuild:
    @pytest.fixture(autouse=True)
    def pip(self, monkeypatch):
        """Brings the sources, and a wheel unless it is to fail."""
        self.fails = False
        self.environ = None
        monkeypatch.setattr(torch.cuda, 'is_available', lambda: False)
        for name in ('CFLAGS', 'MAX_JOBS'):
            monkeypatch.delenv(name, raising=False)

        def call(command, env):
            if 'download' in command:
                folder = Path(command[command.index('-d') + 1])
                sources = folder / 'mmcv-2.1.0' / 'mmcv' / 'ops' / 'csrc' / 'pytorch'
                (sources / 'cpu').mkdir(parents=True)
                for name, size in SOURCES.items():
                    (sources / name).write_text(f'// {name}'.ljust(size))
                setup = folder / 'mmcv-2.1.0' / 'setup.py'
                setup.write_text("cxx = ['-std=c++17']\n")
                return 0
            assert '--no-cache-dir' in command
            self.environ = env
            if not self.fails:
                out = Path(command[command.index('-w') + 1])
                (out / WHEEL).write_text('good')
            return int(self.fails)

        monkeypatch.setattr(build_mmcv.subprocess, 'call', call)

    def build(self, folder):
        build_mmcv.build('mmcv==2.1.0', folder / 'build', folder / 'wheels')

    def sources(self, folder):
        """The folder of the sources that a failing compiler leaves."""
        self.fails = True
        with pytest.raises(SystemExit):
            self.build(folder)
        return folder / 'build/mmcv-2.1.0/mmcv/ops/csrc/pytorch'

    def test_the_wheel_takes_the_place_of_another(self, tmp_path):
        wheel = tmp_path / 'wheels' / WHEEL
        wheel.parent.mkdir()
        wheel.write_text('bad')
        self.build(tmp_path)
        assert wheel.read_text() == 'good'
        assert list(wheel.parent.iterdir()) == [wheel]
        assert not (tmp_path / 'build').exists()

    def test_a_failure_leaves_no_wheel_and_begins_anew(self, tmp_path):
        for _ in range(2):
            left = self.sources(tmp_path) / 'left'
            assert not left.exists()
            left.touch()
        assert not (tmp_path / 'wheels').exists()

    def test_sources_are_joined_but_for_those_that_clash(self, tmp_path):
        folder = self.sources(tmp_path)
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

    def test_sources_for_a_gpu_stay_as_they_are(self, tmp_path, monkeypatch):
        monkeypatch.setattr(torch.cuda, 'is_available', lambda: True)
        folder = self.sources(tmp_path)
        for name, size in SOURCES.items():
            assert (folder / name).read_text() == f'// {name}'.ljust(size)
        assert not list(folder.glob('together_*'))
        assert 'CFLAGS' not in self.environ

    @pytest.mark.parametrize(('version', 'standard'), [('2.13.0', 17), ('2.14.1', 20)])
    def test_the_standard_is_that_of_the_headers(
        self, version, standard, tmp_path, monkeypatch
    ):
        monkeypatch.setattr(torch, '__version__', f'{version}+cpu')
        self.sources(tmp_path)
        text = (tmp_path / 'build/mmcv-2.1.0/setup.py').read_text()
        assert text == f"cxx = ['-std=c++{standard}']\n"

    def test_the_users_own_flags_count(self, tmp_path, monkeypatch):
        monkeypatch.setenv('CFLAGS', '-O1')
        monkeypatch.setenv('MAX_JOBS', '7')
        self.sources(tmp_path)
        assert (self.environ['CFLAGS'], self.environ['MAX_JOBS']) == ('-O1', '7')
