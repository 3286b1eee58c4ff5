"""What pyproject.toml cannot say: two folders are installed under longer names than their own.

`components` and `pipelines` would be in everybody's way in site-packages.
"""

from setuptools import find_packages, setup

FOLDERS = {"soda": "soda", "soda_components": "components", "soda_pipelines": "pipelines"}

setup(
    package_dir=FOLDERS,
    packages=[
        f"{name}.{inner}".rstrip(".")
        for name, folder in FOLDERS.items()
        for inner in ["", *find_packages(folder)]
    ],
)
