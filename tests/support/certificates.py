"""Certificates to test with, made by the program of tests/support/test_certificates.h."""

import os
import pathlib
import subprocess

BIN = pathlib.Path(os.environ.get("VITOWER_BIN_DIR", pathlib.Path(__file__).resolve().parents[2] / "build/dev/bin"))


def write_certificates(folder):
    """NAME.pem and NAME.key of ca, other-ca, server, server-new, server-expired, client, client-expired and so on."""
    subprocess.run([BIN / "make_test_certificates", folder], check=True)
    return folder
