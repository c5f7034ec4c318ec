"The console script, as a process of its own: what it prints, writes and returns."
import os, re, signal, subprocess, sys, sysconfig
from pathlib import Path

import pytest

from notebooks import ROOT

INSTALLED = Path(sysconfig.get_path('scripts'))/'snnlit'
SMALL = ['-n', '400', '--duration', '200']


def started(*words: str, folder: Path, command=(sys.executable, '-m', 'snnlit.cli'), **environment) -> subprocess.Popen:
    "`snnlit WORDS` in `folder`, not yet waited for"
    paths = os.pathsep.join([str(ROOT), os.environ.get('PYTHONPATH', '')])
    return subprocess.Popen([*command, *words], cwd=folder, text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                            env=os.environ | {'PYTHONPATH': paths, 'JAX_PLATFORMS': 'cpu'} | environment)


def called(*words: str, **kw) -> tuple[int, str, str]:
    "Exit status, standard output and standard error of `snnlit WORDS`"
    with started(*words, **kw) as process: out, err = process.communicate(timeout=300)
    return process.returncode, out, err


def table(said: str) -> str: return said.split('\n\n')[1]


def test_a_run_prints_its_numbers_and_draws(tmp_path):
    "Two runs, the second by the installed script: same seed, same table; how long compiling takes is shown by pytest -rP"
    status, said, complaint = called(*SMALL, '--no-progress', folder=tmp_path, XDG_CACHE_HOME=str(tmp_path/'cache'))
    assert (status, complaint) == (0, '')
    picture = tmp_path/'snnlit_coba.png'
    assert str(picture.resolve()) in said and picture.read_bytes().startswith(b'\x89PNG')
    assert re.search(r'^E +320 ', said, re.M) and re.search(r'^I +80 ', said, re.M)
    command = (str(INSTALLED),) if INSTALLED.exists() else (sys.executable, '-m', 'snnlit.cli')
    status, again, _ = called(*SMALL, folder=tmp_path, command=command)
    assert status == 0 and table(again) == table(said)
    for text in (said, again): print(re.search(r'compiling +(.+)', text)[0])


@pytest.mark.parametrize('words', [
    ['--neurons', '0'], ['--neurons', '4e3'], ['--duration', '-5'], ['--duration', 'nan'], ['--duration', '0.25'],
    ['--seed', '-1'], ['-o', 'raster.txt'], ['-o', 'nowhere/raster.png'], ['--colour'], ['4000']], ids=' '.join)
def test_nonsense_is_one_line_and_status_2(words, tmp_path):
    status, said, complaint = called(*words, folder=tmp_path)
    assert (status, said, complaint.count('\n')) == (2, '', 1)
    assert complaint.startswith('snnlit: ') and words[-1] in complaint
    assert not list(tmp_path.iterdir())


def test_help(tmp_path):
    status, said, _ = called('--help', folder=tmp_path)
    assert status == 0
    for word in ('--neurons', '--duration', '--delay', '--seed', '--output', '--no-progress', 'example:', 'in ms'): assert word in said
    assert said.count('default:') == 5


def test_an_output_that_knows_only_ascii(tmp_path):
    folder = tmp_path/'Zürich'
    folder.mkdir()
    status, said, _ = called('-n', '80', '--duration', '1', '--no-progress', folder=folder, PYTHONIOENCODING='ascii')
    assert status == 0 and r'Z\xfcrich' in said and (folder/'snnlit_coba.png').exists()


@pytest.mark.skipif(os.name != 'posix', reason='Ctrl-C is sent as a signal')
def test_ctrl_c_reports_and_draws_what_there_is(tmp_path):
    "The bar shows up after the first chunk, so there is a result when the signal comes"
    with started('-n', '400', '--duration', '1e6', folder=tmp_path) as process:
        while not re.search(r'[1-9]\d*/1000000', seen := process.stderr.readline(80)): assert seen
        process.send_signal(signal.SIGINT)
        out, _ = process.communicate(timeout=300)
    assert process.returncode == 130
    assert 'interrupted after' in out and 'CV of intervals' in out and (tmp_path/'snnlit_coba.png').exists()
