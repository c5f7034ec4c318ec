"""Everything that has to hold before a change is kept, with one verdict at the end. Writes nothing into the tree.

1. the module and README.md are what the notebooks say, and the notebooks are clean
2. every notebook runs:   nbdev_test --n_workers 2 --timing --do_print
3. every test passes:     pytest -q -n 2 --dist loadfile tests

usage: python tools/check.py
"""
import os, re, subprocess, sys, tempfile
from collections import Counter
from pathlib import Path
from xml.etree import ElementTree

import readme
from notebooks import ROOT, name, notebooks, stale, untidy


def title(text: str) -> None: print(f'\n== {text}', flush=True)


def spoken(*command: str) -> tuple[int, str]:
    "Run a command at the top of the tree, let it speak, and keep its status and what it said"
    environment = dict(os.environ, PYTHONUNBUFFERED='1', VIRTUAL_ENV=sys.prefix,
                       OPENBLAS_NUM_THREADS='1')  # two notebooks run at a time; their threads would wait for each other, busily
    said = []
    with subprocess.Popen(command, cwd=ROOT, env=environment, text=True, errors='replace', stdin=subprocess.DEVNULL,
                          stdout=subprocess.PIPE, stderr=subprocess.STDOUT) as process:
        for line in process.stdout:
            print(line, end='', flush=True)
            said.append(line)
    return process.returncode, ''.join(said)


def in_step(root: Path = ROOT) -> list[str]:
    "What is out of step with the notebooks, or unclean in them"
    return (stale(root)
            + [f'nbs/{name(path)} is not clean: run nbdev_clean' for path in notebooks(root) if untidy(path)]
            + [f'{file} is out of step with nbs/index.ipynb: run python tools/readme.py'
               for file in readme.changes(root)])


def sync() -> Counter:
    "One check: the tree agrees with itself"
    title('notebooks, module and README in step')
    complaints = in_step()
    print('\n'.join(complaints or ['in step']), flush=True)
    return Counter(failed=1) if complaints else Counter(passed=1)


def run_notebooks() -> Counter:
    "One check per notebook: it runs from top to bottom"
    title('notebooks')
    command = str(Path(sys.executable).with_name('nbdev_test'))
    status, said = spoken(command, '--n_workers', '2', '--timing', '--do_print')
    return notebook_counts(status, said, len(notebooks()))


def notebook_counts(status: int, said: str, total: int) -> Counter:
    "nbdev_test's words as numbers; a run that breaks off without naming a notebook fails as a whole"
    started = len(re.findall(r'Starting .+?\.ipynb', said))
    listed = said.partition('Failed On The Following Notebooks')[2]
    failed = len(re.findall(r'^\t.+\.ipynb', listed, re.M)) or int(status != 0)
    return Counter(passed=max(started - failed, 0), failed=failed, skipped=total - started)


def run_tests() -> Counter:
    "pytest's own counts"
    title('tests')
    with tempfile.TemporaryDirectory() as folder:
        report = Path(folder)/'report.xml'
        two = '-n', '2', '--dist', 'loadfile', '--no-loadscope-reorder'  # a file stays in one process; slow ones begin early
        status, _ = spoken(sys.executable, '-m', 'pytest', '-q', '-rs', *two, 'tests', f'--junitxml={report}')
        return test_counts(status, report)


def test_counts(status: int, report: Path) -> Counter:
    "The numbers in pytest's report; a run that breaks off without a failed test fails as a whole"
    suites = ElementTree.parse(report).iter('testsuite') if report.exists() else []
    count = Counter()
    for suite in suites:
        count.update({key: int(suite.get(key, 0)) for key in ('tests', 'failures', 'errors', 'skipped')})
    failed = count['failures'] + count['errors'] or int(status != 0)
    passed = max(count['tests'] - failed - count['skipped'], 0)
    return Counter(passed=passed, failed=failed, skipped=count['skipped'])


def verdict(count: Counter) -> str:
    "`N passed, N failed`, and `, N skipped` where there were any"
    skipped = f", {count['skipped']} skipped" if count['skipped'] else ''
    return f"{count['passed']} passed, {count['failed']} failed{skipped}"


def main() -> int:
    parts = {'in step': sync(), 'notebooks': run_notebooks(), 'tests': run_tests()}
    title('verdict')
    for part, count in parts.items(): print(f'{part}: {verdict(count)}'.replace(', ', ' · '))
    total = sum(parts.values(), Counter())
    print(verdict(total), flush=True)
    return 1 if total['failed'] else 0


if __name__ == '__main__': sys.exit(main())
