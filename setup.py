"Packaging for pip. Every value comes from settings.ini: edit there."
from configparser import ConfigParser
from pathlib import Path
import shlex

from setuptools import find_packages, setup

root = Path(__file__).resolve().parent
config = ConfigParser(delimiters=['='])
config.read(root/'settings.ini', encoding='utf-8')
settings = config['DEFAULT']
package, extra = settings['lib_path'], '_requirements'
stages = ['1 - Planning', '2 - Pre-Alpha', '3 - Alpha', '4 - Beta', '5 - Production/Stable']

setup(
    name=settings['lib_name'],
    version=settings['version'],
    description=settings['description'],
    long_description=(root/'README.md').read_text(encoding='utf-8'),
    long_description_content_type='text/markdown',
    author=settings['author'],
    author_email=settings['author_email'],
    license={'apache2': 'Apache-2.0'}[settings['license']],
    keywords=settings['keywords'],
    url=settings['git_url'],
    classifiers=[
        f"Development Status :: {stages[int(settings['status']) - 1]}",
        f"Intended Audience :: {settings['audience']}",
        f"Natural Language :: {settings['language']}",
        'Framework :: Jupyter',
        'Programming Language :: Python :: 3 :: Only'],
    packages=find_packages(include=[package, f'{package}.*']),
    python_requires=f">={settings['min_python']}",
    install_requires=shlex.split(settings['requirements']),
    extras_require={name.removesuffix(extra): shlex.split(value)
                    for name, value in settings.items() if name.endswith(extra)},
    entry_points={
        'console_scripts': shlex.split(settings['console_scripts']),
        'nbdev': [f'{package}={package}._modidx:d']},  # lets symbols in prose become links
    zip_safe=False)
