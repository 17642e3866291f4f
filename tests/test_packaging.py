"""What the built distributions hold; everything is built without a network."""

import email
import shutil
import subprocess
import sys
import sysconfig
import zipfile
from importlib import metadata
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
CARRIED = ('configs', 'tools', 'model-index.yml')
# What the maintainers run is in the sources, but not in what is installed.
LEFT_OUT = ('dev', 'tests')
SOURCES = (
    'LICENSE',
    'MANIFEST.in',
    'README.md',
    'setup.py',
    'mmrapidnet',
    'requirements',
    *LEFT_OUT,
    *CARRIED,
)


def files_below(folder):
    return {
        path.relative_to(folder).as_posix()
        for path in folder.rglob('*')
        if path.is_file() and '__pycache__' not in path.parts
    }


def run(*command, cwd):
    done = subprocess.run(command, cwd=cwd, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def build_wheel(source, out):
    options = ('--no-deps', '--no-build-isolation', '--no-index')
    run(sys.executable, '-m', 'pip', 'wheel', *options, '-w', out, source, cwd=out)
    (wheel,) = out.glob('*.whl')
    return zipfile.ZipFile(wheel)


@pytest.fixture(scope='module')
def source(tmp_path_factory):
    """A copy of the project, so that building leaves nothing in the real one."""
    folder = tmp_path_factory.mktemp('source')
    ignore = shutil.ignore_patterns('__pycache__', '.mim')
    for name in SOURCES:
        path = ROOT / name
        if path.is_dir():
            shutil.copytree(path, folder / name, ignore=ignore)
        else:
            shutil.copy(path, folder)
    return folder


@pytest.fixture(scope='module')
def wheel(source, tmp_path_factory):
    """What a build makes in a tree in which an earlier one has left something."""
    stale = source / 'build' / 'lib' / 'mmrapidnet' / '.mim' / 'configs' / 'gone.py'
    stale.parent.mkdir(parents=True, exist_ok=True)
    stale.touch()
    with build_wheel(source, tmp_path_factory.mktemp('wheel')) as wheel:
        yield wheel


def expected_files():
    """All modules, and what is carried, under the names they have in a wheel."""
    modules = {f'mmrapidnet/{name}' for name in files_below(ROOT / 'mmrapidnet')}
    expected = {name for name in modules if not name.startswith('mmrapidnet/.mim')}
    for name in CARRIED:
        paths = [name]
        if (ROOT / name).is_dir():
            paths = [f'{name}/{path}' for path in files_below(ROOT / name)]
        expected |= {f'mmrapidnet/.mim/{path}' for path in paths}
    return expected


def test_wheel_holds_package_configs_and_tools_alone(wheel):
    names = {name for name in wheel.namelist() if '.dist-info/' not in name}
    assert names == expected_files()
    assert 'mmrapidnet/.mim/configs/gone.py' not in names
    assert 'mmrapidnet/.mim/configs/maskrcnn_rapidnet_ti_coco.py' in names
    assert 'mmrapidnet/.mim/tools/train.py' in names


def test_wheel_holds_no_line_of_the_maintainers(wheel, source):
    theirs = {
        path.read_bytes(): path
        for folder in LEFT_OUT
        for path in (source / folder).rglob('*.*')
        if path.is_file() and path.stat().st_size
    }
    assert {path.name for path in theirs.values()} >= {'site_hooks.py', 'conftest.py'}
    for name in wheel.namelist():
        assert not set(LEFT_OUT) & set(Path(name).parts), name
        assert wheel.read(name) not in theirs, name
    (name,) = (name for name in wheel.namelist() if name.endswith('/top_level.txt'))
    assert wheel.read(name).split() == [b'mmrapidnet']


def test_metadata(wheel):
    from mmrapidnet.version import __version__

    (name,) = (name for name in wheel.namelist() if name.endswith('/METADATA'))
    fields = email.message_from_bytes(wheel.read(name))
    assert fields['Name'] == 'mmrapidnet'
    assert fields['Version'] == __version__
    assert 'Apache-2.0' in (fields['License'], fields['License-Expression'])
    assert fields['Requires-Python'] == '>=3.10'
    extras = set(fields.get_all('Provides-Extra'))
    formats = {'onnx', 'openvino', 'coreml', 'ncnn', 'executorch', 'litert'}
    assert extras == {'det', 'seg', 'cls', 'sam', 'tests', 'docs', 'all', *formats}

    requirements = [
        line.replace(' ', '').replace('"', "'").replace('(', '').replace(')', '')
        for line in fields.get_all('Requires-Dist')
    ]
    plain = {line for line in requirements if 'extra==' not in line}
    assert {line.split('>')[0].split('<')[0] for line in plain} == {
        'torch',
        'mmengine',
        'mmcv',
        'numpy',
        'setuptools',
    }
    for extra in ('det', 'all'):
        assert f"mmdet>=3.3.0;extra=='{extra}'" in requirements

    (licence,) = (name for name in wheel.namelist() if name.endswith('/LICENSE'))
    assert wheel.read(licence) == (ROOT / 'LICENSE').read_bytes()


def test_sdist_builds_the_same_wheel(source, wheel, tmp_path):
    run(sys.executable, 'setup.py', '-q', 'sdist', '-d', tmp_path, cwd=source)
    (archive,) = tmp_path.glob('*.tar.gz')
    with build_wheel(archive, tmp_path) as rebuilt:
        assert sorted(rebuilt.namelist()) == sorted(wheel.namelist())


# Reads a config that builds on ours, as the libraries' own scripts do.
OWN = (
    "_base_ = __import__('mmrapidnet.compat.patch_all') and 'mmrapidnet::{}'\n".format(
        'maskrcnn_rapidnet_s_coco.py'
    )
)
READ = (
    'from mmengine.config import Config; '
    "print(Config.fromfile('own.py').model.backbone.type)"
)


def test_configs_build_on_those_of_a_wheel(wheel, tmp_path, monkeypatch):
    wheel.extractall(tmp_path / 'site')
    (tmp_path / 'own.py').write_text(OWN)
    monkeypatch.setenv('PYTHONPATH', str(tmp_path / 'site'))
    assert run(sys.executable, '-c', READ, cwd=tmp_path).split()[-1] == 'RapidNet'


@pytest.fixture
def other_python(tmp_path, monkeypatch):
    """A Python that has our packages, but is another environment to pip."""
    monkeypatch.delenv('PYTHONPATH', raising=False)
    run(sys.executable, '-m', 'venv', '--without-pip', tmp_path / 'venv', cwd=tmp_path)
    (site,) = (tmp_path / 'venv').glob('lib/python*/site-packages')
    (site / 'ours.pth').write_text(sysconfig.get_path('purelib'))
    return tmp_path / 'venv' / 'bin' / 'python'


PIP = tuple(map(int, metadata.version('pip').split('.')[:2]))
LEGACY = pytest.param(
    '--no-use-pep517', marks=pytest.mark.skipif(PIP >= (25, 3), reason='gone from pip')
)


@pytest.mark.parametrize('pep517', ['--use-pep517', LEGACY])
def test_editable_install_links_to_the_sources(source, other_python, tmp_path, pep517):
    mim = source / 'mmrapidnet' / '.mim'
    shutil.rmtree(mim, ignore_errors=True)
    options = ('--no-deps', '--no-build-isolation', '--no-index', '--ignore-installed')
    install = (other_python, '-m', 'pip', 'install', *options, pep517)
    run(*install, '-e', source, cwd=tmp_path)

    code = 'import importlib.util as u; print(u.find_spec("mmrapidnet").origin)'
    origin = run(other_python, '-c', code, cwd=tmp_path).strip()
    assert Path(origin) == source / 'mmrapidnet' / '__init__.py'
    for name in CARRIED:
        assert (mim / name).is_symlink()
        assert (mim / name).resolve() == (source / name).resolve()
