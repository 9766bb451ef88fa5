"""Run by the Python that is to run the backend, whichever version that is: tells what it has, as JSON.

Takes pairs PACKAGE=MODULE. A package without a record of its version, as some of Slicer's own, has the version "".
Imports none of them, so that it answers at once and nothing of them can fail.
"""

import json
import sys

try:
    from importlib import metadata, util
except ImportError:  # Python 2 and the first of 3
    metadata = util = None


def find(package, module):
    if metadata is None:
        return None
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None if util.find_spec(module) is None else ""


pairs = [argument.split("=") for argument in sys.argv[1:]]
answer = {
    "python": ".".join(str(number) for number in sys.version_info[:3]),
    "packages": {package: find(package, module) for package, module in pairs},
}
sys.stdout.write(json.dumps(answer) + "\n")
