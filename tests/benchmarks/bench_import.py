"""CPU time of `import flops_fit` beside that of `import numpy`, interleaved, each in a fresh Python."""

import resource
import statistics
import subprocess
import sys


def cpu_seconds(code):
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    subprocess.run([sys.executable, "-c", code], check=True)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def main():
    codes = {"pass": "pass", "import numpy": "import numpy", "import flops_fit": "import flops_fit"}
    seconds = {name: [] for name in codes}
    for _ in range(9):
        for name, code in codes.items():
            seconds[name].append(cpu_seconds(code))
    print("| code | CPU s, median | min | max |\n|---|---:|---:|---:|")
    for name, values in seconds.items():
        print(f"| `{name}` | {statistics.median(values):.3f} | {min(values):.3f} | {max(values):.3f} |")


if __name__ == "__main__":
    main()
