"""One distribution, two packages: the core and the built-in plugins that live beside any third party's."""

from setuptools import find_packages, setup

setup(
    packages=find_packages(include=["robustcl", "robustcl.*"])
    + find_packages("plugins", include=["robustcl_plugins", "robustcl_plugins.*"]),
    package_dir={"robustcl": "robustcl", "robustcl_plugins": "plugins/robustcl_plugins"},
    package_data={
        "robustcl": ["py.typed", "report/templates/*"],
        "robustcl_plugins": ["py.typed", "attacks/*.toml", "recipes/*.toml", "studies/*.toml"],
    },
)
