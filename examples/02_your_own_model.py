"""Your own model and data: how big a network should redraw a photograph, and how many pixels should it be shown?"""

import torch
from skimage import data
from torch import nn
from torch.utils.data import TensorDataset

import flops_fit


class Painter(nn.Sequential):
    def __init__(self, width: int) -> None:
        super().__init__(nn.Linear(24, width), nn.GELU(), nn.Linear(width, width), nn.GELU(), nn.Linear(width, 3))

    def num_params(self) -> int:
        return sum(parameter.numel() for parameter in self.parameters())


colours = torch.tensor(data.astronaut()) / 64 - 2  # (512, 512, 3), around zero
places = torch.cartesian_prod(torch.linspace(0, 1, 512), torch.linspace(0, 1, 512))
waves = torch.cat([places * torch.pi * 2**octave for octave in range(6)], dim=1)

result = flops_fit.find_optimal(
    Painter,
    "width",
    dataset=TensorDataset(torch.cat([waves.sin(), waves.cos()], dim=1), colours.flatten(0, 1)),
    loss_fn=nn.functional.mse_loss,
    data_unit="pixels",
    compute_budgets=[5e7, 1e8, 2e8],
    trainer=flops_fit.trainer("accelerate", lr=lambda run: 0.2 / run.size, batch_size=64),
    output_dir="outputs/painter",
)
print(result)
print(f"\nFigures: {result.output_dir / 'plots'}")
