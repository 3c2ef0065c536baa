"""What the commands of the rig share: their arguments, what must be there, their folder, their rows, their exit status."""
import argparse
import os
import shutil
import signal
import tempfile
import traceback
from collections.abc import Callable, Iterable
from pathlib import Path

import sidecar
from judge import Judgement
from pod import remove_stale


def parser(text: str) -> argparse.ArgumentParser:
    """With what every command takes; `text` is its documentation."""
    made = argparse.ArgumentParser(description=text, formatter_class=argparse.RawDescriptionHelpFormatter)
    made.add_argument("meshpcap", type=Path, nargs="?")
    made.add_argument("--check", action="store_true", help="only tell whether everything needed is there")
    made.add_argument("--keep", type=Path, metavar="DIR", help="keep everything in this new directory")
    return made


def parse(parsing: argparse.ArgumentParser, names: str, known: Iterable[str]) -> argparse.Namespace:
    """Where what to run can be named; all that is known, if nothing is."""
    known = list(known)
    parsing.add_argument(names, nargs="*", metavar=names[:-1].upper(), help=" ".join(known))
    options = parsing.parse_intermixed_args()
    named = getattr(options, names)
    if unknown := set(named) - set(known):
        parsing.error(f"no {names[:-1]} {', '.join(sorted(unknown))}; there are: {' '.join(known)}")
    setattr(options, names, named or known)
    return options


def run(parsing: argparse.ArgumentParser, options: argparse.Namespace, programs: Iterable[str],
        test: Callable[[Path, Path], int]) -> int:
    """Runs `test(meshpcap, folder)` where all that is needed is there; gives its exit status, or 2 if it broke."""
    if os.geteuid():
        parsing.error("namespaces need root")
    if missing := [program for program in programs if not shutil.which(program)]:
        parsing.error(f"not installed: {' '.join(missing)}")
    sidecar.find()
    if options.check:
        return 0
    if not options.meshpcap:
        parsing.error("which meshpcap?")
    if options.keep and options.keep.exists():
        parsing.error(f"{options.keep} exists")
    folder = (options.keep or Path(tempfile.mkdtemp(prefix="meshrig-"))).resolve()
    folder.mkdir(parents=True, exist_ok=True)
    folder.chmod(0o755)                         # Envoy runs as another user
    interruptible()
    remove_stale()
    try:
        return test(options.meshpcap.resolve(), folder)
    except KeyboardInterrupt:
        return 130
    except Exception as error:
        traceback.print_exception(error)
        print(f"BROKEN  {error}")
        return 2
    finally:
        if not options.keep:
            shutil.rmtree(folder, ignore_errors=True)


def interruptible():
    """Both signals end as ^C does, also where a shell had the program ignore ^C, as in the background."""
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    signal.signal(signal.SIGINT, signal.default_int_handler)


def row(judgement: Judgement, width: int, where: str = "") -> str:
    """A line for a judgement: what was judged in `width` columns, behind where it was."""
    return f"{'pass' if judgement.good else 'FAIL'}  {where}{judgement.what:{width}} {judgement.told}".rstrip()


def tell(judgements: list[Judgement], width: int) -> int:
    """Prints the rows and a closing line; gives the exit status. Where nothing was judged, nothing passed."""
    for judgement in judgements:
        print(row(judgement, width))
    failed = sum(not judgement.good for judgement in judgements)
    print(f"{len(judgements) - failed} passed, {failed} failed")
    return 1 if failed or not judgements else 0
