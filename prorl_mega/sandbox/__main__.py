"""`python -m prorl_mega.sandbox doctor`: which kinds of isolation this machine offers, and whether they hold."""

from __future__ import annotations

import argparse
import sys

from prorl_mega.errors import ConfigError, exit_status
from prorl_mega.sandbox import doctor
from prorl_mega.sandbox.pool import REMEDY


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m prorl_mega.sandbox", description="The code sandbox.")
    commands = parser.add_subparsers(dest="command", required=True)
    commands.add_parser("doctor", help="name the tier of this machine and attack it")
    parser.parse_args(arguments)
    return exit_status(_doctor)


def _doctor() -> None:
    if not doctor.report(sys.stdout.write):
        raise ConfigError(f"no sandbox of this machine holds; {REMEDY}")


if __name__ == "__main__":
    sys.exit(main())
