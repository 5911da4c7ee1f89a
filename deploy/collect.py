#!/usr/bin/env python3
"""Lays out what a container image needs to run vitower: the program, every library that the base image lacks, their
licences and the bill of materials.

    deploy/collect.py PROGRAM ROOT --base-status FILE    FILE: /var/lib/dpkg/status of the base image
"""

import argparse
import json
import pathlib
import re
import shutil

import sbom

LIBRARIES = "usr/lib/vitower"


def copy(source, target):
    target.parent.mkdir(parents=True, exist_ok=True)
    shutil.copy2(source, target)  # follows links: the file takes the name that the linker looks for


def packages_in(status):
    """{name: version} of the installed packages."""
    found = {}
    for paragraph in status.read_text().split("\n\n"):
        if "Status: install ok installed" in paragraph:
            found[re.search(r"^Package: (\S+)", paragraph, re.M)[1]] = re.search(r"^Version: (\S+)", paragraph, re.M)[1]
    return found


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("program", type=pathlib.Path)
    parser.add_argument("root", type=pathlib.Path)
    parser.add_argument("--base-status", type=pathlib.Path, required=True)
    arguments = parser.parse_args()

    packages, own = sbom.packages_of(arguments.program)
    base = packages_in(arguments.base_status)
    # glibc must be the base image's own, whatever its version; anything else has to be the very same.
    present = {path for package in packages for path in package.files
               if package.name == "libc6" or base.get(package.name) == package.version}
    copy(arguments.program, arguments.root / "usr/bin/vitower")
    for name, path in sbom.linked(arguments.program).items():
        if path not in present:
            copy(path, arguments.root / LIBRARIES / name)
        if "nvidia" in path.parts:  # CUDA's libraries load others of their folder by name, which the linker does not see
            for other in path.parent.glob("*.so*"):
                copy(other, arguments.root / LIBRARIES / other.name)
    documents = arguments.root / "usr/share/doc/vitower"
    for package in packages:
        for text in package.texts:
            copy(text, documents / "licences" / package.name / text.name)
    (documents / "sbom.cdx.json").write_text(json.dumps(sbom.bill(arguments.program, packages), indent=1))
    linker = arguments.root / "etc/ld.so.conf.d/vitower.conf"
    linker.parent.mkdir(parents=True)
    linker.write_text(f"/{LIBRARIES}\n")
    print(f"{len(packages)} packages, {len(own)} libraries of our own, {len(present)} files left to the base image")


if __name__ == "__main__":
    main()
