"""As much of `curl` as the pages use, for a machine that has none: ``python curl.py [options] URL``.

Any other option is an error.
"""

from __future__ import annotations

import argparse
import sys
import urllib.error
import urllib.request
from pathlib import Path


def main() -> None:
    parser = argparse.ArgumentParser(prog="curl", allow_abbrev=False)
    parser.add_argument("-s", action="store_true")
    parser.add_argument("-S", action="store_true")
    parser.add_argument("-X", dest="method", default="GET")
    parser.add_argument("-H", dest="headers", action="append", default=[])
    parser.add_argument("-d", "--data-binary", dest="data")
    parser.add_argument("-w", dest="after", default="")
    parser.add_argument("url")
    given = parser.parse_args()
    body = None
    if given.data is not None:
        body = Path(given.data[1:]).read_bytes() if given.data.startswith("@") else given.data.encode()
    headers = dict(line.split(": ", 1) for line in given.headers)
    request = urllib.request.Request(given.url, body, headers, method=given.method)
    try:
        with urllib.request.urlopen(request, timeout=30) as answer:
            status, said = answer.status, answer.read()
    except urllib.error.HTTPError as error:
        with error:
            status, said = error.code, error.read()
    sys.stdout.buffer.write(said + given.after.replace("%{http_code}", str(status)).encode())


if __name__ == "__main__":
    main()
