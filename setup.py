"""Adds the flagfiles of `configs/` to the package. setup.cfg holds everything else."""

import pathlib

import setuptools
from setuptools.command import build_py


class BuildWithFlagfiles(build_py.build_py):
  """Builds the package with the flagfiles."""

  def run(self):
    """Copies the modules, and then the flagfiles beside them."""
    super().run()
    if self.editable_mode:  # The flagfiles are found beside the package.
      return
    for path in sorted(pathlib.Path("configs").rglob("*.flags")):
      target = pathlib.Path(self.build_lib, "iddpm_tf", path)
      self.mkpath(str(target.parent))
      self.copy_file(str(path), str(target))


setuptools.setup(cmdclass={"build_py": BuildWithFlagfiles})
