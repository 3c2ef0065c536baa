#!/usr/bin/env python3
"""Judges meshpcap on the captures in testdata/: no root, no Envoy, but tshark and tcpdump.

    stored.py MESHPCAP [DIRECTORY…]
"""
import sys
import tempfile
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))

import commandline                                  # noqa: E402
from judge import judge, ways                       # noqa: E402
from testdata import TESTDATA, stored_case          # noqa: E402


def main() -> int:
    meshpcap = Path(sys.argv[1]).resolve()
    names = sys.argv[2:] or sorted(path.parent.name for path in TESTDATA.glob("*/case.json"))
    passed = failed = 0
    with tempfile.TemporaryDirectory(prefix="meshrig-") as folder:
        for name in names:
            for case in ways(stored_case(TESTDATA / name)):
                for judgement in judge(meshpcap, case, Path(folder) / case.name.replace(" ", "-")):
                    print(commandline.row(judgement, 15, f"{case.name:22} "))
                    passed, failed = passed + judgement.good, failed + (not judgement.good)
    print(f"{passed} passed, {failed} failed ({len(names)} captures)")
    return 1 if failed or not names else 0


if __name__ == "__main__":
    if len(sys.argv) < 2:
        sys.exit(__doc__)
    sys.exit(main())
