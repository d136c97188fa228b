"""Build of the compiled rooms: every sklearn_lsh/core/*.pyx, and the C unit with the kernels.

SKLEARN_LSH_DEBUG=1 builds with bounds checks and assertions, SKLEARN_LSH_OPENMP=0 without
OpenMP. Nothing is tuned to the machine it is built on: instruction sets are picked at import.
"""

import os
import sys
import tempfile
from pathlib import Path

from Cython.Build import cythonize
from setuptools import Extension, setup
from setuptools.command.build_ext import build_ext

DEBUG = os.environ.get("SKLEARN_LSH_DEBUG", "0") not in ("", "0")
CORE = Path("sklearn_lsh") / "core"
# What the compiler is tried with.
OPENMP = "#include <omp.h>\nint main(void) { return omp_get_max_threads() < 1; }\n"
NOTHING = "int main(void) { return 0; }\n"


class BuildExt(build_ext):
    """Picks flags by compiler, and OpenMP where a probe links with it."""

    def build_extensions(self):
        compiler = self.compiler.compiler_type
        if compiler == "msvc":
            flags, openmp = ["/Od", "/Zi"] if DEBUG else ["/O2"], (["/openmp"], [])
        else:
            flags = ["-O1", "-g", "-UNDEBUG"] if DEBUG else ["-O3"]
            flags += ["-fno-math-errno", "-fno-trapping-math", "-fopenmp-simd"]
            openmp = (["-fopenmp"], ["-fopenmp"])
            if sys.platform == "darwin":
                openmp = (["-Xpreprocessor", "-fopenmp"], ["-lomp"])
        if os.environ.get("SKLEARN_LSH_OPENMP") == "0" or not self.links(OPENMP, *openmp):
            openmp = ([], [])
            print("building without OpenMP", file=sys.stderr)
        # GCC clears the upper halves of vector registers after functions of a wider instruction
        # set only if told so here; left dirty, they slow down all code around the kernels.
        # And GCC 12 moves numbers through an MMX register at the baseline if not told otherwise,
        # and does not give the x87 unit back: BLAS's norms, QR and eigenvalues are NaN after it.
        for flag in ("-mvzeroupper", "-mno-mmx"):
            if compiler != "msvc" and self.links(NOTHING, [flag], []):
                flags.append(flag)
        for extension in self.extensions:
            extension.extra_compile_args = flags + openmp[0]
            extension.extra_link_args = openmp[1]
            if DEBUG:
                extension.define_macros.append(("SKLEARN_LSH_DEBUG", "1"))
        super().build_extensions()

    def links(self, program, compile_args, link_args):
        """Does a program compile and link with these flags?"""
        with tempfile.TemporaryDirectory() as folder:
            source = Path(folder) / "probe.c"
            source.write_text(program)
            try:
                objects = self.compiler.compile(
                    [str(source)], output_dir=folder, extra_postargs=compile_args
                )
                self.compiler.link_executable(
                    objects, str(Path(folder) / "probe"), extra_postargs=link_args
                )
            except Exception as error:  # each compiler class raises its own
                print(f"not with {compile_args}: {error}", file=sys.stderr)
                return False
        return True


def extensions():
    """One extension a .pyx; kernels.pyx alone carries the C unit and hands out its table."""
    for source in sorted(CORE.glob("*.pyx")):
        name = source.stem
        sources = [source.as_posix()]
        if name == "kernels":
            sources.append((CORE / "simd" / "kernels.c").as_posix())
        yield Extension(
            f"sklearn_lsh.core.{name}",
            sources,
            include_dirs=[CORE.as_posix()],
            depends=[p.as_posix() for p in (CORE / "simd").iterdir()],
        )


setup(
    ext_modules=cythonize(
        list(extensions()),
        build_dir="build/cython-debug" if DEBUG else "build/cython",
        nthreads=0 if sys.platform == "win32" else os.cpu_count() or 1,
        compiler_directives={
            "language_level": 3,
            "boundscheck": DEBUG,
            "wraparound": False,
            "initializedcheck": DEBUG,
            "cdivision": True,
            "embedsignature": True,
            "freethreading_compatible": True,
        },
    ),
    cmdclass={"build_ext": BuildExt},
)
