"""Write docs/schemas and docs/asyncapi.json from the code, or check that they are what it says.

    python -m scripts.schemas --write | --check

Exits 1 where a file differs, and names it.
"""

import argparse
import json
import sys
from pathlib import Path

from streams.config import StreamsConfig
from streams.schema import asyncapi, json_schemas

DOCS = Path(__file__).resolve().parent.parent / "docs"


def documents() -> dict[Path, str]:
    """Each file that is generated, and what it must hold."""
    found = {DOCS / "schemas" / f"{name}.json": each for name, each in json_schemas().items()}
    found[DOCS / "asyncapi.json"] = asyncapi(StreamsConfig())
    return {
        path: json.dumps(each, indent=2, ensure_ascii=False) + "\n" for path, each in found.items()
    }


def differing() -> list[Path]:
    """The files that are not what the code says."""
    return [
        path
        for path, text in documents().items()
        if not path.exists() or path.read_text("utf-8") != text
    ]


def main() -> int:
    """Write or check; gives the exit status."""
    parser = argparse.ArgumentParser(description=__doc__)
    choice = parser.add_mutually_exclusive_group(required=True)
    choice.add_argument("--write", action="store_true")
    choice.add_argument("--check", action="store_true")
    if parser.parse_args().write:
        for path, text in documents().items():
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text, "utf-8")
        return 0
    wrong = differing()
    for path in wrong:
        print(f"{path} is not what the code says; run python -m scripts.schemas --write")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
