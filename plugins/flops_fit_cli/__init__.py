"""The command ``flops-fit``: planning, running, fitting and reporting from a shell, by the public API alone.

In: arguments. Out: a table, or JSON with ``--json``, on standard output; progress and errors on standard
error. Exit status 0: done; 1: done, but without the answer (nothing could be fitted, a plugin is broken);
2: what was asked cannot be done, and the message says why; 130: interrupted.
"""

import sys


def main() -> None:
    """Run the command line; the console script ``flops-fit``."""
    try:
        from flops_fit_cli.app import app
    except ModuleNotFoundError as error:
        if (error.name or "").partition(".")[0] != "typer":
            raise
        sys.exit('the command line needs typer: pip install "flops-fit[cli]"')
    app(prog_name="flops-fit")
