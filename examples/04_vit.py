"""Which photograph is this patch from? How big a vision transformer should learn it, and from how many images.

    python examples/04_vit.py                              # scikit-image's own photographs, a few minutes on two cores
    python examples/04_vit.py --data cifar10               # downloads CIFAR-10
    python examples/04_vit.py --data cifar10 --path folder/with/parquet/files

The same call as for text: D is counted in images, and FLOPs are measured, because 6·N·D does not hold for images.
"""

import argparse

import flops_fit


def learning_rate(run: flops_fit.Run) -> float:
    """0.01 at width 16, and less for wider models."""
    return 0.01 * (16 / run.size) ** 0.5


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", default="photographs", choices=["photographs", "cifar10"])
    parser.add_argument("--path", help="a local folder that holds CIFAR-10")
    chosen = parser.parse_args()

    result = flops_fit.find_optimal(
        workload=flops_fit.workload("vit", data=chosen.data, data_path=chosen.path, head_dim=4),
        compute_budgets=[2.5e9, 5e9, 1e10, 2e10],
        sizes=[4, 8, 12, 16, 20, 24],
        seeds=[0, 1, 2],
        trainer=flops_fit.trainer("accelerate", lr=learning_rate, batch_size=16),
        executor=flops_fit.executor("processes"),
        output_dir=f"outputs/vit-{chosen.data}",
    )
    print(result)
    print(f"\nFigures: {result.output_dir / 'plots'}")


if __name__ == "__main__":  # the worker processes import this file
    main()
