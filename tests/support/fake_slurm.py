"""A pretended SLURM: sbatch, srun, sacct and scancel that run the scripts they are given on this machine."""

from __future__ import annotations

import stat
import sys
from pathlib import Path

SBATCH = """
import os, re, subprocess, sys
from pathlib import Path
home, script = Path(__file__).parent, Path(sys.argv[-1])
text = script.read_text()
number = 100 + len(list(home.glob("script-*")))
(home / f"script-{number}").write_text(text)
array = re.search(r"--array=0-(\\d+)", text)
for index in range(int(array[1]) + 1 if array else 1):
    own = {"SLURM_JOB_ID": str(number + index), "SLURM_NTASKS": "1", "SLURM_JOB_NUM_NODES": "1", "SLURM_NODEID": "0",
           "SLURM_PROCID": "0", "SLURM_LOCALID": "0", "SLURM_JOB_NODELIST": "here"}
    if array:
        own |= {"SLURM_ARRAY_JOB_ID": str(number), "SLURM_ARRAY_TASK_ID": str(index)}
    job = subprocess.Popen(["bash", str(script)], env={**os.environ, **own}, start_new_session=True,
                           stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    (home / f"job-{number}_{index}" if array else home / f"job-{number}").write_text(str(job.pid))
print(f"Submitted batch job {number}")
"""
SRUN = """
import os, sys
words = sys.argv[1:]
while words and words[0].startswith("-"):
    words = words[1:] if "=" in words[0] or words[0] == "--unbuffered" else words[2:]
os.execvp(words[0], words)
"""
SACCT = """
import os
from pathlib import Path
print("JobID|State|NodeList")
for file in sorted(Path(__file__).parent.glob("job-*")):
    pid = file.read_text()
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except OSError:
        state = "Z"
    print(f"{file.name[4:]}|{'COMPLETED' if state == 'Z' else 'RUNNING'}|here")
"""
SCANCEL = """
import os, signal, sys
from pathlib import Path
for file in Path(__file__).parent.glob(f"job-{sys.argv[1]}*"):
    try:
        os.killpg(int(file.read_text()), signal.SIGKILL)
    except ProcessLookupError:
        pass
"""


def install(folder: Path) -> Path:
    """Write the four commands into a folder for $PATH; scripts that are submitted are kept there as ``script-N``."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, code in (("sbatch", SBATCH), ("srun", SRUN), ("sacct", SACCT), ("scancel", SCANCEL)):
        file = folder / name
        file.write_text(f"#!{sys.executable}\n{code}")
        file.chmod(file.stat().st_mode | stat.S_IXUSR)
    return folder
