#!/usr/bin/env python3
"""Validates what `meshpcap check` writes in the schemas that are published for it.

    schemas.py --check SCHEMAS          whether all that is needed is there; .ci/install puts it there
    schemas.py SCHEMAS FILE…            FILE.xml: JUnit's, as Jenkins reads it; FILE.sarif: SARIF 2.1.0

Prints each violation; exit status 1 if there is one, 2 if something needed is missing.
"""
import json
import sys
from pathlib import Path


def missing(schemas: Path) -> str:
    for module in ("jsonschema", "rfc3986_validator", "xmlschema"):
        try:
            __import__(module)
        except ImportError:
            return f"the Python package {module}"
    for name in ("junit.xsd", "sarif-2.1.0.json"):
        if not (schemas / name).exists():
            return str(schemas / name)
    return ""


def violations(schemas: Path, file: Path) -> list[str]:
    import jsonschema
    import xmlschema
    if file.suffix == ".xml":
        return [f"{error.path}: {error.reason}" for error in xmlschema.XMLSchema(schemas / "junit.xsd").iter_errors(file)]
    schema = json.loads((schemas / "sarif-2.1.0.json").read_text())
    kind = jsonschema.validators.validator_for(schema)
    kind.check_schema(schema)
    validator = kind(schema, format_checker=jsonschema.FormatChecker())
    return [f"{error.json_path}: {error.message}" for error in validator.iter_errors(json.loads(file.read_text()))]


def main() -> int:
    is_check, words = sys.argv[1] == "--check", [word for word in sys.argv[1:] if word != "--check"]
    schemas = Path(words[0])
    if why := missing(schemas):
        print(why, file=sys.stderr)
        return 2
    files = [] if is_check else [Path(word) for word in words[1:]]
    found = [f"{file.name}: {violation}"[:400] for file in files for violation in violations(schemas, file)]
    print("\n".join(found), end="\n" if found else "")
    return 1 if found else 0


if __name__ == "__main__":
    if len(sys.argv) < 2:
        sys.exit(__doc__)
    sys.exit(main())
