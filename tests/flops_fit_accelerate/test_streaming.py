"""Data larger than memory: what training holds does not grow with what it reads."""

from pathlib import Path

import numpy as np
import pytest
import torch
import toys
from torch import nn
from torch.utils.data import Dataset, IterableDataset

from flops_fit_accelerate import AccelerateTrainer

LENGTH = 16384  # 64 KiB a sample
STATUS = Path("/proc/self/status")
MIB = 2**20


class Watch:
    """The most anonymous memory that this process had resident while samples were read, in MiB."""

    most = 0.0

    def look(self):
        [line] = [line for line in STATUS.read_text().splitlines() if line.startswith("RssAnon")]
        self.most = max(self.most, int(line.split()[1]) / 1024)


class Streamed(Watch, IterableDataset):
    def __iter__(self):
        for i in range(10**9):
            self.look()
            yield torch.full((LENGTH,), i % 7 / 7), i % 4


class Mapped(Watch, Dataset):
    """A file of 256 MiB that is mapped, not read."""

    def __init__(self, path):
        with path.open("wb") as file:
            file.truncate(4096 * LENGTH * 4)
        self.rows = np.memmap(path, dtype=np.float32, mode="r").reshape(-1, LENGTH)

    def __len__(self):
        return len(self.rows)

    def __getitem__(self, i):
        self.look()
        return torch.from_numpy(self.rows[i].copy()), i % 4


class Wide(toys.Counted):
    def __init__(self, width=8):
        super().__init__()
        self.layer = nn.Linear(LENGTH, 4)

    def forward(self, x):
        return self.layer(x)


@pytest.mark.skipif(
    not STATUS.exists() or "RssAnon" not in STATUS.read_text(), reason="only Linux says what is anonymous"
)
@pytest.mark.parametrize("kind", ["stream", "memory map"])
def test_ten_times_the_data_need_no_more_memory(train, tmp_path, kind):
    data = Streamed() if kind == "stream" else Mapped(tmp_path / "data")
    w = toys.workload(Wide, data, loss_fn=nn.CrossEntropyLoss())
    trainer = AccelerateTrainer(lr=1e-3, batch_size=16, eval_samples=16, eval_share=0.0)
    most = []
    for n in (320, 3200):
        data.most = 0.0
        [record] = train(trainer, w, toys.run(n))
        assert record.status == "done", record.message
        most.append(data.most)
    read = 3200 * LENGTH * 4 / MIB
    print(f"{kind}: {most[0]:.1f} MiB for {read / 10:.0f} MiB of data, {most[1]:.1f} MiB for {read:.0f} MiB")
    assert most[1] - most[0] < 0.1 * read
