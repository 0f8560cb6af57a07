import subprocess
import sys


def test_discovering_the_counters_loads_no_torch():
    code = (
        "import sys, flops_fit_flops as p; names = sorted(p.flops_fit_flop_counters()); "
        "p.SixNDCounter(); print(names, 'torch' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "['6nd', 'torch'] False"
