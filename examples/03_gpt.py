"""A GPT in u-µP: one learning rate for every width, so the sizes are compared at their best.

    python examples/03_gpt.py                              # the standard library's sources
    python examples/03_gpt.py --corpus tinystories         # downloads TinyStories
    python examples/03_gpt.py --corpus tinystories --path folder/with/parquet/or/txt

The answer is then asked about a budget a hundred times larger than any that was trained.
"""

import argparse

import flops_fit

BUDGETS = [3e10, 6e10, 1.2e11, 2.4e11]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--corpus", default="stdlib", choices=["stdlib", "tinystories"])
    parser.add_argument("--path", help="a local folder that holds the corpus")
    chosen = parser.parse_args()

    result = flops_fit.find_optimal(
        workload=flops_fit.workload("gpt", corpus=chosen.corpus, corpus_path=chosen.path, parametrization="u-mup"),
        compute_budgets=BUDGETS,
        trainer=flops_fit.trainer("accelerate", lr=1.0, batch_size=4),
        executor=flops_fit.executor("processes"),
        output_dir=f"outputs/gpt-{chosen.corpus}",
    )
    print(result)
    print()
    print(result.chinchilla_table([*BUDGETS, 100 * BUDGETS[-1]]))
    print(f"\nFigures: {result.output_dir / 'plots'}")


if __name__ == "__main__":  # the worker processes import this file
    main()
