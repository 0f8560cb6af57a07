"""How big should a GPT be, and how much text should it read? Answered by training 28 of them, in a few minutes.

    make demo          or          python examples/01_demo.py

Real models on real text (the Python sources of this interpreter's standard library, byte by byte). The planner chooses
the sizes, one rule the learning rates. Stop it at any time: the next call goes on where this one stopped.
"""

import flops_fit


def learning_rate(run: flops_fit.Run) -> float:
    """0.01 at width 32, and less for wider models."""
    return 0.01 * 32 / run.size


def main() -> None:
    result = flops_fit.find_optimal(
        workload=flops_fit.workload("gpt", corpus="stdlib"),
        compute_budgets=[3e10, 6e10, 1.2e11, 2.4e11],
        trainer=flops_fit.trainer("accelerate", lr=learning_rate, batch_size=4),
        executor=flops_fit.executor("processes"),
        output_dir="outputs/demo",
    )
    print(result)
    print(f"\nFigures: {result.output_dir / 'plots'}")


if __name__ == "__main__":  # the worker processes import this file
    main()
