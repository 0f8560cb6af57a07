"""``python -m flops_fit_cli``: the same as ``flops-fit``."""

from flops_fit_cli import main

if __name__ == "__main__":
    main()
