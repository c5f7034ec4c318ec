"The pages can be made: nbdev's own processing of each notebook, which runs its imports and signatures, goes through."
import subprocess
import sys

PROCESS = """
import os
from pathlib import Path
from nbdev.processors import FilterDefaults
from nbdev.serve_drv import exec_nb
if __name__ == '__main__':
    for path in sys.argv[2:]:
        print(path, flush=True)
        exec_nb(Path(path), Path(sys.argv[1]), FilterDefaults)
    os._exit(0)  # else each of the shells collects all garbage once more at the end: a third of the time
"""


def test_notebooks_become_pages(tmp_path):
    "In a process of its own, since the processor executes what it documents"
    from notebooks import ROOT, notebooks
    run = subprocess.run([sys.executable, '-c', f'import sys\n{PROCESS}', str(tmp_path/'page.ipynb'), *map(str, notebooks())],
                         cwd=ROOT, capture_output=True, text=True)
    assert run.returncode == 0, f'{run.stdout.splitlines()[-1:]}\n{run.stderr[-3000:]}'
