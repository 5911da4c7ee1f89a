#!/usr/bin/env python3
"""The bill of materials of a built vitower: every library that the dynamic linker loads for it and the header-only ones it
was compiled with, each with its version and licences, as CycloneDX 1.5 JSON on stdout.

    deploy/sbom.py build/release/bin/vitower           JSON
    deploy/sbom.py --table build/release/bin/vitower   name, version, licences, for reading

Debian packages are asked for by dpkg; what lies in a Python environment (libtorch) by the metadata of its wheel.
"""

import argparse
import dataclasses
import json
import os
import pathlib
import re
import subprocess
import sys

HEADER_ONLY = ["libcli11-dev", "nlohmann-json3-dev"]


@dataclasses.dataclass
class Package:
    name: str
    version: str
    kind: str  # "deb" or "pypi"
    licences: list
    files: list = dataclasses.field(default_factory=list)
    texts: list = dataclasses.field(default_factory=list)  # where its licences stand


def run(*command):
    return subprocess.run(command, capture_output=True, text=True, check=False).stdout


def linked(program):
    """{name that the linker looks for: path} of every library, but not the program's own and the kernel's."""
    found, missing = {}, []
    for line in run("ldd", program).splitlines():
        if match := re.match(r"\s*(\S+) => (/\S+)", line):
            found[match[1]] = pathlib.Path(match[2])
        elif match := re.match(r"\s*(/\S+) \(", line):
            found[pathlib.Path(match[1]).name] = pathlib.Path(match[1])
        elif "not found" in line:
            missing.append(line.strip())
    if missing:
        sys.exit(f"{program}: {'; '.join(missing)}")
    return found


def spellings(path):
    """A path as dpkg may know it: with and without links, with and without /usr."""
    for spelling in {str(path), os.path.realpath(path)}:
        yield spelling
        yield spelling.removeprefix("/usr") if spelling.startswith("/usr/") else "/usr" + spelling


def debian_licences(package):
    """(names, file) from the copyright file, where it is machine-readable; packaging files do not count."""
    path = pathlib.Path(f"/usr/share/doc/{package}/copyright")
    if not path.exists():
        return [], None
    names = []
    for paragraph in re.split(r"\n\s*\n", path.read_text(errors="replace")):
        files, licence = (re.search(rf"^{field}:[ \t]*(.*)$", paragraph, re.M) for field in ("Files", "License"))
        if files and licence and not files[1].startswith("debian/") and licence[1] and licence[1] not in names:
            names.append(licence[1])
    return names, path


def debian_packages(paths):
    owners = {}
    known = sorted({spelling for path in paths for spelling in spellings(path)})
    for line in run("dpkg-query", "-S", *known).splitlines():
        names, _, path = line.partition(": ")
        owners[path] = names.split(", ")[0].split(":")[0]
    packages, rest = {}, []
    for path in paths:
        owner = next((owners[spelling] for spelling in spellings(path) if spelling in owners), None)
        if owner is None:
            rest.append(path)
        else:
            packages.setdefault(owner, []).append(path)
    return [debian_package(name, files) for name, files in packages.items()], rest


def debian_package(name, files):
    version = run("dpkg-query", "-W", "-f", "${Version}", name)
    licences, text = debian_licences(name)
    return Package(name, version, "deb", licences, files, [text] if text else [])


def wheel_of(path):
    """The .dist-info folder that lists the file."""
    for site in path.parents:
        if site.name == "site-packages":
            relative = str(path.relative_to(site))
            for record in site.glob("*.dist-info/RECORD"):
                if f"\n{relative}," in "\n" + record.read_text():
                    return record.parent
    return None


def wheel_package(info, files):
    metadata = (info / "METADATA").read_text()
    field = lambda name: (re.search(rf"^{name}: (.*)$", metadata, re.M) or [None, ""])[1]
    licence = field("License-Expression") or field("License")
    texts = [path for path in info.rglob("*") if re.match(r"(LICEN[CS]E|NOTICE|COPYING)", path.name, re.I) and path.is_file()]
    return Package(field("Name"), field("Version"), "pypi", [licence] if licence else [], files, texts)


def packages_of(program):
    """(packages, libraries of our own)."""
    packages, rest = debian_packages(linked(program).values())
    wheels, own = {}, []
    for path in rest:
        info = wheel_of(path)
        own.append(path) if info is None else wheels.setdefault(info, []).append(path)
    packages += [wheel_package(info, files) for info, files in wheels.items()]
    packages += [debian_package(name, []) for name in HEADER_ONLY if run("dpkg-query", "-W", name)]
    return sorted(packages, key=lambda package: package.name), own


def component(package, distribution):
    purl = (f"pkg:deb/{distribution}/{package.name}@{package.version}" if package.kind == "deb"
            else f"pkg:pypi/{package.name}@{package.version}")
    purl = purl.replace("+", "%2B")
    return {"type": "library", "bom-ref": purl, "name": package.name, "version": package.version, "purl": purl,
            "licenses": [{"license": {"name": name}} for name in package.licences or ["see its copyright file"]],
            "properties": [{"name": "vitower:file", "value": str(path)} for path in package.files]}


def bill(program, packages):
    release = pathlib.Path("/etc/os-release").read_text()
    distribution = re.search(r"^ID=\"?(\w+)", release, re.M)[1]
    version = re.search(r"vitower (\S+)", run(program, "--version"))
    return {"bomFormat": "CycloneDX", "specVersion": "1.5", "version": 1,
            "metadata": {"component": {"type": "application", "bom-ref": "vitower", "name": "vitower",
                                       "version": version[1] if version else "unknown",
                                       "licenses": [{"license": {"id": "Apache-2.0"}}]}},
            "components": [component(package, distribution) for package in packages]}


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--table", action="store_true", help="for reading")
    parser.add_argument("program")
    arguments = parser.parse_args()
    packages, _ = packages_of(arguments.program)
    if not arguments.table:
        print(json.dumps(bill(arguments.program, packages), indent=1))
        return
    for package in packages:
        print(f"{package.name:30} {package.version:30} {', '.join(package.licences) or 'see its copyright file'}")


if __name__ == "__main__":
    main()
