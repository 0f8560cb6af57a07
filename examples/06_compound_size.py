"""A size that moves depth, width and heads together: any function of one value that returns a model will do.

python examples/06_compound_size.py
"""

import flops_fit
from flops_fit_gpt import GPT


def decoder(size: int) -> GPT:
    """`size` heads of width 8, and a layer for every two of them."""
    return GPT(d_model=8 * size, n_layers=(size + 1) // 2)


def main() -> None:
    text = flops_fit.workload("gpt")  # only its data and loss are used here
    result = flops_fit.find_optimal(
        model_cls=decoder,
        model_size_param="size",
        dataset=text.dataset,
        eval_dataset=text.eval_dataset,
        loss_fn=text.loss_fn,
        compute_budgets=[2e10, 4e10, 8e10],
        trainer=flops_fit.trainer("accelerate", lr=lambda run: 0.04 / run.size, batch_size=4),
        executor=flops_fit.executor("processes"),
        output_dir="outputs/compound_size",
    )
    print(result)


if __name__ == "__main__":  # the worker processes import this file
    main()
